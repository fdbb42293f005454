"""What a kernel is to the bench: its tensors, how to call it, what to compare it with, the bytes it must move."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from .timing import Call

Spec = tuple[tuple[int, ...], str]
Peers = Callable[[Any, Mapping[str, Any]], Mapping[str, Call]]

BLOCK_VALUES = 2**22
"""Random values are drawn in a block of so many and repeated: 100 million would take seconds."""


@dataclass(frozen=True)
class Sizes:
    """How large the cases are: N images of side x side x D, `classes` scores, `weights` values in the update."""

    N: int = 32
    side: int = 224
    D: int = 64
    classes: int = 1000
    weights: int = 102_760_448

    def halved(self) -> "Sizes":
        """Half as many images and weights."""
        return Sizes(self.N // 2, self.side, self.D, self.classes, self.weights // 2)


@dataclass(frozen=True)
class Kernel:
    """One kernel at one size.

    `inputs`   specs of tensors that get random values, positive integers below `below` for integer types
    `given`    values, repeated, of inputs that do not get random ones
    `outputs`  specs of tensors that are poisoned before the first call
    `call`     (the device's ops, its arrays by name): runs it once
    `peers`    (torch, tensors with the inputs by name): what PyTorch does in its place, by the name of the way
    `result`   the tensor to compare with what the first peer returns, once `ours` has put that into gpunet's layout
    `nbytes`   bytes of every value that must be read or written, counted once each
    """

    name: str
    inputs: Mapping[str, Spec]
    outputs: Mapping[str, Spec]
    call: Callable[[Mapping[str, Any], Mapping[str, Any]], None]
    peers: Peers
    result: str
    nbytes: int
    ours: Callable[[Any], Any] = lambda result: result
    below: int = 256
    given: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def tensors(self) -> dict[str, Spec]:
        return {**self.inputs, **self.outputs}


def nbytes_of(spec: Spec) -> int:
    shape, dtype = spec
    return prod(shape) * np.dtype(dtype).itemsize


def random_values(spec: Spec, below: int, seed: int) -> np.ndarray:
    """Normal values, or integers from 0 to below - 1."""
    shape, dtype = spec
    rng = np.random.default_rng(seed)
    count = min(prod(shape), BLOCK_VALUES)
    if np.dtype(dtype).kind == "f":
        return np.resize(rng.standard_normal(count, np.dtype(dtype)), shape)
    return np.resize(rng.integers(0, below, count, np.dtype(dtype)), shape)
