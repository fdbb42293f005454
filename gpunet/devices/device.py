"""What a device must offer: an arena to place tensors in, the ops by name, a way in and out for host arrays."""

from abc import ABC, abstractmethod
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from math import prod
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, cast

import numpy as np

from gpunet.devices.outside import outside_ops
from gpunet.program.program import DeviceName

Array = Any
"""What ops compute on: numpy.ndarray on the CPU, DeviceArray on CUDA; .shape, .dtype and .size as NumPy's."""

Call = Callable[[], None]
"""Work that is bound to its arrays and numbers."""


class Arena(ABC):
    """One allocation that holds every tensor of a plan."""

    nbytes: int

    @abstractmethod
    def view(self, offset: int, shape: tuple[int, ...], dtype: str, maps: int = 0) -> Array:
        """The bytes from `offset` as a C-contiguous array; nothing is copied or cleared.

        `maps`  where it lies in a wider array: how many values there are in each position of that, so many behind the
                one before a position begins
        """

    @abstractmethod
    def fill(self, offset: int, nbytes: int, byte: int) -> None:
        """Set nbytes bytes from `offset` to `byte`; 0xFF makes every float a NaN."""

    @abstractmethod
    def free(self) -> None:
        """Give the memory back; the views are of no use afterwards."""


class Device(ABC):
    """Runs ops inside an arena. Ops of one device are called in order; `read` waits for those before it."""

    name: DeviceName  # as people say it: cpu, cuda, cuda:1

    @property
    @abstractmethod
    def ops(self) -> Mapping[str, Callable[..., None]]:
        """Every op by its name; the CPU's docstrings are the contract."""

    @abstractmethod
    def bind(self, op: str, arrays: Sequence[Array | None], numbers: Mapping[str, float | str]) -> list[Call]:
        """What calling an op on these arrays with these numbers comes to: for `run`, in order, as often as wanted."""

    def run(self, calls: Sequence[Call]) -> None:
        """Make calls of `bind` or `capture`, in order."""
        for call in calls:
            call()

    def aside(self) -> AbstractContextManager[None]:
        """What is bound meanwhile is for `beside`."""
        return nullcontext()

    @abstractmethod
    def beside(self, calls: Sequence[Call]) -> Any:
        """Begin calls that were bound `aside`, in order, behind all that was asked for so far and those begun before.

        What is asked for next goes on beside them. Returns what `wait_for` takes, never None.
        """

    def capture(self, calls: Sequence[Call]) -> Call | None:
        """All of these calls of `bind`, each of which was made before, as one; None where that would gain nothing."""
        return None

    @abstractmethod
    def allocate(self, nbytes: int) -> Arena:
        """Exactly nbytes, the base aligned to 256 bytes. Raises DeviceError where there is not that much."""

    @abstractmethod
    def write(self, array: Array, values: np.ndarray) -> None:
        """Copy values (same shape, converted to the array's dtype) from the host into the array."""

    @abstractmethod
    def send(self, array: Array, values: np.ndarray, after: Any) -> Any:
        """Begin to copy values (same shape and dtype) into the array, beside what was asked for since the mark `after`.

        Returns what `wait_for` takes, never None; the values may be changed at once.
        """

    @abstractmethod
    def wait_for(self, sent: Any) -> None:
        """Let what is asked for from now on begin once what `send` or `beside` has begun is done."""

    @abstractmethod
    def read(self, array: Array) -> np.ndarray:
        """A copy of the array on the host; of halves, float16 or bfloat16, as float32, which says the same."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until all that was asked for is done."""

    @abstractmethod
    def mark(self) -> Any:
        """A point in time behind everything that was asked for so far; does not wait for it."""

    @abstractmethod
    def milliseconds(self, first: Any, last: Any) -> float:
        """From one mark to a later one; waits for it."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the device holds; its arrays are of no use afterwards."""

    def arithmetic(self) -> dict[str, str]:
        """What the last bits of results depend on, in words by name, as far as the device itself knows."""
        return {}


def values_between(shape: tuple[int, ...], maps: int = 0) -> int:
    """From the first value of an array to behind its last; `maps` as in `Arena.view`."""
    positions = prod(shape[:-1])
    return (positions - 1) * maps + shape[-1] if maps and positions else prod(shape)


def collect_ops(
    package: ModuleType, without: Iterable[str] = ("device", "target")
) -> MutableMapping[str, Callable[..., None]]:
    """The functions that a device's modules name in `__all__`, by name: a new op file needs no registry.

    Behind them those that were added from outside.
    """
    ops: dict[str, Callable[..., None]] = {}
    for module in iter_modules(package.__path__):
        if module.name not in without:
            loaded = import_module(f"{package.__name__}.{module.name}")
            ops.update({name: getattr(loaded, name) for name in loaded.__all__})
    device = package.__name__.rpartition(".")[2]
    return ChainMap(ops, cast(dict[str, Callable[..., None]], outside_ops(device)))
