"""What is in use of a GPU's memory, and by whom: NVML, which sees what is there before CUDA starts, and CuPy's pool."""

import os
from contextlib import ExitStack, suppress

from gpunet.devices.cuda.arrays import Driver
from gpunet.devices.cuda.driver import pool_bytes
from gpunet.devices.cuda.libcuda import visible
from gpunet.devices.cuda.probe import handle_of, nvml

__all__: tuple[str, ...] = ()  # no ops here


class Nvml:
    """The meter of a GPU, by the number under which CUDA shows it: bytes in use now, by who says so.

    "device": everything on the GPU; "process": what is this process's, where the driver tells; "pool": CuPy's own
    pool. Raises DeviceError where NVML, the driver or the GPU is missing.
    """

    def __init__(self, number: int = 0) -> None:
        with ExitStack() as stack:
            self._nvml = stack.enter_context(nvml())
            self._handle = handle_of(self._nvml, visible(number))
            self()  # what NVML refuses to tell, it refuses now
            self._closing = stack.pop_all()

    def __call__(self) -> dict[str, int]:
        used = {"device": int(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used), "pool": pool_bytes()}
        with suppress(self._nvml.NVMLError):  # not every driver tells who uses what
            for process in self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle):
                if process.pid == os.getpid() and process.usedGpuMemory is not None:
                    used["process"] = int(process.usedGpuMemory)
        return used

    def close(self) -> None:
        """NVML is not asked any more."""
        self._closing.close()


def by_driver(driver: Driver) -> dict[str, int]:
    """The same from the driver of an open device: without what the process took to open it."""
    free, total = driver.memory()
    return {"device": total - free, "pool": pool_bytes()}
