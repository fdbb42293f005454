"""The CPU as a device: an arena of anonymous memory, and the ops of this package on NumPy views of it."""

import mmap
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property, partial
from itertools import accumulate
from operator import mul
from time import perf_counter

import numpy as np

import gpunet.devices.cpu as package
from gpunet.devices.cpu.probe import free_bytes
from gpunet.devices.cpu.threads import single
from gpunet.devices.device import Arena, Array, Call, Device, collect_ops, values_between
from gpunet.errors import DeviceError, OutOfMemory, ShapeError
from gpunet.values.types import is_half, numpy_type

_WITHOUT_OPS = ("device", "im2col", "meter", "normal", "probe", "random", "select", "target", "threads", "window")


class CpuArena(Arena):
    """Anonymous memory, page-aligned, in huge pages where the system has them."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self._memory: mmap.mmap | None = _anonymous_memory(nbytes)

    def view(self, offset: int, shape: tuple[int, ...], dtype: str, maps: int = 0) -> np.ndarray:
        if self._memory is None:
            raise DeviceError(
                "an arena was used after its memory was given back, as closing a model does: make another"
            )
        kind, values = numpy_type(dtype), values_between(shape, maps)
        end = offset + values * kind.itemsize
        if offset < 0 or end > self.nbytes:
            raise ShapeError(f"bytes {offset} to {end} are not all in an arena of {self.nbytes}")
        if not maps:
            return np.frombuffer(self._memory, kind, values, offset).reshape(shape)
        steps = [kind.itemsize, *accumulate((maps, *shape[-2:0:-1]), mul)]
        strides = (*(steps[0] * step for step in reversed(steps[1:])), steps[0])
        return np.ndarray(shape, kind, self._memory, offset, strides)

    def fill(self, offset: int, nbytes: int, byte: int) -> None:
        self.view(offset, (nbytes,), "uint8").fill(byte)

    def free(self) -> None:
        """The system takes the memory back once the last view of it is gone."""
        self._memory = None


class CpuDevice(Device):
    """Ops return when they are done, so `read` and `synchronize` have nothing to wait for but what goes on `beside`."""

    name = "cpu"

    @cached_property
    def ops(self) -> Mapping[str, Callable[..., None]]:
        return collect_ops(package, _WITHOUT_OPS)

    def bind(self, op: str, arrays: Sequence[Array | None], numbers: Mapping[str, float | str]) -> list[Call]:
        return [partial(self.ops[op], *arrays, **numbers)]

    def run(self, calls: Sequence[Call]) -> None:
        with single(), np.errstate(all="ignore"):  # of a run that diverges the loss tells
            super().run(calls)

    def beside(self, calls: Sequence[Call]) -> "Future[None]":
        return self._other.submit(self.run, calls)

    @cached_property
    def _other(self) -> ThreadPoolExecutor:
        """One thread, so that what it is asked for goes in order."""
        return ThreadPoolExecutor(1, thread_name_prefix="gpunet-beside")

    def allocate(self, nbytes: int) -> CpuArena:
        return CpuArena(nbytes)

    def write(self, array: np.ndarray, values: np.ndarray) -> None:
        if np.shape(values) != array.shape:
            raise ShapeError(f"values of shape {np.shape(values)} do not fit an array of shape {array.shape}")
        with np.errstate(over="ignore"):  # what is too large for halves becomes infinite
            np.copyto(array, values, casting="unsafe")

    def send(self, array: np.ndarray, values: np.ndarray, after: float) -> float:
        self.write(array, values)
        return self.mark()

    def wait_for(self, sent: "float | Future[None]") -> None:
        if isinstance(sent, Future):
            sent.result()

    def read(self, array: np.ndarray) -> np.ndarray:
        return array.astype(np.float32) if is_half(array) else array.copy()

    def synchronize(self) -> None:
        return

    def mark(self) -> float:
        return perf_counter()

    def milliseconds(self, first: float, last: float) -> float:
        return (last - first) * 1e3

    def close(self) -> None:
        if "_other" in self.__dict__:
            self._other.shutdown(wait=False)


def open_device() -> CpuDevice:
    """The CPU; there always is one."""
    return CpuDevice()


def _anonymous_memory(nbytes: int) -> mmap.mmap:
    """Zeroed memory of our own. Raises DeviceError where there is not that much."""
    free = free_bytes()
    gib = f"{nbytes / 2**30:.2f} GiB ({nbytes} bytes)"
    if free is not None and nbytes > free:  # the system would promise it, and kill the process where it is used
        raise OutOfMemory(
            f"an arena of {gib} does not fit the {free / 2**30:.2f} GiB that are free; use a smaller batch"
        )
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    try:
        memory = mmap.mmap(-1, max(nbytes, 1), **private)  # an empty mapping is refused
    except (OSError, OverflowError, ValueError) as error:
        raise OutOfMemory(
            f"the system gave no arena of {gib}: {error}; close programs or use a smaller batch"
        ) from None
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel built without them: small pages do
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
