"""Tables of results: through rich where it is installed, as plain text where it is not."""

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


def show(table: Table, *, plain: bool = False) -> None:
    """Print a table."""
    try:
        if plain:
            raise ImportError
        from rich import box
        from rich.console import Console
        from rich.table import Table as RichTable
    except ImportError:
        print(as_text(table))
        return
    shown = RichTable(title=table.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for position, column in enumerate(table.columns):
        shown.add_column(column, justify="left" if position < table.left else "right")
    for row in table.rows:
        shown.add_row(*map(str, row))
    console = Console()
    console.print(shown if console.is_terminal else as_text(table), markup=False, highlight=False, soft_wrap=True)
    for note in table.notes if console.is_terminal else ():
        console.print(f"  {note}", markup=False, highlight=False)


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
