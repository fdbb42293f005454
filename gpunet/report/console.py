"""How reports reach a screen or a pipe."""

import sys

from rich.console import Console, RenderableType
from rich.measure import Measurement

PIPE_WIDTH = 400
"""Columns where no screen limits them."""


def show(*parts: RenderableType) -> None:
    """Print tables and lines to standard output. Where the screen is too narrow lines run on: no figure is cut."""
    for part in parts:
        print(part if isinstance(part, str) else _rendered(part))


def _rendered(part: RenderableType) -> str:
    """As wide as it must be, no blanks at the ends of lines."""
    console = Console(file=sys.stdout, width=PIPE_WIDTH, highlight=False)
    width = Measurement.get(console, console.options, part).maximum
    with console.capture() as capture:
        console.print(part, width=width)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
