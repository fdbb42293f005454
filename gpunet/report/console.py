"""How reports reach a screen or a pipe."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import TextIO

from rich.console import Console, RenderableType
from rich.measure import Measurement

PIPE_WIDTH = 400
"""Columns where no screen limits them."""


def show(*parts: RenderableType) -> None:
    """Print tables and lines to standard output. Where the screen is too narrow lines run on: no figure is cut."""
    for part in parts:
        print(as_text(part, sys.stdout))


def as_text(part: RenderableType, file: TextIO | None = None) -> str:
    """As wide as it must be, no blanks at the ends of lines; with the colours and letters that `file` can show."""
    if isinstance(part, str):
        return part
    console = Console(file=file or StringIO(), width=PIPE_WIDTH, highlight=False)
    width = Measurement.get(console, console.options, part).maximum
    with console.capture() as capture:
        console.print(part, width=width)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Say on standard error what takes its time, where that is a screen; what is yielded says the next thing."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status(what) as status:
        yield status.update
