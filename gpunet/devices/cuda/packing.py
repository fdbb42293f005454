"""The arguments of a launch, laid out once as CUDA reads them at each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpunet.devices.cuda.arrays import Argument, cast

__all__: tuple[str, ...] = ()  # no ops here

SLOT_BYTES = 8
"""For an argument: pointers and long long fill it, a float its first half."""


@dataclass(frozen=True)
class Packed:
    """The arguments and their addresses, which are what a launch takes; both must outlive it."""

    slots: np.ndarray
    addresses: np.ndarray

    @property
    def pointer(self) -> int:
        """Where the addresses stand: cuLaunchKernel's kernelParams."""
        return int(self.addresses.ctypes.data)


def pack(arguments: Sequence[Argument], real: np.dtype) -> Packed:
    """The arguments as the kernels of `real` expect them; see `cast`. A table takes many slots."""
    parts = [argument if isinstance(argument, tuple) else (argument,) for argument in arguments]
    slots = np.zeros(sum(map(len, parts)), np.uint64)
    for slot, value in enumerate(cast(one, real) for part in parts for one in part):
        slots[slot : slot + 1].view(value.dtype)[0] = value
    begins = np.cumsum([0, *map(len, parts)], dtype=np.uint64)[:-1]
    return Packed(slots, slots.ctypes.data + SLOT_BYTES * begins)
