"""What all pictures share: a matplotlib figure without screen or pyplot, its colours, and the way into a PNG."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from gpunet.errors import ConfigError
from gpunet.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 100
"""Pixels an inch."""

INSTALL = 'pip install "gpunet[plot]"'

INK, PALE = "#22303c", "#6b7883"
"""Of words."""

LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Colours that people with any kind of colour vision tell apart. Source: Okabe & Ito 2008, "Color universal design"."""

RIGHT, WRONG = LINES[0], LINES[1]


def check_plot(path: Path, option: str = "--plot") -> None:
    """Raises ConfigError where a picture cannot be drawn, or not into that file, before any work is done."""
    if path.suffix.lower() != ".png":
        raise ConfigError(f"a plot is a .png file; got {str(path)!r}")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent} for {path.name}; make it first")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise ConfigError(f"{option} needs matplotlib, which is not installed: {INSTALL}") from None


def new_figure(width: int, height: int) -> "Figure":
    """An empty white picture of so many pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save(figure: "Figure", path: Path) -> None:
    """Write a picture as PNG; the file is whole or not there. Raises DataError where it cannot be written."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    write_whole(path, buffer.getvalue())


def style(axes: "Axes") -> None:
    """Pale grid lines across, two thin edges, words of one size."""
    axes.tick_params(labelsize=11, colors=PALE, length=3)
    axes.grid(axis="y", color="#d9dcdf", lw=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#aab2b9")


def title(figure: "Figure", words: str, more: str = "", *, left: int = 40) -> None:
    """A headline and a line below it, at the top left, `left` pixels from the edge."""
    width, height = figure.get_size_inches() * DPI
    for text, size, weight, top in ((words, 17, "bold", 32), (more, 12, "normal", 62)):
        written = figure.text(
            left / width, 1 - top / height, text, fontsize=size, fontweight=weight, color=INK, va="center"
        )
        wide = written.get_window_extent().width
        if wide > width - 2 * left:
            written.set_fontsize(size * (width - 2 * left) / wide)


def shortened(text: str, most: int) -> str:
    """At most so many characters, with dots in the middle for what is left out: names often differ at their ends."""
    head, tail = most // 2, most - most // 2 - 1
    return text if len(text) <= most else f"{text[:head]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - tail :]}"
