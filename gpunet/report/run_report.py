"""A run as one HTML file: pictures, tables and lines, part by part, with nothing outside of the file."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from itertools import groupby
from typing import TYPE_CHECKING

from rich.table import Table

from gpunet.report.canvas import as_png
from gpunet.report.sheet import as_html
from gpunet.system.resources import browser_style, browser_text
from gpunet.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = 128
"""Of a picture: charts have few, and with so many they take a third of the bytes."""


@dataclass(frozen=True)
class Drawn:
    """A picture, and what it shows in words, for those who do not see it."""

    figure: "Figure"
    words: str


@dataclass(frozen=True)
class Part:
    """A part of a report under a heading."""

    heading: str
    content: Sequence[Drawn | Table | str]


def report_text(title: str, about: str, parts: Sequence[Part]) -> str:
    """The HTML file. Names in it are text and nothing else."""
    values = {
        "title": escape(title),
        "about": escape(about),
        "style": browser_style("report.css"),
        "links": "".join(f'<a href="#part{n}">{escape(part.heading)}</a>' for n, part in enumerate(parts)),
        "sections": "".join(_section(n, part) for n, part in enumerate(parts)),
        "footer": escape(f"Made by gpunet {__version__}. All of it is in this file."),
    }
    text = browser_text("report.html")
    before, *rest = text.split("{")
    filled = (values[name] + more for name, _, more in (piece.partition("}") for piece in rest))
    return before + "".join(filled)


def _section(number: int, part: Part) -> str:
    shown = "".join(_blocks(part.content))
    return (
        f'<section aria-labelledby="part{number}"><h2 id="part{number}">{escape(part.heading)}</h2>{shown}</section>\n'
    )


def _blocks(content: Sequence[Drawn | Table | str]) -> Iterator[str]:
    """Pictures, and between them what is text and tables, which moves on its own where it is too wide."""
    for drawn, run in groupby(content, lambda one: isinstance(one, Drawn)):
        if drawn:
            yield from (_picture(one) for one in run if isinstance(one, Drawn))
        else:
            words = as_html(one for one in run if not isinstance(one, Drawn))
            yield f'<div class="wide" tabindex="0" role="group" aria-label="Tables and text">{words}</div>'


def _picture(drawn: Drawn) -> str:
    source = b64encode(_small(as_png(drawn.figure))).decode()
    return f'<img src="data:image/png;base64,{source}" alt="{escape(drawn.words)}">'


def _small(png: bytes) -> bytes:
    """The picture in fewer colours."""
    from PIL import Image

    buffer = BytesIO()
    with Image.open(BytesIO(png)) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
