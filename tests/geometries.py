"""Windows that slide: extents, strides, paddings, dilations and fit policies, over inputs whose H and W differ."""

from dataclasses import dataclass
from typing import Any

from gpunet.program.volume import FitPolicy, Volume, pair, sides, size_text, window_output


@dataclass(frozen=True)
class Geometry:
    """A window of F at stride S and padding P over H x W, sizes as `Conv` takes them; pooling takes one number each."""

    H: int
    W: int
    F: Any
    S: Any
    P: Any
    fit: FitPolicy = "error"
    dilation: Any = 1
    groups: int = 1

    @property
    def volume(self) -> Volume:
        return window_output(Volume(self.H, self.W, 1), 1, self.F, self.S, self.P, self.fit, self.dilation)

    @property
    def H2(self) -> int:
        return self.volume.H

    @property
    def W2(self) -> int:
        return self.volume.W

    @property
    def numbers(self) -> dict[str, int]:
        """F, S and P as pooling takes them."""
        return {"F": self.F, "S": self.S, "P": self.P}

    @property
    def conv_numbers(self) -> dict[str, int]:
        """Strides, padding and dilation as convolution takes them."""
        return conv_numbers(self.S, self.P, self.dilation)

    def __str__(self) -> str:
        extra = f"d{size_text(self.dilation)}g{self.groups}" if (self.dilation, self.groups) != (1, 1) else ""
        F, S, P = (size_text(size) for size in (self.F, self.S, self.P))
        return f"{self.H}x{self.W}-F{F}S{S}P{P}{extra}-{self.fit}"


def conv_numbers(S: Any, P: Any, dilation: Any = 1) -> dict[str, int]:
    """Sizes as `Conv` takes them, as the ops of convolution take them."""
    (S_rows, S_columns), (top, _, left, _), (down, across) = pair(S), sides(P), pair(dilation)
    numbers = {"S_rows": S_rows, "S_columns": S_columns, "P_top": top, "P_left": left}
    return numbers | {"dilation_rows": down, "dilation_columns": across}


COMMON = [
    Geometry(7, 5, F=3, S=1, P=1),
    Geometry(8, 6, F=2, S=2, P=0),
    Geometry(9, 7, F=3, S=2, P=0),
    Geometry(5, 7, F=3, S=2, P=1),
    Geometry(6, 9, F=1, S=1, P=0),
    Geometry(5, 4, F=4, S=1, P=2),  # even window: the output grows
    Geometry(8, 11, F=2, S=3, P=0),  # S > F: values between windows that nothing sees
    Geometry(8, 7, F=3, S=2, P=0, fit="pad"),  # the last window hangs over the edge
    Geometry(8, 7, F=2, S=3, P=1, fit="pad"),
    Geometry(8, 10, F=3, S=2, P=0, fit="crop"),  # the last row is unseen
    Geometry(10, 8, F=4, S=3, P=1, fit="crop"),
    Geometry(2, 3, F=3, S=1, P=2),  # windows wider than what they see
]
"""For convolution and pooling alike; pooling needs P < F."""

FILTERS = [
    Geometry(7, 9, F=(1, 5), S=1, P=(0, 2)),
    Geometry(9, 6, F=(5, 1), S=1, P=(2, 0)),
    Geometry(7, 9, F=(2, 3), S=(2, 1), P=(1, 0), fit="pad"),
    Geometry(8, 5, F=2, S=1, P=(0, 1, 0, 1)),  # an even filter that keeps H and W
    Geometry(6, 7, F=3, S=1, P=(2, 0, 0, 3)),
    Geometry(5, 6, F=(1, 2), S=1, P=(3, 2, 1, 4)),  # outermost windows see padding alone
    Geometry(8, 9, F=3, S=1, P=2, dilation=2),
    Geometry(9, 8, F=3, S=2, P=(2, 1, 0, 3), dilation=3, fit="pad"),
    Geometry(11, 7, F=(3, 2), S=3, P=(1, 2), dilation=2, fit="crop"),
    Geometry(4, 5, F=3, S=1, P=4, dilation=4),  # wider than the input: most positions see padding
    Geometry(9, 8, F=2, S=(3, 4), P=(0, 3), dilation=2, fit="crop"),  # values that nothing sees
    Geometry(9, 7, F=(2, 3), S=(2, 1), P=(1, 2), dilation=(2, 1), fit="pad"),
    Geometry(7, 11, F=3, S=(1, 2), P=(0, 3, 2, 2), dilation=(1, 3)),
    Geometry(9, 8, F=3, S=(3, 2), P=2, dilation=(2, 3), groups=4, fit="crop"),
    Geometry(6, 5, F=3, S=1, P=1, groups=2),
    Geometry(7, 6, F=(3, 2), S=2, P=(1, 0), dilation=2, groups=4, fit="crop"),
    Geometry(6, 9, F=1, S=1, P=0, groups=4),
    Geometry(6, 9, F=1, S=(2, 3), P=0, fit="crop"),
    Geometry(5, 4, F=1, S=1, P=1),
]
"""For convolution alone."""
