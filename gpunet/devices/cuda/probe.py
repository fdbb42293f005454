"""What there is of GPUs and of the libraries that drive them, asked without opening a GPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from gpunet.devices.cuda import present
from gpunet.errors import DeviceError

__all__: tuple[str, ...] = ()  # no ops here

PACKAGES = {
    "CuPy": ("cupy-cuda13x", "cupy-cuda12x", "cupy"),
    "NVRTC": ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu13", "nvidia-cuda-nvrtc-cu12"),
    "cuBLAS": ("nvidia-cublas", "nvidia-cublas-cu13", "nvidia-cublas-cu12"),
}
"""The packages that bring a library, any one of them."""

LIBRARIES = {"NVRTC": "nvrtc", "cuBLAS": "cublas"}
"""What CUDA's own loader calls them, where they came with a CUDA toolkit."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as NVML knows it; `which`: the one that is meant, in words, where there are several."""

    name: str
    compute_capability: str
    driver: str
    free_bytes: int
    total_bytes: int
    which: str = ""


def first_gpu() -> Gpu:
    """The GPU that a program gets. Raises DeviceError where NVML, the driver or the GPU is missing."""
    with nvml() as library:
        handle = first_handle(library)
        memory = library.nvmlDeviceGetMemoryInfo(handle)
        major, minor = library.nvmlDeviceGetCudaComputeCapability(handle)
        return Gpu(
            _text(library.nvmlDeviceGetName(handle)),
            f"{major}.{minor}",
            _text(library.nvmlSystemGetDriverVersion()),
            int(memory.free),
            int(memory.total),
            _which(library, handle),
        )


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds memory of a GPU; `nbytes` is None where the driver does not tell."""

    pid: int
    name: str
    nbytes: int | None


def holders() -> list[Holder]:
    """The other processes that hold memory of the first GPU, the largest first. Raises DeviceError as `first_gpu`."""
    with nvml() as library:
        handle = first_handle(library)
        found = [
            Holder(entry.pid, _process_name(library, entry.pid), entry.usedGpuMemory)
            for entry in library.nvmlDeviceGetComputeRunningProcesses(handle)
            if entry.pid != os.getpid()
        ]
    return sorted(found, key=lambda holder: -(holder.nbytes or 0))


def _process_name(library: ModuleType, pid: int) -> str:
    """The program's name, or "a process" where it is another user's or another container's."""
    with suppress(library.NVMLError):
        return os.path.basename(_text(library.nvmlSystemGetProcessName(pid))) or "a process"
    return "a process"


def free_bytes() -> int | None:
    """Memory of the first GPU that nobody uses; None where NVML does not say."""
    with suppress(DeviceError):
        return first_gpu().free_bytes
    return None


def used_bytes() -> tuple[int, int] | None:
    """(used by anyone, there is) of the first GPU's memory; None where NVML does not say."""
    with suppress(DeviceError):
        gpu = first_gpu()
        return gpu.total_bytes - gpu.free_bytes, gpu.total_bytes
    return None


def package_versions(library: str) -> list[str]:
    """The packages installed that bring CuPy, NVRTC or cuBLAS, each with its version; CuPy must be there but once."""
    found = []
    for package in PACKAGES[library]:
        with suppress(PackageNotFoundError):
            found.append(f"{version(package)} ({package})")
    return found


def library_path(library: str) -> str | None:
    """Where CUDA's loader finds NVRTC or cuBLAS that no package brought; None where it does not."""
    try:
        from cuda.pathfinder import DynamicLibNotFoundError, load_nvidia_dynamic_lib
    except ImportError:
        return None
    try:
        path: str | None = load_nvidia_dynamic_lib(LIBRARIES[library]).abs_path
    except (DynamicLibNotFoundError, OSError, RuntimeError):
        return None
    return path


@contextmanager
def nvml() -> Iterator[ModuleType]:
    """NVML, ready to be asked; its errors become DeviceError."""
    try:
        import pynvml
    except ImportError:
        raise DeviceError("NVML's Python package is not installed: pip install nvidia-ml-py") from None
    try:
        pynvml.nvmlInit()
        try:
            yield pynvml
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise DeviceError(f"NVML does not answer ({error})") from None


def first_handle(library: ModuleType) -> object:
    """The GPU that CUDA shows first. NVML counts along the PCI bus, CUDA from the fastest on if not told otherwise.

    CUDA itself is asked only where that makes a difference.
    """
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if not first or first.startswith("-"):
        raise DeviceError("CUDA_VISIBLE_DEVICES hides all GPUs: unset CUDA_VISIBLE_DEVICES")
    if not first.isdigit():
        return library.nvmlDeviceGetHandleByUUID(first)
    along_the_bus = os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or library.nvmlDeviceGetCount() == 1
    bus_id = None if along_the_bus else present.first_bus_id()
    if bus_id is None:
        return library.nvmlDeviceGetHandleByIndex(int(first))
    return library.nvmlDeviceGetHandleByPciBusId(bus_id.encode())


def _which(library: ModuleType, handle: object) -> str:
    count = library.nvmlDeviceGetCount()
    return f"the one at {_text(library.nvmlDeviceGetPciInfo(handle).busId)} of {count} GPUs" if count > 1 else ""


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
