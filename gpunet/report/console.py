"""How reports reach a screen or a pipe."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from io import StringIO
from typing import TextIO

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from gpunet.train.beat import Beat
from gpunet.values.visible import visible_lines

ESCAPING = "backslashreplace"
"""What becomes of characters that an encoding does not have."""

PIPE_WIDTH = 400
"""Columns where no screen limits them."""


def show(*parts: RenderableType) -> None:
    """Print tables and lines to standard output. Where the screen is too narrow lines run on: no figure is cut."""
    for part in parts:
        print(as_text(part, sys.stdout))


def as_text(part: RenderableType, file: TextIO | None = None) -> str:
    """As wide as it must be, no blanks at the ends of lines; with the colours and letters that `file` can show.

    Cells are text, never markup: names come from files, and [/x] or :smile: in one is what it says.
    """
    encoding = (file and file.encoding) or "utf-8"
    if isinstance(part, str):
        return visible_lines(part)
    if isinstance(part, Table):
        part = _as_it_will_look(part, encoding)
    console = Console(file=file or StringIO(), width=PIPE_WIDTH, highlight=False, markup=False, emoji=False)
    width = Measurement.get(console, console.options, part).maximum
    with console.capture() as capture:
        console.print(part, width=width)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _as_it_will_look(table: Table, encoding: str) -> Table:
    """The table with escapes in its cells for what cannot be seen, or not be encoded: columns are as wide as these."""

    def seen(cell: RenderableType) -> RenderableType:
        if not isinstance(cell, str | Text):
            return cell
        text = visible_lines(str(cell)).encode(encoding, ESCAPING).decode(encoding)
        if text == str(cell):
            return cell
        return Text(text, cell.style) if isinstance(cell, Text) else text

    looking = copy(table)
    looking.columns = [copy(column) for column in table.columns]
    for column in looking.columns:
        column._cells = [seen(cell) for cell in column.cells]
        column.header, column.footer = seen(column.header), seen(column.footer)
    return looking


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Say on standard error what takes its time; what is yielded says the next thing, where that is no screen only if
    nothing was said for long."""
    console = Console(stderr=True)
    if not console.is_terminal:
        beat = Beat(lambda line: print(line, file=sys.stderr, flush=True))
        yield lambda line: beat(lambda: line)
        return
    with console.status(Text(what), spinner="line" if console.options.ascii_only else "dots") as status:
        yield lambda said: status.update(Text(said))
