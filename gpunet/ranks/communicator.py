"""What goes between ranks, whatever carries it: MPI, NCCL, or nothing where there is one process."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gpunet.devices.device import Array, Call, Device


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process stands among all: its rank, how many there are, which it is on its own machine, and that."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    host: str = ""

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.host}" if self.host else f"rank {self.rank}"


class Communicator(ABC):
    """One process among `size`; all of them call the same methods in the same order.

    `sent_bytes`  what this rank has sent of arrays so far
    `look`        called while it waits for others; raises where there is no use in waiting
    """

    place: Place
    sent_bytes: int = 0
    look: Callable[[], None] = staticmethod(lambda: None)

    @property
    def rank(self) -> int:
        return self.place.rank

    @property
    def size(self) -> int:
        return self.place.size

    def goes_beside(self, device: Device) -> bool:
        """Whether what it does for arrays of a device may go on beside what the device computes."""
        return device.name == "cpu"

    @abstractmethod
    def exchange(self, device: Device, sent: Sequence[Array], received: Sequence[Array]) -> None:
        """Give sent[r] to rank r and get received[r] from it, for each rank r, this one too.

        The arrays are one-dimensional, contiguous, and as long on both sides; nothing is sent where they are empty.
        Whatever the device was asked for before is done before, and what it is asked for next comes behind.
        """

    def bound(self, device: Device, sent: Sequence[Array], received: Sequence[Array]) -> Call:
        """`exchange` of these arrays as one call, prepared once and made as often as wanted."""
        return partial(self.exchange, device, sent, received)

    @abstractmethod
    def total(self, device: Device, array: Array) -> None:
        """The sum over all ranks in the place of the array, in whatever order is fastest."""

    @abstractmethod
    def tell(self, value: Any) -> list[Any]:
        """The small plain values that all ranks tell, by rank."""

    @abstractmethod
    def spread(self, values: np.ndarray) -> None:
        """Put the values that rank 0 has into this array of the host, contiguous and as long in all ranks."""

    @abstractmethod
    def close(self) -> None:
        """Wait for all others to come here, and give back what the transport holds."""


def on_host(device: Device, array: Array) -> np.ndarray:
    """The values of an array in the host's memory: itself, or a copy."""
    return array if isinstance(array, np.ndarray) else device.read(array)
