"""NVIDIA's driver library, asked what GPUs CUDA shows to this process, and in which order; takes no memory of a GPU.

CUDA_VISIBLE_DEVICES (numbers, UUIDs, beginnings of them), CUDA_DEVICE_ORDER and slices of a GPU (MIG) are for CUDA to
understand, not for us. Names and numbers are those of NVIDIA's documentation of the CUDA driver API.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from ctypes import byref, c_int, c_size_t
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from gpunet.errors import DeviceError

__all__: tuple[str, ...] = ()  # no ops here

NO_DEVICE = 100
"""CUDA_ERROR_NO_DEVICE, and the runtime's cudaErrorNoDevice."""

CAPABILITY = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""

VISIBLE = "CUDA_VISIBLE_DEVICES"


class NoSuchGpu(DeviceError):
    """CUDA shows GPUs, but none of that number."""


@dataclass(frozen=True, slots=True)
class Visible:
    """A GPU, or a slice of one, that CUDA shows to this process.

    `number`      by which programs name it: cuda:1 is number 1
    `of`          how many CUDA shows
    `capability`  compute capability, such as (8, 6)
    `uuid`        of the GPU or of the slice, as NVML writes it behind "GPU-" or "MIG-"
    `bus_id`      where on the PCI bus the GPU is, such as "0000:65:00.0"
    `total_bytes` all that CUDA gives of its memory: less than NVML and nvidia-smi show
    """

    number: int
    of: int
    capability: tuple[int, int]
    uuid: str
    bus_id: str
    total_bytes: int


def driver_version() -> int | None:
    """The newest CUDA release that the NVIDIA driver knows, e.g. 12 or 13; None where there is no driver."""
    version = c_int()
    try:
        _library().cuDriverGetVersion(byref(version))
    except (OSError, AttributeError):
        return None
    return version.value // 1000


def count() -> int:
    """How many GPUs CUDA shows. Raises DeviceError where it shows none, or cannot be asked."""
    _call("cuInit", 0)
    found = c_int()
    _call("cuDeviceGetCount", byref(found))
    if not found.value:
        raise DeviceError(no_gpu())
    return found.value


def visible(number: int = 0) -> Visible:
    """The GPU of that number. Raises NoSuchGpu where there are only others, DeviceError where CUDA cannot be asked.

    A process forked afterwards cannot use CUDA.
    """
    of = count()
    if number >= of:
        shown = "1 GPU, cuda:0" if of == 1 else f"{of} GPUs, cuda:0 to cuda:{of - 1}"
        raise NoSuchGpu(f"there is no cuda:{number}: CUDA shows {shown}")
    device, uuid, bus_id = c_int(), (ctypes.c_ubyte * 16)(), ctypes.create_string_buffer(32)
    _call("cuDeviceGet", byref(device), number)
    _call("cuDeviceGetUuid_v2", byref(uuid), device)  # of a slice its own; the older call gives the whole GPU's
    _call("cuDeviceGetPCIBusId", bus_id, len(bus_id), device)
    total_bytes = c_size_t()
    _call("cuDeviceTotalMem_v2", byref(total_bytes), device)
    major, minor = (_attribute(which, device) for which in CAPABILITY)
    name = str(UUID(bytes=bytes(uuid)))
    return Visible(number, of, (major, minor), name, bus_id.value.decode(), total_bytes.value)


def no_gpu() -> str:
    """Why CUDA shows no GPU, and the way out."""
    if VISIBLE in os.environ:
        return f"{VISIBLE}={os.environ[VISIBLE]!r} hides all GPUs: unset {VISIBLE}"
    return "the NVIDIA driver shows no GPU: nvidia-smi says why, or use the CPU (--device cpu)"


def _attribute(which: int, device: c_int) -> int:
    value = c_int()
    _call("cuDeviceGetAttribute", byref(value), which, device)
    return value.value


def _call(name: str, *arguments: Any) -> None:
    """Raises DeviceError for what goes wrong in a function of the driver, or where there is none."""
    try:
        function: Callable[..., int] = getattr(_library(), name)
    except (OSError, AttributeError) as error:
        raise DeviceError("the library of the NVIDIA driver cannot be asked") from error
    status = function(*arguments)
    if status:
        raise DeviceError(no_gpu() if status == NO_DEVICE else f"the NVIDIA driver does not answer ({name}: {status})")


def _library() -> ctypes.CDLL:
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
