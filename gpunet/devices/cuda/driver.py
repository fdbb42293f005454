"""The driver of a real GPU, through CuPy. The only file that imports CuPy, and only once a GPU is opened."""

import ctypes
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from gpunet.devices.cuda.arrays import Allocation, Argument, Driver, Product, Work
from gpunet.devices.cuda.context import Context
from gpunet.devices.cuda.copies import Copies
from gpunet.devices.cuda.cublas import Cublas, settings
from gpunet.devices.cuda.libcuda import visible
from gpunet.devices.cuda.libraries import find_library
from gpunet.devices.cuda.modules import UNASKED_SHARED_BYTES, Modules
from gpunet.devices.cuda.nvrtc import Nvrtc, at_hand
from gpunet.devices.cuda.packing import pack
from gpunet.devices.cuda.present import check_driver, check_gpu, explain, install_command, lends_memory
from gpunet.errors import DeviceError, OutOfMemory

GIB = 2**30
OUT_OF_MEMORY = 2
"""cudaErrorMemoryAllocation."""


class CupyDriver(Driver):
    """The GPU that CUDA shows under that number; every call works there, whichever the thread's current one is.

    All work goes to one stream of its own, in order, but what is sent ahead comes through another, and what ranks do
    beside through a third; memory comes from CUDA itself and not from CuPy's pool.
    """

    def __init__(self, number: int = 0) -> None:
        check_driver()
        self._cupy = cupy = _import_cupy()
        self._release = _release(cupy)
        self._gpu = visible(number)
        self._nvrtc = _find_nvrtc(self._release)
        check_gpu(self._gpu.capability, self._nvrtc)
        self.capability = self._gpu.capability
        self._runtime = cupy.cuda.runtime
        self._cuda_errors = (self._runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError)
        self._modules = Modules(cupy, self._nvrtc, self._gpu.capability)
        self._open()

    def _open(self) -> None:
        """Begin to use the GPU: this takes memory of it."""
        try:
            properties = self._runtime.getDeviceProperties(self._gpu.number)
            self._context = Context(self._cupy, self._gpu.number)
            with self._context.current():
                self._stream = self._cupy.cuda.Stream(non_blocking=True)
                ahead = self._cupy.cuda.Stream(non_blocking=True)
                self._side = self._cupy.cuda.Stream(non_blocking=True)
                self._cublas = Cublas(_load_cublas(self._release), self._stream.ptr)
        except self._cuda_errors as error:
            raise DeviceError(explain(error.status, str(error))) from error
        self.multiprocessors = int(properties["multiProcessorCount"])
        self._here = self._stream
        self._copies = Copies(self._cupy, self._stream)
        self._ahead = Copies(self._cupy, ahead)

    @contextmanager
    def _working(self, what: str) -> Iterator[None]:
        """On this driver's own device; CUDA's errors as DeviceError."""
        try:
            with self._context.current():
                yield
        except self._cuda_errors as error:
            raise DeviceError(f"the GPU could not {what}: {error}") from error

    def arithmetic(self) -> dict[str, str]:
        return {
            "compute capability": "{}.{}".format(*self._gpu.capability),
            "multiprocessors": str(self.multiprocessors),
            "CUDA": "{}.{}".format(*divmod(self._runtime.runtimeGetVersion() // 10, 100)),
            "NVRTC": "{}.{}".format(*self._nvrtc.version),
            "cuBLAS": self._cublas.version(),
            **settings(),
        }

    # ---- memory ----

    def allocate(self, nbytes: int) -> Allocation:
        if lends_memory() and nbytes > self.memory()[0]:
            raise self._shortage(nbytes)
        try:
            with self._context.current():
                return Allocation(self._runtime.malloc(nbytes), nbytes)
        except self._cuda_errors as error:
            if error.status != OUT_OF_MEMORY:
                raise DeviceError(f"the GPU could not allocate {nbytes} bytes: {error}") from error
            raise self._shortage(nbytes) from error

    def _shortage(self, nbytes: int) -> OutOfMemory:
        free, total = self.memory()
        return OutOfMemory(
            f"the GPU has {free / GIB:.2f} of {total / GIB:.2f} GiB free ({free} bytes) and {nbytes / GIB:.2f} GiB "
            f"({nbytes} bytes) were asked for: use a smaller batch (gpunet fit finds the largest), or end other "
            "programs that use the GPU (nvidia-smi lists them)"
        )

    def free(self, allocation: Allocation) -> None:
        self.synchronize()
        with self._working("give memory back"):
            self._runtime.free(allocation.pointer)

    def copy_in(self, pointer: int, values: np.ndarray) -> None:
        with self._working("take values"):
            self._copies.in_parts(pointer, values)

    def send(self, pointer: int, values: np.ndarray, after: Any) -> Any:
        with self._working("take values"):
            self._ahead.stream.wait_event(after)
            return self._ahead.begin(pointer, values)

    def wait_for(self, event: Any) -> None:
        with self._working("wait for values"):
            self._stream.wait_event(event)

    def copy_out(self, pointer: int, values: np.ndarray) -> None:
        kind = self._runtime.memcpyDeviceToHost
        with self._working("give values"):
            self._runtime.memcpyAsync(values.ctypes.data, pointer, values.nbytes, kind, self._stream.ptr)
            self._stream.synchronize()

    def fill(self, pointer: int, byte: int, nbytes: int) -> None:
        with self._working("fill memory"):
            self._runtime.memsetAsync(pointer, byte, nbytes, self._stream.ptr)

    def memory(self) -> tuple[int, int]:
        with self._working("tell how much memory is free"):
            free, total = self._runtime.memGetInfo()
        return int(free), int(total)

    # ---- time ----

    def synchronize(self) -> None:
        with self._working("finish its work"):
            self._ahead.stream.synchronize()
            self._side.synchronize()
            self._stream.synchronize()

    def event(self) -> Any:
        with self._working("record an event"):
            event = self._cupy.cuda.Event()
            event.record(self._stream)
        return event

    def elapsed_ms(self, first: Any, last: Any) -> float:
        with self._working("finish its work"):
            last.synchronize()
            return float(self._cupy.cuda.get_elapsed_time(first, last))

    # ---- kernels and matrix products ----

    def prepare(
        self, file: str, kernel: str, grid: int, block: int, *arguments: Argument, real: np.dtype, shared: int = 0
    ) -> Work:
        with self._working(f"run {file}.{kernel}"):
            function = self._modules.kernel(file, kernel, real.name).ptr
        if shared > UNASKED_SHARED_BYTES:
            with self._working(f"give a block of {file}.{kernel} {shared} bytes of dynamic shared memory"):
                self._modules.allow_shared(function, shared)
        packed = pack(arguments, real)
        launch_kernel, errors = self._cupy.cuda.driver.launchKernel, self._cuda_errors
        numbers = (function, grid, 1, 1, block, 1, 1, shared, self._here.ptr, packed.pointer, 0)

        def begin(held: object = packed) -> None:
            try:
                launch_kernel(*numbers)
            except errors as error:
                raise DeviceError(f"the GPU could not run {file}.{kernel}: {error}") from error

        return begin

    def prepare_gemm(self, product: Product) -> Work:
        return self._cublas.prepare(product)

    def run(self, works: Sequence[Work]) -> None:
        with self._working("begin its work"):
            for work in works:
                work()

    def on_stream(self, work: Callable[[int], None]) -> None:
        with self._working("work with other GPUs"):
            work(self._here.ptr)

    @contextmanager
    def aside(self) -> Iterator[None]:
        self._here = self._side
        try:
            yield
        finally:
            self._here = self._stream

    def beside(self, works: Sequence[Work]) -> Any:
        with self._working("work beside"):
            before, behind = (self._cupy.cuda.Event(disable_timing=True) for _ in range(2))
            before.record(self._stream)
            self._side.wait_event(before)
            with self.aside():
                self.run(works)
            behind.record(self._side)
        return behind

    def capture(self, works: Sequence[Work]) -> Work:
        with self._working("take a step as a CUDA graph (without graphs: --no-graph)"):
            self._stream.begin_capture()
            try:
                for work in works:
                    work()
            except BaseException:
                with suppress(*self._cuda_errors):  # the first error says why
                    self._stream.end_capture()
                raise
            graph = self._stream.end_capture()

        def begin() -> None:
            with self._working("run a CUDA graph"):
                graph.launch(self._stream)

        return begin

    # ---- the end ----

    def close(self) -> None:
        try:
            self.synchronize()
        except DeviceError:
            with suppress(DeviceError):  # after a fault all else fails, too: the first error says why
                self._drop()
            raise
        self._drop()

    def _drop(self) -> None:
        with self._working("let go of what it held"):
            self._modules.close()
            self._copies.close()
            self._ahead.close()
            self._cublas.close()


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


def _release(cupy: Any) -> int:
    """The CUDA release that CuPy is made for, of which NVRTC and cuBLAS must be, too."""
    return int(cupy.cuda.runtime.runtimeGetVersion()) // 1000


def _find_nvrtc(release: int) -> Nvrtc:
    """Raises DeviceError with the command that installs it."""
    try:
        return at_hand(release)
    except DeviceError as error:
        raise DeviceError(f"{error}: {install_command()}") from error


def _load_cublas(release: int) -> ctypes.CDLL:
    """Raises DeviceError with the command that installs it."""
    try:
        return ctypes.CDLL(str(find_library("cuBLAS", release)))
    except OSError as error:
        raise DeviceError(f"cuBLAS cannot be loaded ({error}): {install_command()}") from error
    except DeviceError as error:
        raise DeviceError(f"{error}: {install_command()}") from error
