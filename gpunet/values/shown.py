"""Values that can be looked at: as text, in a notebook, as JSON, as a picture, as rows of numbers.

A value knows nothing of how it looks: `gpunet.report.looks` does, and is imported when somebody looks.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gpunet.report.looks import Look
    from gpunet.report.sheet import Sheet


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

    def table(self) -> "Sheet":
        """The table at the heart of it: a text, which a notebook shows as a table."""
        return self._look().table()

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, as `--json` has it; sizes are bytes."""
        return self._look().to_dict()

    def to_json(self, *, indent: int | None = 2) -> str:
        """The same as a text of JSON."""
        from gpunet.report.looks import as_json

        return as_json(self.to_dict(), indent)

    def plot(self) -> "Figure":
        """A picture of it, a matplotlib Figure: `plot().savefig("it.png")`. Raises ConfigError without matplotlib."""
        return self._look().plot()

    def to_dataframe(self, rows: str | None = None) -> Any:
        """Its numbers as a pandas DataFrame, sizes in bytes.

        `rows`  what there is a row for, like "layers" or "tensors"; None: the first that there are of this value

        Raises ConfigError without pandas, and for other rows, naming those that there are.
        """
        return self._look().to_dataframe(rows)

    def _look(self) -> "Look":
        from gpunet.report.looks import look

        return look(self)
