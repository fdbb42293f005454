"""Sigmoid and tanh, which squash numbers into a range. Source: CS231n "Commonly used activation functions"."""

from dataclasses import dataclass
from typing import ClassVar

from gpunet.layers.elementwise import Elementwise


@dataclass(frozen=True)
class Sigmoid(Elementwise):
    """Elementwise 1 / (1 + exp(-x)), which never overflows here; NaN stays NaN."""

    type: ClassVar[str] = "sigmoid"
    word: ClassVar[str] = "SIGMOID"
    op: ClassVar[str] = "sigmoid"


@dataclass(frozen=True)
class Tanh(Elementwise):
    """Elementwise tanh(x) = 2 * sigmoid(2x) - 1; NaN stays NaN."""

    type: ClassVar[str] = "tanh"
    word: ClassVar[str] = "TANH"
    op: ClassVar[str] = "tanh"
