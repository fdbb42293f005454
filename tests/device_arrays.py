"""Arrays straight on a driver, without an arena: for tests that place and launch things themselves."""

from typing import Any

import numpy as np

from gpunet.devices.cuda.arrays import DeviceArray, Driver


def new_array(driver: Driver, shape: tuple[int, ...], dtype: Any, values: np.ndarray | None = None) -> DeviceArray:
    """A new array that holds these values, or whatever the driver leaves in fresh memory."""
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    array = DeviceArray(driver.allocate(nbytes).pointer, shape, np.dtype(dtype), driver)
    if values is not None:
        driver.copy_in(array.pointer, np.ascontiguousarray(values))
    return array


def read(array: DeviceArray) -> np.ndarray:
    """A copy of the array on the host."""
    values = np.empty(array.shape, array.dtype)
    array.driver.copy_out(array.pointer, values)
    return values
