"""What a look is: the ways in which one value shows itself, each made when it is asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from rich.table import Table

from gpunet.errors import ConfigError
from gpunet.report.sheet import Sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Part = Table | str

Rows = Sequence[Mapping[str, Any]]
"""Of a table of numbers: a DataFrame, or CSV."""


@dataclass(frozen=True)
class Look:
    """How one value looks.

    `line`     what `repr` says
    `parts`    makes all there is to say
    `heart`    which of the parts is the table
    `to_dict`  makes plain values
    `draw`     makes the picture, once matplotlib is known to be there
    `rows`     make rows of numbers out of the plain values, by what there is a row for
    """

    line: str
    parts: Callable[[], list[Part]]
    heart: Callable[[], Table]
    to_dict: Callable[[], dict[str, Any]]
    draw: Callable[[], "Figure"]
    rows: Mapping[str, Callable[[dict[str, Any]], Rows]]

    def sheet(self) -> Sheet:
        """All there is to say."""
        return Sheet(self.parts())

    def table(self) -> Sheet:
        """The table alone."""
        return Sheet([self.heart()])

    def to_json(self, indent: int | None) -> str:
        """The plain values as JSON; a number that is infinite or NaN, which JSON has no word for, is null."""
        import json

        return json.dumps(_plain(self.to_dict()), indent=indent, allow_nan=False)

    def plot(self) -> "Figure":
        """The picture. Raises ConfigError without matplotlib."""
        from gpunet.report.canvas import require_matplotlib

        require_matplotlib("plot()")
        return self.draw()

    def to_csv(self, rows: str | None) -> str:
        """Rows of numbers as CSV. Raises ConfigError for rows that there are not."""
        from gpunet.report.as_csv import csv_text

        return csv_text(self._rows(rows))

    def to_dataframe(self, rows: str | None) -> Any:
        """Rows of numbers as a DataFrame. Raises ConfigError without pandas, and for rows that there are not."""
        found = self._rows(rows)
        try:
            import pandas
        except ImportError:
            raise ConfigError("to_dataframe() needs pandas, which is not installed: pip install pandas") from None
        return pandas.DataFrame(list(found))

    def _rows(self, rows: str | None) -> Rows:
        made = self.rows.get(next(iter(self.rows)) if rows is None else rows)
        if made is None:
            raise ConfigError(f"there is no row for each of {rows!r} here; there is for {', '.join(self.rows)}")
        return made(self.to_dict())


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value
