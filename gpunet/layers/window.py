"""What all pooling layers share: windows that slide over each map by itself. Source: CS231n "Pooling Layer"."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from gpunet.errors import ConfigError
from gpunet.layers.layer import Layer, require_fit, require_sizes
from gpunet.program.field import Window
from gpunet.program.volume import FitPolicy, Padding, Pair, Volume, pair, sides, size_text, window_output, windows


@dataclass(frozen=True)
class Pool(Layer):
    """Windows of F at stride S (None: S = F), with P rows and columns around the input in which there is nothing.

    `F, S`  one number for both axes, or (along the rows, along the columns)
    `P`     on all sides; or (above and below, left and right); or (top, bottom, left, right)
    `fit`   None follows the net's policy. Under "pad" the last window may hang over the edge, as Caffe's do.

    Sizes that are equal are kept as one number.
    """

    F: Pair = 2
    S: Pair | None = None
    P: Padding = 0
    fit: FitPolicy | None = None

    number: ClassVar[str] = "F"
    optional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.S is None:
            object.__setattr__(self, "S", self.F)
        for letter, counts, least in (("F", (2,), 1), ("S", (2,), 1), ("P", (2, 4), 0)):
            object.__setattr__(self, letter, require_sizes(letter, getattr(self, letter), counts, least))
        require_fit(self.fit)
        rows, columns = pair(self.F)
        if max(rows, columns) > 255:
            raise ConfigError(f"F={size_text(self.F)} is more than a pooling window may have; use F <= 255")
        top, bottom, left, right = sides(self.P)
        if max(top, bottom) >= rows or max(left, right) >= columns:
            said = f"P={size_text(self.P)} would make windows of padding alone; use P < F={size_text(self.F)}"
            raise ConfigError(said)

    @property
    def stride(self) -> Pair:
        """S, which is known from the start."""
        assert self.S is not None  # set in __post_init__
        return self.S

    @property
    def geometry(self) -> Mapping[str, int]:
        """F, S and P as the ops take them."""
        return geometry_of(self.F, self.stride, self.P)

    def output(self, *inputs: Volume) -> Volume:
        (volume,) = inputs
        return window_output(volume, volume.D, self.F, self.stride, self.P, self.fit or "error")

    def window(self, *inputs: Volume) -> tuple[Window, Window]:
        return windows(self.F, self.stride, self.P)


def geometry_of(F: Pair, S: Pair, P: Padding) -> dict[str, int]:
    """F, S and P as ops take them: those for square windows with equal sides, or those by axis."""
    if isinstance(F, int) and isinstance(S, int) and isinstance(P, int):
        return {"F": F, "S": S, "P": P}
    return by_axis(F, S, P)


def by_axis(F: Pair, S: Pair, P: Padding) -> dict[str, int]:
    """F, S and P as the ops by axis take them."""
    (F_rows, F_columns), (S_rows, S_columns), (top, _, left, _) = pair(F), pair(S), sides(P)
    return {
        "F_rows": F_rows,
        "F_columns": F_columns,
        "S_rows": S_rows,
        "S_columns": S_columns,
        "P_top": top,
        "P_left": left,
    }


def op_for(pool: str, direction: str, geometry: Mapping[str, int]) -> str:
    """The op of a pool, such as max_pool, that takes this geometry."""
    return f"{pool}_{direction}" if "F" in geometry else f"{pool}_by_axis_{direction}"
