"""One line to launch a kernel: the driver, the real type and the grid follow from the arrays and the count."""

from collections.abc import Sequence

import numpy as np

from gpunet.devices.cuda.arrays import Argument, DeviceArray
from gpunet.devices.cuda.source import takes_halves
from gpunet.errors import DeviceError
from gpunet.program.tensor import HALVES

NUMBERS = np.dtype(np.float64)
"""Of the numbers that change from step to step, whatever arrays are made of."""

SINGLE = np.dtype(np.float32)

BLOCK = 256
"""Threads of a block, as BLOCK in cuda/common.cuh."""

BLOCKS_PER_MULTIPROCESSOR = 32
"""Eight blocks of 256 threads fill a multiprocessor; four times as many even out the last ones."""


def launch(file: str, kernel: str, count: int, *arguments: Argument, shared: int = 0) -> None:
    """Launch `kernel` of cuda/`file`.cu with a thread for each of `count` items, or fewer that stride over the grid.

    `real` is that of `real_of`; `shared` is that of `Driver.launch`. Nothing is launched for a count of 0.
    Raises DeviceError for arrays of a half type where the kernel does not know of them.
    """
    if count == 0:
        return
    arrays = [argument for argument in arguments if isinstance(argument, DeviceArray)]
    driver, real = arrays[0].driver, real_of(f"{file}.{kernel}", arrays)
    if real.name in HALVES and not takes_halves(file):
        raise DeviceError(
            f"the kernel {kernel} takes no {real.name}, as its pointers to volumes are real*: make them stored*, or "
            "use float32"
        )
    grid = min(-(-count // BLOCK), driver.multiprocessors * BLOCKS_PER_MULTIPROCESSOR)
    driver.launch(file, kernel, grid, BLOCK, *arguments, real=real, shared=shared)


def real_of(kernel: str, arrays: Sequence[DeviceArray]) -> np.dtype:
    """The float type for which a kernel is compiled: that of all these arrays that have one.

    Beside arrays of a half type there are float32 ones, of what does not lie in halves; float64 numbers, which change
    from step to step, may stand beside all.
    """
    found = {array.dtype for array in arrays if array.dtype.kind == "f" or array.dtype.name in HALVES}
    if len(found) > 1:
        found.discard(NUMBERS)
    if any(one.name in HALVES for one in found):
        found.discard(SINGLE)
    if len(found) != 1:
        raise TypeError(f"{kernel} needs arrays of one float dtype, not {sorted(map(str, found)) or 'none'}")
    return found.pop()


def launch_blocks(file: str, kernel: str, blocks: int, *arguments: Argument, shared: int = 0) -> None:
    """As `launch`, for a kernel in which a whole block works on each of `blocks` items (striding over them too)."""
    launch(file, kernel, blocks * BLOCK, *arguments, shared=shared)
