"""What all pooling layers share: F x F windows that slide over each map by itself. Source: CS231n "Pooling Layer"."""

from dataclasses import dataclass
from typing import ClassVar

from gpunet.errors import ConfigError
from gpunet.layers.layer import Layer, require_fit, require_int
from gpunet.program.field import Window
from gpunet.program.volume import FitPolicy, Volume, window_output


@dataclass(frozen=True)
class Pool(Layer):
    """F x F windows at stride S (None: S = F), with P rows and columns around the input in which there is nothing.

    `fit` None follows the net's policy. Under "pad" the last window may hang over the edge, as Caffe's do.
    """

    F: int = 2
    S: int | None = None
    P: int = 0
    fit: FitPolicy | None = None

    number: ClassVar[str] = "F"
    optional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.S is None:
            object.__setattr__(self, "S", self.F)
        require_int("F", self.F)
        require_int("S", self.S)
        require_int("P", self.P, 0)
        require_fit(self.fit)
        if self.F > 255:
            raise ConfigError(f"F={self.F} is more than a pooling window may have; use F <= 255")
        if self.P >= self.F:
            raise ConfigError(f"P={self.P} would make windows of padding alone; use P < F={self.F}")

    @property
    def geometry(self) -> dict[str, int]:
        """F, S and P as the ops take them."""
        assert self.S is not None  # set in __post_init__
        return {"F": self.F, "S": self.S, "P": self.P}

    def output(self, *inputs: Volume) -> Volume:
        (volume,) = inputs
        F, S, P = self.geometry.values()
        return window_output(volume, volume.D, F, S, P, self.fit or "error")

    def window(self, *inputs: Volume) -> tuple[Window, Window]:
        assert self.S is not None  # set in __post_init__
        window = Window(self.F, self.S, self.P, self.P)
        return window, window
