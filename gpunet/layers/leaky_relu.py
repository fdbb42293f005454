"""Leaky ReLU. Source: CS231n "Commonly used activation functions"; Maas et al. 2013."""

from dataclasses import dataclass
from typing import ClassVar

from gpunet.layers.elementwise import Elementwise
from gpunet.layers.layer import require_number


@dataclass(frozen=True)
class LeakyReLU(Elementwise):
    """Elementwise x where x > 0, else alpha * x, with 0 < alpha < 1; NaN stays NaN."""

    alpha: float = 0.01

    type: ClassVar[str] = "lrelu"
    word: ClassVar[str] = "LRELU"
    op: ClassVar[str] = "leaky_relu"

    def __post_init__(self) -> None:
        require_number("alpha", self.alpha, above=0, below=1)
