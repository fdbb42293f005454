"""Runs kernels that a test writes, on the emulator or a driver that stands in for it."""

from pathlib import Path
from typing import Any

import numpy as np

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.source import kernel_folder

from .driver import EmulatorDriver

COMMON = "typedef REAL real;\nconstexpr int BLOCK = 128;\n"
KERNEL = 'extern "C" __global__ void __launch_bounds__(BLOCK) '


class Bench:
    """Kernels of one file and the arrays that they run on."""

    def __init__(
        self,
        folder: Path,
        kernels: str,
        order: str = "ascending",
        *,
        driver: type[EmulatorDriver] = EmulatorDriver,
        **options: Any,
    ):
        (folder / "common.cuh").write_text(COMMON)
        for header in ("half.cuh", "ptx.cuh"):
            (folder / header).write_bytes((kernel_folder() / header).read_bytes())
        (folder / "try.cu").write_text(kernels.replace("KERNEL", KERNEL))
        self.driver = driver(order, folder=folder, **options)

    def array(self, values: np.ndarray) -> DeviceArray:
        memory = self.driver.allocate(values.nbytes)
        self.driver.copy_in(memory.pointer, np.ascontiguousarray(values))
        return DeviceArray(memory.pointer, values.shape, values.dtype, self.driver)

    def run(
        self, kernel: str, *arguments: Any, grid: int = 1, block: int = 128, real: type = np.float32, shared: int = 0
    ) -> None:
        self.driver.launch("try", kernel, grid, block, *arguments, real=np.dtype(real), shared=shared)

    def read(self, array: DeviceArray) -> np.ndarray:
        values = np.empty(array.shape, array.dtype)
        self.driver.copy_out(array.pointer, values)
        return values
