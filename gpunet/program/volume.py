"""Volumes (height, width, depth) and the notes' output size, (W - F + 2P)/S + 1, with its three fit policies."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

from gpunet.errors import ConfigError, ShapeError
from gpunet.program.field import Window
from gpunet.values.given import told

FitPolicy = Literal["error", "pad", "crop"]
FIT_POLICIES: tuple[str, ...] = get_args(FitPolicy)


@dataclass(frozen=True, slots=True, order=True)
class Volume:
    """The activation volume of one image: H rows, W columns, D maps, each at least 1."""

    H: int
    W: int
    D: int

    def __post_init__(self) -> None:
        for letter, size in (("H", self.H), ("W", self.W), ("D", self.D)):
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ShapeError(f"a volume needs {letter} >= 1, an integer; got {letter}={told(size)}")

    @property
    def values(self) -> int:
        """How many numbers one image of this volume holds."""
        return self.H * self.W * self.D

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.H, self.W, self.D)

    def __str__(self) -> str:
        return f"{self.H}x{self.W}x{self.D}"

    @classmethod
    def parse(cls, text: "str | Volume | tuple[int, int, int] | list[int]") -> "Volume":
        """A Volume from "32x32x3", from (32, 32, 3), or itself.

        Raises ConfigError for anything else.
        """
        if isinstance(text, Volume):
            return text
        if isinstance(text, list | tuple):
            if len(text) != 3:
                raise ConfigError(f"a volume is H, W, D: three sizes; got {told(text)}")
            return cls(*text)
        match = re.fullmatch(r"\s*([0-9]{1,9})\s*[xX]\s*([0-9]{1,9})\s*[xX]\s*([0-9]{1,9})\s*", str(text))
        if not match:
            raise ConfigError(f"cannot read {told(text)} as a volume; write height x width x depth, like 32x32x3")
        return cls(*(int(size) for size in match.groups()))


Pair = int | tuple[int, int]
"""A size along both axes, or one along the rows (down) and one along the columns (across)."""

Padding = int | tuple[int, int] | tuple[int, int, int, int]
"""P on all sides; above and below, left and right; or top, bottom, left, right."""


def pair(size: Pair) -> tuple[int, int]:
    """(along the rows, along the columns)."""
    return (size, size) if isinstance(size, int) else size


def sides(P: Padding) -> tuple[int, int, int, int]:
    """(top, bottom, left, right)."""
    if not isinstance(P, int) and len(P) == 4:
        return P
    rows, columns = pair(P)
    return rows, rows, columns, columns


def size_text(size: Padding) -> str:
    """As the notation writes it: 3, 1x7 or 0x1x0x1."""
    return str(size) if isinstance(size, int) else "x".join(map(str, size))


def positions(window: Window, size: int, fit: FitPolicy = "error") -> int:
    """How many positions a window takes along an axis of `size`.

    (size - F + 2P)/S + 1 where that is whole. Where it is not: "error" raises, "crop" leaves the last rows unseen
    (rounds down), "pad" adds zeros behind the last row until one more window fits (rounds up, as Caffe's pooling
    does; a window that would start in the padding is dropped; one that is larger than the input is there once).

    Raises ShapeError when the window is larger than the padded input, except under "pad", or under "error" when it
    does not fit.
    Source: CS231n "Convolutional Layer"; W=10, F=3, P=0, S=2 gives 4.5.
    """
    room, S = window.left_over(size, 1), window.S
    if room < 0 and fit == "pad":
        return 1
    if room < 0:
        raise ShapeError(_too_large(window, size))
    whole, rest = divmod(room, S)
    if rest == 0 or fit == "crop":
        return whole + 1
    if fit == "pad":
        return whole + 2 if (whole + 1) * S < size + window.before else whole + 1
    raise ShapeError(f"gives {float(Fraction(room, S) + 1):g}")


def fits(window: Window, size: int) -> bool:
    """Whether a window takes a whole number of positions along an axis of `size`."""
    room = window.left_over(size, 1)
    return room >= 0 and room % window.S == 0


def _too_large(window: Window, size: int) -> str:
    F, dilation, before, after = window.F, window.dilation, window.before, window.after
    sees = f" with dilation={dilation} sees {window.extent} and" if dilation > 1 else ""
    padding = f"P={before} on both sides" if before == after else f"{before} + {after} zeros around it"
    room = size + before + after
    ways = [f"F <= {(room - 1) // dilation + 1}"]
    if F > 1 and 1 <= (room - 1) // (F - 1) < dilation:
        ways.append(f"dilation <= {(room - 1) // (F - 1)}")
    ways += [f"P >= {-(-(window.extent - size) // 2)}", "fit='pad', for one window that hangs over"]
    return f"F={F}{sees} is larger than the input of {size} with {padding}; use {', '.join(ways[:-1])}, or {ways[-1]}"


def output_size(size: int, F: int, S: int, P: int, fit: FitPolicy = "error") -> int:
    """How many positions a window of extent F takes along an axis of `size`, at stride S with P zeros on both sides:
    (size - F + 2P)/S + 1 where that is whole, else as `positions` says, with its errors."""
    return positions(Window(F, S, P, P), size, fit)


def window_output(
    volume: Volume,
    D: int,
    F: Pair,
    S: Pair,
    P: Padding,
    fit: FitPolicy = "error",
    dilation: Pair = 1,
    four_sides: bool = False,
) -> Volume:
    """The output volume of a window of F sliding over `volume` at stride S with padding P, D maps deep.

    Raises ShapeError with the numbers and with what would fit, a P of `four_sides` too where the layer may have one.
    """
    down, across = windows(F, S, P, dilation)
    try:
        return Volume(positions(down, volume.H, fit), positions(across, volume.W, fit), D)
    except ShapeError as error:
        if not str(error).startswith("gives"):
            raise
    ways = [_sizes(volume, down, across) + " would fit", *_fitting(volume, F, S, P, dilation, four_sides)]
    apart = f", dilation={size_text(dilation)}" * (dilation != 1)
    numbers = f"F={size_text(F)}, S={size_text(S)}, P={size_text(P)}{apart}"
    given = f"{numbers} does not fit {volume.H}x{volume.W}, as {_formula(volume, down, across)}"
    raise ShapeError(f"{given}: {', or '.join(ways)}, or fit='pad' or fit='crop'")


def _formula(volume: Volume, down: Window, across: Window) -> str:
    """The notes' formula along an axis that does not fit, and what it gives: across where both do not."""
    letter, size, window = ("H", volume.H, down) if fits(across, volume.W) else ("W", volume.W, across)
    extent = "dilation(F - 1) - 1" if window.dilation > 1 else "F"
    padding = "2P" if window.before == window.after else f"{window.before} + {window.after}"
    gives = Fraction(window.left_over(size, 1), window.S) + 1
    return f"({letter} - {extent} + {padding})/S + 1 = {float(gives):g}"


def _sizes(volume: Volume, down: Window, across: Window) -> str:
    """The next larger and the next smaller input that fit: '227 or 223', or '8x9 or 7x7'."""
    rests = [window.left_over(size, 1) % window.S for window, size in ((down, volume.H), (across, volume.W))]
    smaller = volume.H - rests[0], volume.W - rests[1]
    larger = volume.H + -rests[0] % down.S, volume.W + -rests[1] % across.S
    square = all(H == W for H, W in (larger, smaller))
    return " or ".join(f"{H}" if square else f"{H}x{W}" for H, W in (larger, smaller))


def windows(F: Pair, S: Pair, P: Padding, dilation: Pair = 1) -> tuple[Window, Window]:
    """The window along the rows (down) and along the columns (across)."""
    (F_rows, F_columns), (S_rows, S_columns), (top, bottom, left, right) = pair(F), pair(S), sides(P)
    down, across = pair(dilation)
    return Window(F_rows, S_rows, top, bottom, down), Window(F_columns, S_columns, left, right, across)


def _fitting(volume: Volume, F: Pair, S: Pair, P: Padding, dilation: Pair, four_sides: bool) -> list[str]:
    """The nearest P and the nearest smaller S with which the window fits."""

    def good(S: Pair, P: Padding) -> bool:
        down, across = windows(F, S, P, dilation)
        return fits(down, volume.H) and fits(across, volume.W)

    paddings = [p for p in _paddings(volume, F, S, P, dilation, four_sides) if good(S, p)]
    strides = [s for s in _strides(volume, F, S, P, dilation) if good(s, P)]
    return [f"P={size_text(p)}" for p in paddings[:1]] + [f"S={size_text(s)}" for s in strides[:1]]


def _paddings(volume: Volume, F: Pair, S: Pair, P: Padding, dilation: Pair, four_sides: bool) -> list[Padding]:
    """Other paddings to try, the best first: equal ones below the extent, then more zeros below and on the right."""
    down, across = windows(F, S, P, dilation)
    tried: list[Padding] = []
    if isinstance(P, int):
        equal: list[int] = sorted(range(min(max(down.extent, across.extent), 1000)), key=lambda p: abs(p - down.before))
        tried += equal
    if four_sides:
        more = (-down.left_over(volume.H, 1) % down.S, -across.left_over(volume.W, 1) % across.S)
        tried.append((down.before, down.after + more[0], across.before, across.after + more[1]))
    return tried


def _strides(volume: Volume, F: Pair, S: Pair, P: Padding, dilation: Pair) -> list[Pair]:
    """Smaller strides to try, the largest first: one for both axes, else the next that fits along each."""
    if isinstance(S, int):
        return list(range(min(S, 1000) - 1, 0, -1))

    def nearest(window: Window, size: int) -> int:
        return next(s for s in range(min(window.S, 1000), 0, -1) if window.left_over(size, 1) % s == 0)

    down, across = windows(F, S, P, dilation)
    return [(nearest(down, volume.H), nearest(across, volume.W))]
