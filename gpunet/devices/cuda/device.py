"""The CUDA device: one arena of a GPU's memory, the project's own kernels and cuBLAS."""

from collections.abc import Callable, Mapping
from math import prod

import numpy as np

import gpunet.devices.cuda as package
from gpunet.devices.cuda.arrays import Allocation, DeviceArray, Driver
from gpunet.devices.device import Arena, Device, collect_ops
from gpunet.errors import ShapeError

STAGING_BYTES = 4 * 2**20
"""Values that must be converted or gathered on their way to the device go through so much host memory at a time."""

_WITHOUT_OPS = ("arrays", "device", "driver", "gemm", "launch", "source", "target")


class CudaArena(Arena):
    """Memory of the driver's device."""

    def __init__(self, driver: Driver, nbytes: int):
        self.nbytes = nbytes
        self.allocation: Allocation = driver.allocate(nbytes)
        self._driver = driver

    def view(self, offset: int, shape: tuple[int, ...], dtype: str) -> DeviceArray:
        array = DeviceArray(self.allocation.pointer + offset, tuple(shape), np.dtype(dtype), self._driver)
        self._check(offset, array.nbytes)
        return array

    def fill(self, offset: int, nbytes: int, byte: int) -> None:
        self._check(offset, nbytes)
        self._driver.fill(self.allocation.pointer + offset, byte, nbytes)

    def _check(self, offset: int, nbytes: int) -> None:
        if offset < 0 or offset + nbytes > self.nbytes:
            raise ShapeError(f"bytes {offset} to {offset + nbytes} are not all in an arena of {self.nbytes}")


class CudaDevice(Device):
    """Runs ops through a driver: CuPy's, or in the tests the emulator's."""

    name = "cuda"

    def __init__(self, driver: Driver):
        self.driver = driver
        self._arenas: list[CudaArena] = []
        self._ops = collect_ops(package, without=_WITHOUT_OPS)

    @property
    def ops(self) -> Mapping[str, Callable[..., None]]:
        return self._ops

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
        elif values.ndim == 0:
            self.driver.copy_in(array.pointer, values.astype(array.dtype))
        else:
            self._write_in_parts(array, values)

    def _write_in_parts(self, array: DeviceArray, values: np.ndarray) -> None:
        """Convert some rows at a time, so that the host holds no second copy of a large batch."""
        row_bytes = prod(array.shape[1:]) * array.dtype.itemsize
        rows = min(len(values), max(1, STAGING_BYTES // max(1, row_bytes)))
        staging = np.empty((rows, *array.shape[1:]), array.dtype)
        for first in range(0, len(values), max(1, rows)):
            part = staging[: min(rows, len(values) - first)]
            part[...] = values[first : first + rows]
            self.driver.copy_in(array.rows(first, first + len(part)).pointer, part)

    def read(self, array: DeviceArray) -> np.ndarray:
        values = np.empty(array.shape, array.dtype)
        self.driver.copy_out(array.pointer, values)
        return values

    def synchronize(self) -> None:
        self.driver.synchronize()

    def close(self) -> None:
        for arena in self._arenas:
            self.driver.free(arena.allocation)
        self._arenas.clear()
        self.driver.close()


def open_device() -> CudaDevice:
    """Open the GPU. Raises DeviceError, saying what is missing and how to get it."""
    from gpunet.devices.cuda.driver import CupyDriver

    return CudaDevice(CupyDriver())
