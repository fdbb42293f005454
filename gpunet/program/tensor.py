"""A tensor: a name, a kind, a shape and a dtype; where it lies is the planner's business."""

from dataclasses import dataclass
from enum import StrEnum
from math import prod

ITEMSIZE = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "uint8": 1, "int32": 4}
"""Bytes of one value, by dtype."""

HALVES = ("float16", "bfloat16")
"""The types of two bytes: for activations, their gradients and copies of weights, never for what is summed or kept."""


def wide(dtype: str) -> str:
    """The type of parameters, their gradients, statistics, losses and scratch where activations are of `dtype`."""
    return "float32" if dtype in HALVES else dtype


class Kind(StrEnum):
    """What a tensor is for; every byte of the arena in use belongs to exactly one."""

    DATA = "data"  # image batches, their float copies, labels
    ACTIVATION = "activation"  # outputs of layers; switches and saved statistics included
    GRADIENT = "gradient"  # of activations
    PARAMETER = "parameter"
    PARAMETER_GRADIENT = "parameter_gradient"
    OPTIMIZER_CACHE = "optimizer_cache"
    WORKSPACE = "workspace"  # im2col matrices, partial sums, cuBLAS workspace

    @property
    def persistent(self) -> bool:
        """Whether it outlives a step: such tensors sit at the base of the arena."""
        return self in (Kind.PARAMETER, Kind.OPTIMIZER_CACHE)


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value of the program. `batched`: its first axis counts images, so a smaller batch uses its first rows."""

    name: str
    kind: Kind
    shape: tuple[int, ...]
    dtype: str
    layer: str
    batched: bool = False

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * ITEMSIZE[self.dtype]
