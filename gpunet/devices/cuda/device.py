"""The CUDA device: one arena of a GPU's memory, the project's own kernels and cuBLAS."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from math import prod
from typing import Any

import numpy as np

import gpunet.devices.cuda as package
from gpunet.devices.cuda.arrays import Allocation, DeviceArray, Driver, Maps
from gpunet.devices.device import Arena, Call, Device, collect_ops, values_between
from gpunet.devices.name import full_name
from gpunet.errors import DeviceError, ShapeError
from gpunet.values.types import as_numbers, numpy_type

STAGING_BYTES = 4 * 2**20
"""Values that must be converted or gathered on their way to the device go through so much host memory at a time."""

_WITHOUT_OPS = ("arrays", "cublas", "device", "driver", "gemm", "launch", "packing", "present", "source", "target")


class CudaArena(Arena):
    """Memory of the driver's device."""

    def __init__(self, driver: Driver, nbytes: int):
        self.nbytes = nbytes
        self._driver = driver
        self._allocation: Allocation | None = driver.allocate(nbytes)

    def view(self, offset: int, shape: tuple[int, ...], dtype: str, maps: int = 0) -> DeviceArray | Maps:
        kind = numpy_type(dtype)
        pointer = self._pointer(offset, values_between(shape, maps) * kind.itemsize)
        if maps:
            return Maps(pointer, tuple(shape), maps, kind, self._driver)
        return DeviceArray(pointer, tuple(shape), kind, self._driver)

    def fill(self, offset: int, nbytes: int, byte: int) -> None:
        self._driver.fill(self._pointer(offset, nbytes), byte, nbytes)

    def free(self) -> None:
        if self._allocation is not None:
            self._driver.free(self._allocation)
            self._allocation = None

    def _pointer(self, offset: int, nbytes: int) -> int:
        """The address of `offset`, if nbytes bytes from there are all in the arena."""
        if self._allocation is None:
            raise DeviceError(
                "an arena was used after its memory was given back, as closing a model does: make another"
            )
        if offset < 0 or offset + nbytes > self.nbytes:
            raise ShapeError(f"bytes {offset} to {offset + nbytes} are not all in an arena of {self.nbytes}")
        return self._allocation.pointer + offset


class CudaDevice(Device):
    """Runs ops through a driver: CuPy's, or in the tests the emulator's; `number`: which GPU of those CUDA shows."""

    def __init__(self, driver: Driver, number: int = 0):
        self.name = full_name("cuda", number)
        self.driver = driver
        self._arenas: list[CudaArena] = []
        self._ops = collect_ops(package, without=_WITHOUT_OPS)

    @property
    def ops(self) -> Mapping[str, Callable[..., None]]:
        return self._ops

    def bind(self, op: str, arrays: Sequence[Any], numbers: Mapping[str, float | str]) -> list[Call]:
        """Its launches and products, each with its grid and its arguments packed."""
        return self.driver.record(partial(self.ops[op], *arrays, **numbers))

    def run(self, calls: Sequence[Call]) -> None:
        self.driver.run(calls)

    def aside(self) -> AbstractContextManager[None]:
        return self.driver.aside()

    def beside(self, calls: Sequence[Call]) -> Any:
        return self.driver.beside(calls)

    def capture(self, calls: Sequence[Call]) -> Call:
        """A CUDA graph."""
        return self.driver.capture(calls)

    def allocate(self, nbytes: int) -> CudaArena:
        arena = CudaArena(self.driver, nbytes)
        self._arenas.append(arena)
        return arena

    def write(self, array: DeviceArray, values: np.ndarray) -> None:
        values = np.asarray(values)
        if values.shape != array.shape:
            raise ShapeError(f"values of shape {values.shape} do not fit an array of shape {array.shape}")
        if values.dtype == array.dtype and values.flags.c_contiguous:
            self.driver.copy_in(array.pointer, values)
            return
        with np.errstate(over="ignore"):  # what is too large for halves becomes infinite
            if values.ndim == 0:
                self.driver.copy_in(array.pointer, values.astype(array.dtype))
            else:
                self._write_in_parts(array, values)

    def send(self, array: DeviceArray, values: np.ndarray, after: Any) -> Any:
        if values.shape != array.shape or values.dtype != array.dtype:
            raise ShapeError(
                f"values of {values.dtype} and shape {values.shape} do not fit an array of {array.dtype} and shape "
                f"{array.shape}"
            )
        return self.driver.send(array.pointer, values, after)

    def wait_for(self, sent: Any) -> None:
        self.driver.wait_for(sent)

    def _write_in_parts(self, array: DeviceArray, values: np.ndarray) -> None:
        """Convert some rows at a time, so that the host holds no second copy of a large batch."""
        row_bytes = prod(array.shape[1:]) * array.dtype.itemsize
        rows = min(len(values), max(1, STAGING_BYTES // max(1, row_bytes)))
        staging = np.empty((rows, *array.shape[1:]), array.dtype)
        for first in range(0, len(values), max(1, rows)):
            part = staging[: min(rows, len(values) - first)]
            part[...] = values[first : first + rows]
            self.driver.copy_in(array.rows(first, first + len(part)).pointer, part)

    def read(self, array: DeviceArray | Maps) -> np.ndarray:
        if isinstance(array, Maps):
            return self._read_maps(array)
        values = np.empty(array.shape, array.dtype)
        self.driver.copy_out(array.pointer, values)
        return as_numbers(values)

    def _read_maps(self, array: Maps) -> np.ndarray:
        """By way of the volume that they lie in, but for what comes behind them in its last position."""
        values = np.empty(prod(array.shape[:-1]) * array.stride, array.dtype)
        self.driver.copy_out(array.pointer, values[: values_between(array.shape, array.stride)])
        maps = values.reshape(*array.shape[:-1], array.stride)[..., : array.shape[-1]]
        return as_numbers(maps.copy())

    def synchronize(self) -> None:
        self.driver.synchronize()

    def mark(self) -> Any:
        return self.driver.event()

    def milliseconds(self, first: Any, last: Any) -> float:
        return self.driver.elapsed_ms(first, last)

    def arithmetic(self) -> dict[str, str]:
        return self.driver.arithmetic()

    def close(self) -> None:
        arenas, self._arenas = self._arenas, []
        try:
            for arena in arenas:
                arena.free()
        finally:
            self.driver.close()


def open_device(number: int = 0) -> CudaDevice:
    """Open the GPU that CUDA shows under that number. Raises DeviceError, saying what is missing and how to get it."""
    from gpunet.devices.cuda.driver import CupyDriver

    return CudaDevice(CupyDriver(number), number)
