"""ReLU, max(0, x). Source: CS231n "Layers used to build ConvNets"."""

from dataclasses import dataclass
from typing import ClassVar

from gpunet.layers.elementwise import Elementwise


@dataclass(frozen=True)
class ReLU(Elementwise):
    """Elementwise max(0, x); NaN stays NaN."""

    type: ClassVar[str] = "relu"
    word: ClassVar[str] = "RELU"
    op: ClassVar[str] = "relu"
