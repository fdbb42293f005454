"""Kernels of a GPU, by file, name and number type: compiled and loaded when they are first asked for."""

from typing import Any

from gpunet.devices.cuda.compiled import compiled
from gpunet.devices.cuda.nvrtc import Capability, CompileError, Nvrtc
from gpunet.devices.cuda.present import install_command
from gpunet.errors import DeviceError

__all__: tuple[str, ...] = ()  # no ops here

UNASKED_SHARED_BYTES = 48 * 1024
"""What every kernel may have of dynamic shared memory; more, CUDA gives only where it was asked to beforehand."""


class Modules:
    """Loads kernels through CuPy on the device that is current; its errors of CUDA are CuPy's."""

    def __init__(self, cupy: Any, nvrtc: Nvrtc, capability: Capability) -> None:
        self._cupy = cupy
        self._nvrtc = nvrtc
        self._capability = capability
        self._modules: dict[tuple[str, str], Any] = {}
        self._kernels: dict[tuple[str, str, str], Any] = {}
        self._shared: dict[int, int] = {}

    def kernel(self, file: str, kernel: str, real: str) -> Any:
        """`kernel` of cuda/`file`.cu for volumes of `real`. Raises DeviceError where it cannot be compiled."""
        key = (file, kernel, real)
        if key not in self._kernels:
            self._kernels[key] = self._module(file, real).get_function(kernel)
        return self._kernels[key]

    def allow_shared(self, function: int, nbytes: int) -> None:
        """Let a kernel's launches have so many bytes of dynamic shared memory, or what they were let have before.

        Raises CuPy's error of CUDA where a block of this GPU cannot have that much.
        """
        if nbytes > self._shared.get(function, UNASKED_SHARED_BYTES):
            driver = self._cupy.cuda.driver
            driver.funcSetAttribute(function, driver.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, nbytes)
            self._shared[function] = nbytes

    def close(self) -> None:
        """Unload all."""
        self._shared.clear()
        self._kernels.clear()
        self._modules.clear()

    def _module(self, file: str, real: str) -> Any:
        if (file, real) not in self._modules:
            try:
                code = compiled(self._nvrtc, file, real, self._capability)
            except CompileError as error:
                raise DeviceError(f"{file}.cu cannot be compiled for this GPU: {error}\n{install_command()}") from error
            module = self._cupy.cuda.function.Module()
            module.load(code)
            self._modules[file, real] = module
        return self._modules[file, real]
