"""One line to launch a kernel: the driver, the real type and the grid follow from the arrays and the count."""

import numpy as np

from gpunet.devices.cuda.arrays import Argument, DeviceArray

NUMBERS = np.dtype(np.float64)
"""Of the numbers that change from step to step, whatever arrays are made of."""

BLOCK = 256
"""Threads of a block, as BLOCK in cuda/common.cuh."""

BLOCKS_PER_MULTIPROCESSOR = 32
"""Eight blocks of 256 threads fill a multiprocessor; four times as many even out the last ones."""


def launch(file: str, kernel: str, count: int, *arguments: Argument, shared: int = 0) -> None:
    """Launch `kernel` of cuda/`file`.cu with a thread for each of `count` items, or fewer that stride over the grid.

    `real` is the float dtype of the arrays among the arguments; they must agree, but that float64 numbers, which change
    from step to step, may stand beside float32 arrays. `shared` is that of `Driver.launch`. Nothing is launched for a
    count of 0.
    """
    if count == 0:
        return
    arrays = [argument for argument in arguments if isinstance(argument, DeviceArray)]
    reals = {array.dtype for array in arrays if array.dtype.kind == "f"}
    if len(reals) > 1:
        reals.discard(NUMBERS)
    if len(reals) != 1:
        raise TypeError(f"{file}.{kernel} needs arrays of one float dtype, not {sorted(map(str, reals)) or 'none'}")
    driver = arrays[0].driver
    grid = min(-(-count // BLOCK), driver.multiprocessors * BLOCKS_PER_MULTIPROCESSOR)
    driver.launch(file, kernel, grid, BLOCK, *arguments, real=reals.pop(), shared=shared)


def launch_blocks(file: str, kernel: str, blocks: int, *arguments: Argument, shared: int = 0) -> None:
    """As `launch`, for a kernel in which a whole block works on each of `blocks` items (striding over them too)."""
    launch(file, kernel, blocks * BLOCK, *arguments, shared=shared)
