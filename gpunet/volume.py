"""Volumes (height, width, depth) and the notes' output size, (W - F + 2P)/S + 1, with its three fit policies."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

from gpunet.errors import ConfigError, ShapeError

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
                raise ShapeError(f"a volume needs {letter} >= 1, an integer; got {letter}={size!r}")

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
                raise ConfigError(f"a volume is H, W, D: three sizes; got {text!r}")
            return cls(*text)
        match = re.fullmatch(r"\s*(\d{1,9})\s*[xX]\s*(\d{1,9})\s*[xX]\s*(\d{1,9})\s*", str(text))
        if not match:
            raise ConfigError(f"cannot read {text!r} as a volume; write height x width x depth, like 32x32x3")
        return cls(*(int(size) for size in match.groups()))


def output_size(size: int, F: int, S: int, P: int, fit: FitPolicy = "error") -> int:
    """How many positions a window of extent F takes along an axis of `size`, at stride S with P zeros on both sides.

    (size - F + 2P)/S + 1 where that is whole. Where it is not: "error" raises, "crop" leaves the last rows unseen
    (rounds down), "pad" adds zeros behind the last row until one more window fits (rounds up, as Caffe's pooling
    does; a window that would start in the padding is dropped).

    Raises ShapeError when the window is larger than the padded input, or under "error" when it does not fit.
    Source: CS231n "Convolutional Layer"; W=10, F=3, P=0, S=2 gives 4.5.
    """
    room = size - F + 2 * P
    if room < 0:
        raise ShapeError(
            f"F={F} is larger than the input of {size} with P={P} on both sides; "
            f"use F <= {size + 2 * P} or P >= {-(-(F - size) // 2)}"
        )
    whole, rest = divmod(room, S)
    if rest == 0 or fit == "crop":
        return whole + 1
    if fit == "pad":
        return whole + 2 if (whole + 1) * S < size + P else whole + 1
    raise ShapeError(f"gives {float(Fraction(room, S) + 1):g}")


def window_output(volume: Volume, D: int, F: int, S: int, P: int, fit: FitPolicy = "error") -> Volume:
    """The output volume of an F x F window sliding over `volume` at stride S with padding P, D maps deep.

    Raises ShapeError with the numbers and with what would fit.
    """
    try:
        return Volume(output_size(volume.H, F, S, P, fit), output_size(volume.W, F, S, P, fit), D)
    except ShapeError as error:
        if not str(error).startswith("gives"):
            raise
        ways = [*_fitting(volume, F, S, P), "fit='pad' or fit='crop'"]
        raise ShapeError(
            f"F={F}, S={S}, P={P} does not fit {volume.H}x{volume.W} ({error}); use {', or '.join(ways)}"
        ) from None


def _fitting(volume: Volume, F: int, S: int, P: int) -> list[str]:
    """The nearest P and the nearest smaller S with which the window fits."""

    def fits(S: int, P: int) -> bool:
        return all(size - F + 2 * P >= 0 and (size - F + 2 * P) % S == 0 for size in (volume.H, volume.W))

    paddings = [p for p in sorted(range(F), key=lambda p: abs(p - P)) if fits(S, p)]
    strides = [s for s in range(S - 1, 0, -1) if fits(s, P)]
    return [f"P={p}" for p in paddings[:1]] + [f"S={s}" for s in strides[:1]]
