"""Values that can be looked at: as text, in a notebook, as JSON, as a picture, as rows of numbers.

A value knows nothing of how it looks. The public face of the package does: whoever asks, `gpunet.look` makes the look.
"""

import sys
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Sheet(Protocol):
    """A text that a notebook shows as tables."""

    html: str


class Look(Protocol):
    """How one value looks; `line` is what `repr` says."""

    @property
    def line(self) -> str: ...

    @property
    def to_dict(self) -> Any: ...

    def sheet(self) -> Sheet: ...

    def table(self) -> Sheet: ...

    def to_json(self, indent: int | None) -> str: ...

    def plot(self) -> "Figure": ...

    def to_csv(self, rows: str | None) -> str: ...

    def to_dataframe(self, rows: str | None) -> Any: ...


class Shown:
    """Base of plans, fits, descriptions, profiles, models, histories and whatever else is worth a look.

    `repr(value)` is a line, `print(value)` all there is to say, as the command of the same name says it. A notebook
    shows the latter as tables.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return self._look().line

    def __str__(self) -> str:
        return str(self._look().sheet())

    def _repr_html_(self) -> str:
        return self._look().sheet().html

    def table(self) -> Sheet:
        """The table at the heart of it: a text, which a notebook shows as a table."""
        return self._look().table()

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, as `--json` has it; sizes are bytes."""
        found: dict[str, Any] = self._look().to_dict()
        return found

    def to_json(self, *, indent: int | None = 2) -> str:
        """The same as a text of JSON."""
        return self._look().to_json(indent)

    def to_csv(self, rows: str | None = None) -> str:
        """Its numbers as a text of CSV, a line of names first, sizes in bytes; `rows` as for `to_dataframe`.

        Raises ConfigError for other rows, naming those that there are.
        """
        return self._look().to_csv(rows)

    def plot(self) -> "Figure":
        """A picture of it, a matplotlib Figure: `plot().savefig("it.png")`. Raises ConfigError without matplotlib."""
        return self._look().plot()

    def to_dataframe(self, rows: str | None = None) -> Any:
        """Its numbers as a pandas DataFrame, sizes in bytes.

        `rows`  what there is a row for, like "layers" or "tensors"; None: the first that there are of this value

        Raises ConfigError without pandas, and for other rows, naming those that there are.
        """
        return self._look().to_dataframe(rows)

    def _look(self) -> Look:
        public: Any = sys.modules[__name__.partition(".")[0]]  # it is there before any of its parts
        look: Look = public.look(self)
        return look
