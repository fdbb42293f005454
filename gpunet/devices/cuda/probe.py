"""What there is of GPUs and of the libraries that drive them, asked without opening a GPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from gpunet.devices.cuda import libraries
from gpunet.devices.cuda.libcuda import Visible, visible
from gpunet.errors import DeviceError

__all__: tuple[str, ...] = ()  # no ops here

PACKAGES = {"CuPy": ("cupy-cuda13x", "cupy-cuda12x", "cupy"), **libraries.PACKAGES}
"""The packages that bring a library, any one of them."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU, or a slice of one, as NVML knows it.

    `total_bytes`  as nvidia-smi shows it; `cuda_bytes`: what CUDA gives of that, which is less
    `which`        the one that is meant, in words, where there are several
    """

    name: str
    compute_capability: str
    driver: str
    free_bytes: int
    total_bytes: int
    cuda_bytes: int
    which: str = ""


def gpu(number: int = 0) -> Gpu:
    """The GPU that programs get as cuda:`number`. Raises DeviceError where NVML, the driver or the GPU is missing."""
    with nvml() as library:
        shown = visible(number)
        handle = handle_of(library, shown)
        memory = library.nvmlDeviceGetMemoryInfo(handle)
        return Gpu(
            _text(library.nvmlDeviceGetName(handle)),
            ".".join(map(str, shown.capability)),
            _text(library.nvmlSystemGetDriverVersion()),
            int(memory.free),
            int(memory.total),
            shown.total_bytes,
            f"cuda:{number} of the {shown.of} that CUDA shows, at {shown.bus_id}" if shown.of > 1 else "",
        )


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds memory of a GPU; `nbytes` is None where the driver does not tell."""

    pid: int
    name: str
    nbytes: int | None


def holders(number: int = 0) -> list[Holder]:
    """The other processes that hold memory of that GPU, the largest first. Raises DeviceError as `gpu`."""
    with nvml() as library:
        handle = handle_of(library, visible(number))
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


def free_bytes(number: int = 0) -> int | None:
    """Memory of that GPU that nobody uses; None where NVML does not say."""
    with suppress(DeviceError):
        return gpu(number).free_bytes
    return None


def used_bytes(number: int = 0) -> tuple[int, int] | None:
    """(used by anyone, there is) of that GPU's memory; None where NVML does not say."""
    with suppress(DeviceError):
        asked = gpu(number)
        return asked.total_bytes - asked.free_bytes, asked.total_bytes
    return None


def package_versions(library: str) -> list[str]:
    """The packages installed that bring CuPy, NVRTC or cuBLAS, each with its version; CuPy must be there but once."""
    found = []
    for package in PACKAGES[library]:
        with suppress(PackageNotFoundError):
            found.append(f"{version(package)} ({package})")
    return found


def library_path(library: str, release: int | None = None) -> str | None:
    """Where NVRTC or cuBLAS is, of that CUDA release if one is said; None where it is not."""
    with suppress(DeviceError):
        return str(libraries.find_library(library, release))
    return None


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


def handle_of(library: ModuleType, shown: Visible) -> object:
    """NVML's handle of the very GPU, or slice, that CUDA shows: NVML counts in another order, and slices not at all."""
    for kind in ("GPU", "MIG"):
        with suppress(library.NVMLError):
            return library.nvmlDeviceGetHandleByUUID(f"{kind}-{shown.uuid}")
    handle = library.nvmlDeviceGetHandleByPciBusId(shown.bus_id.encode())
    with suppress(library.NVMLError):  # of GPUs that know no slices
        if library.nvmlDeviceGetMigMode(handle)[0]:
            raise DeviceError(f"NVML does not know the slice {shown.uuid} of the GPU at {shown.bus_id}")
    return handle


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
