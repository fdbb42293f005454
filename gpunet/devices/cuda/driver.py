"""The driver of a real GPU, through CuPy. The only file that uses CuPy, and only once a GPU is opened."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from gpunet.devices.cuda.arrays import Allocation, Argument, Driver, Product, cast
from gpunet.devices.cuda.cublas import Cublas
from gpunet.devices.cuda.present import check_driver, check_gpu, explain, install_command
from gpunet.devices.cuda.source import compose
from gpunet.errors import DeviceError, OutOfMemory

REALS = {"float32": "float", "float64": "double"}
GIB = 2**30
OUT_OF_MEMORY = 2
"""cudaErrorMemoryAllocation."""


def compile_options(real: str) -> tuple[str, ...]:
    """What NVRTC gets for REAL=`real` (float32 or float64); CuPy adds -ftz=true and the GPU's architecture."""
    return ("--std=c++17", f"-DREAL={REALS[real]}")


class CupyDriver(Driver):
    """All work goes to one stream of its own, in order, but what is sent ahead comes through another; memory comes from
    CUDA itself and not from CuPy's pool."""

    def __init__(self) -> None:
        check_driver()
        self._cupy = cupy = _import_cupy()
        self._runtime = cupy.cuda.runtime
        self._cuda_errors = (self._runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError)
        self.multiprocessors = self._open_gpu()
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._cublas = Cublas(_load_cublas(), self._stream.ptr)
        self._sender: _Sender | None = None
        self._modules: dict[tuple[str, str], Any] = {}
        self._kernels: dict[tuple[str, str, str], Any] = {}

    def _open_gpu(self) -> int:
        """The multiprocessors of the GPU that CUDA shows first."""
        try:
            properties = self._runtime.getDeviceProperties(self._runtime.getDevice())
        except self._runtime.CUDARuntimeError as error:
            raise DeviceError(explain(error.status, str(error))) from error
        check_gpu((properties["major"], properties["minor"]))
        return int(properties["multiProcessorCount"])

    @contextmanager
    def _reporting(self, what: str) -> Iterator[None]:
        """CUDA's errors as DeviceError."""
        try:
            yield
        except self._cuda_errors as error:
            raise DeviceError(f"the GPU could not {what}: {error}") from error

    # ---- memory ----

    def allocate(self, nbytes: int) -> Allocation:
        try:
            return Allocation(self._runtime.malloc(nbytes), nbytes)
        except self._runtime.CUDARuntimeError as error:
            if error.status != OUT_OF_MEMORY:
                raise DeviceError(f"the GPU could not allocate {nbytes} bytes: {error}") from error
            free, total = self.memory()
            raise OutOfMemory(
                f"the GPU has {free / GIB:.2f} of {total / GIB:.2f} GiB free ({free} bytes) and {nbytes / GIB:.2f} GiB "
                f"({nbytes} bytes) were asked for: use a smaller batch (gpunet fit finds the largest), or end other "
                "programs that use the GPU (nvidia-smi lists them)"
            ) from error

    def free(self, allocation: Allocation) -> None:
        self.synchronize()
        with self._reporting("give memory back"):
            self._runtime.free(allocation.pointer)

    def copy_in(self, pointer: int, values: np.ndarray) -> None:
        # From memory that is not pinned, CUDA returns once it has taken a copy: the caller may overwrite the values.
        kind = self._runtime.memcpyHostToDevice
        with self._reporting("take values"):
            self._runtime.memcpyAsync(pointer, values.ctypes.data, values.nbytes, kind, self._stream.ptr)

    def send(self, pointer: int, values: np.ndarray, after: Any) -> Any:
        with self._reporting("take values"):
            self._sender = self._sender or _Sender(self._cupy)
            return self._sender.send(pointer, values, after)

    def wait_for(self, event: Any) -> None:
        with self._reporting("wait for values"):
            self._stream.wait_event(event)

    def copy_out(self, pointer: int, values: np.ndarray) -> None:
        kind = self._runtime.memcpyDeviceToHost
        with self._reporting("give values"):
            self._runtime.memcpyAsync(values.ctypes.data, pointer, values.nbytes, kind, self._stream.ptr)
            self._stream.synchronize()

    def fill(self, pointer: int, byte: int, nbytes: int) -> None:
        with self._reporting("fill memory"):
            self._runtime.memsetAsync(pointer, byte, nbytes, self._stream.ptr)

    def memory(self) -> tuple[int, int]:
        with self._reporting("tell how much memory is free"):
            free, total = self._runtime.memGetInfo()
        return int(free), int(total)

    def synchronize(self) -> None:
        with self._reporting("finish its work"):
            if self._sender is not None:
                self._sender.synchronize()
            self._stream.synchronize()

    def event(self) -> Any:
        with self._reporting("record an event"):
            event = self._cupy.cuda.Event()
            event.record(self._stream)
        return event

    def elapsed_ms(self, first: Any, last: Any) -> float:
        with self._reporting("finish its work"):
            last.synchronize()
            return float(self._cupy.cuda.get_elapsed_time(first, last))

    def close(self) -> None:
        try:
            self.synchronize()
        except DeviceError:
            with suppress(DeviceError):  # after a fault all else fails, too: the first error says why
                self._drop()
            raise
        self._drop()

    def _drop(self) -> None:
        self._kernels.clear()
        self._modules.clear()
        self._sender = None
        self._cublas.close()

    # ---- kernels ----

    def launch(self, file: str, kernel: str, grid: int, block: int, *arguments: Argument, real: np.dtype) -> None:
        key = (file, kernel, real.name)
        values = tuple(cast(argument, real) for argument in arguments)
        with self._reporting(f"run {file}.{kernel}"), self._stream:
            if key not in self._kernels:
                self._kernels[key] = self._module(file, real.name).get_function(kernel)
            self._kernels[key]((grid,), (block,), values)

    def _module(self, file: str, real: str) -> Any:
        if (file, real) not in self._modules:
            module = self._cupy.RawModule(code=compose(file), options=compile_options(real), backend="nvrtc")
            try:
                module.compile()
            except self._cuda_errors:
                raise
            except (RuntimeError, ImportError, self._cupy.cuda.compiler.CompileException) as error:
                raise DeviceError(f"{file}.cu cannot be compiled for this GPU: {error}\n{install_command()}") from error
            self._modules[file, real] = module
        return self._modules[file, real]

    # ---- matrix products ----

    def gemm(self, product: Product) -> None:
        self._cublas.gemm(product)


class _Sender:
    """Copies to the GPU on a stream of its own, from two buffers of pinned host memory in turn.

    CUDA copies beside kernels only from memory that the system cannot move; the host fills one buffer while the GPU
    still reads the other.
    """

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._buffers: list[Any] = [None, None]
        self._sent: list[Any] = [None, None]

    def send(self, pointer: int, values: np.ndarray, after: Any) -> Any:
        """As Driver.send."""
        if self._sent[0] is not None:
            self._sent[0].synchronize()  # two copies ago: the buffer is free again
        if self._buffers[0] is None or self._buffers[0].mem.size < values.nbytes:
            self._buffers[0] = self._pinned(values.nbytes)
        buffer = self._buffers[0]
        np.frombuffer(buffer, values.dtype, values.size).reshape(values.shape)[...] = values
        self._stream.wait_event(after)
        runtime = self._cupy.cuda.runtime
        runtime.memcpyAsync(pointer, buffer.ptr, values.nbytes, runtime.memcpyHostToDevice, self._stream.ptr)
        event = self._sent[0] = self._cupy.cuda.Event(disable_timing=True)
        event.record(self._stream)
        self._buffers.reverse()
        self._sent.reverse()
        return event

    def _pinned(self, nbytes: int) -> Any:
        """Straight from CUDA, as CuPy's pool would round up and keep it."""
        cuda = self._cupy.cuda
        return cuda.PinnedMemoryPointer(cuda.PinnedMemory(nbytes), 0)

    def synchronize(self) -> None:
        self._stream.synchronize()


def pool_bytes() -> int:
    """What CuPy's own pool holds of GPU memory: nothing without a GPU, or before CuPy is imported; this does not."""
    if "cupy" not in sys.modules:
        return 0
    cupy = _import_cupy()
    try:
        return int(cupy.get_default_memory_pool().total_bytes())
    except cupy.cuda.runtime.CUDARuntimeError:
        return 0


def _import_cupy() -> Any:
    try:
        import cupy
    except ImportError as error:
        raise DeviceError(f"CuPy cannot be imported ({error}): {install_command()}") from error
    return cupy


def _load_cublas() -> ctypes.CDLL:
    """The cuBLAS that CuPy itself would find. Raises DeviceError with the command that installs it."""
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib
    except ImportError as error:  # CuPy 14 brings it
        raise DeviceError(f"CuPy is too old to find cuBLAS ({error}): {install_command()}") from error
    try:
        path = load_nvidia_dynamic_lib("cublas").abs_path
        if path is None:
            raise DeviceError("cuBLAS was loaded by another program part, from a place that cannot be told")
        return ctypes.CDLL(path)
    except (OSError, RuntimeError) as error:  # not there, or there and broken
        raise DeviceError(f"cuBLAS cannot be loaded ({error}): {install_command()}") from error
