"""What all pictures share: a matplotlib figure without screen or pyplot, its colours, and the way into a PNG."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from gpunet.errors import ConfigError
from gpunet.report.names import shortened
from gpunet.system.files import check_place, write_whole
from gpunet.values.visible import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.text import Text

DPI = 100
"""Pixels an inch."""

INSTALL = 'pip install "gpunet[plot]"'

INK, PALE = "#22303c", "#6b7883"
"""Of words."""

LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Colours that people with any kind of colour vision tell apart. Source: Okabe & Ito 2008, "Color universal design"."""

RIGHT, WRONG = LINES[0], LINES[1]

FALLBACKS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans CJK KR",
    "Noto Sans JP",
    "Source Han Sans",
    "Hiragino Sans",
    "PingFang SC",
    "Yu Gothic",
    "Microsoft YaHei",
    "Malgun Gothic",
    "IPAexGothic",
    "IPAGothic",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Noto Emoji",
    "Arial Unicode MS",
)
"""Fonts that have letters which matplotlib's own has not; of these the ones that are installed are used."""


def check_plot(path: Path, option: str = "--plot") -> None:
    """Raises ConfigError where a picture cannot be drawn, or not into that file, before any work is done."""
    if path.suffix.lower() != ".png":
        raise ConfigError(f"a plot is a .png file; got {str(path)!r}")
    check_place(path)
    require_matplotlib(option)


def require_matplotlib(what: str) -> None:
    """Raise ConfigError where matplotlib, which `what` needs, is not installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise ConfigError(f"{what} needs matplotlib, which is not installed: {INSTALL}") from None


@contextmanager
def drawing() -> Iterator[None]:
    """In here pictures are drawn and saved: names stand in them as they are, of whatever letters.

    matplotlib would read what is between two $ as a formula, and knows one font.
    """
    from matplotlib import rc_context, rcParams
    from matplotlib.font_manager import get_font_names

    installed = set(get_font_names())
    fonts = [*rcParams["font.family"], *(font for font in FALLBACKS if font in installed)]
    with rc_context({"text.parse_math": False, "font.family": fonts}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ ")  # missing in all fonts, which `save` tells
        yield


def new_figure(width: int, height: int) -> "Figure":
    """An empty white picture of so many pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from gpunet.report.picture import Picture

    figure = Picture(as_png, figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save(figure: "Figure", path: Path) -> None:
    """Write a picture as PNG; the file is whole or not there. Raises DataError where it cannot be written.

    Says in a line on standard error which letters no font has.
    """
    with drawing():
        octets = as_png(figure)
        missing = _missing(figure)
    write_whole(path, octets)
    if missing:
        words = f"{path} has boxes in place of letters that no installed font has: {shortened(missing, 20)}"
        print(f"{words}; install one that does, such as Noto Sans CJK", file=sys.stderr)


@drawing()
def as_png(figure: "Figure") -> bytes:
    """A picture as the bytes of a PNG."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def _missing(figure: "Figure") -> str:
    """The letters of a picture that none of its fonts has."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties, findfont, get_font
    from matplotlib.text import Text

    known = [get_font(findfont(FontProperties(family=[family]))).get_charmap() for family in rcParams["font.family"]]
    letters = sorted({letter for text in figure.findobj(Text) for letter in text.get_text()})
    return "".join(one for one in letters if one.isprintable() and not any(ord(one) in font for font in known))


def style(axes: "Axes") -> None:
    """Pale grid lines across, two thin edges, words of one size."""
    axes.tick_params(which="both", labelsize=11, colors=PALE)
    axes.tick_params(length=3)
    axes.grid(axis="y", color="#d9dcdf", lw=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#aab2b9")


def title(figure: "Figure", words: str, more: str = "", *, left: int = 40) -> None:
    """A headline and a line below it, at the top left, `left` pixels from the edge; smaller, then cut, if too long."""
    width, height = figure.get_size_inches() * DPI
    room = width - 2 * left
    for text, size, least, weight, top in ((words, 17, 12, "bold", 32), (more, 12, 9, "normal", 62)):
        written = figure.text(
            left / width, 1 - top / height, visible(text), fontsize=size, fontweight=weight, color=INK, va="center"
        )
        wide = written.get_window_extent().width
        if wide > room:
            written.set_fontsize(max(least, size * room / wide))
            fit(written, room + 2)  # letters do not shrink quite as their size does


def fit(written: "Text", room: float) -> None:
    """Shorten what is written, in its middle, until it takes at most so many pixels."""
    words = written.get_text()
    most = len(words)
    while (wide := written.get_window_extent().width) > room and most > 1:
        most = min(most - 1, int(most * room / wide))
        written.set_text(shortened(words, most))


def log_ticks(axis: "Axis", low: float, high: float) -> None:
    """Ticks of a logarithmic axis at plain numbers: powers of ten, and twos and fives where those are few."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
