"""Tables of results as plain text: they need no package and read the same on a screen, in a pipe and in a log."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10


@dataclass(frozen=True)
class Table:
    """Rows under a title; the first `left` columns are aligned to the left, the others, numbers, to the right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    notes: Sequence[str] = ()
    left: int = 1


def number(value: float | None, digits: int = 3) -> str:
    """A measured number with so many significant digits, never as 1e+03; a dash where there is none."""
    if value is None:
        return "-"
    if value != 0 and abs(value) < 10**-digits:
        return f"{value:.1e}"
    decimals = max(0, digits - 1 - floor(log10(abs(value)))) if value else 0
    return f"{value:,.{decimals}f}"


def as_text(table: Table) -> str:
    """A table as lines of plain text."""
    lines = [list(map(str, table.columns)), *(list(map(str, row)) for row in table.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.columns))]
    text = [table.title]
    for line in lines:
        padded = enumerate(zip(line, widths, strict=True))
        cells = [cell.ljust(width) if at < table.left else cell.rjust(width) for at, (cell, width) in padded]
        text.append("  " + "  ".join(cells).rstrip())
    text.insert(2, "  " + "  ".join("-" * width for width in widths))
    return "\n".join([*text, *(f"  {note}" for note in table.notes)]) + "\n"
