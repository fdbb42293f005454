"""How reports reach a screen or a pipe."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import TextIO

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.text import Text

from gpunet.train.beat import Beat

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
    if isinstance(part, str):
        return part
    console = Console(file=file or StringIO(), width=PIPE_WIDTH, highlight=False, markup=False, emoji=False)
    width = Measurement.get(console, console.options, part).maximum
    with console.capture() as capture:
        console.print(part, width=width)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


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
