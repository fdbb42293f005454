"""What of CUDA is on this machine and how to get what is missing; one command each."""

import ctypes
import sys

from gpunet.errors import DeviceError

OLDEST_DRIVER = 12
"""The CUDA release that the NVIDIA driver must know."""

OLDEST_GPU = (7, 5)
"""Compute capability; NVRTC of CUDA 13 compiles for nothing older."""

INSUFFICIENT_DRIVER, NO_DEVICE = 35, 100
"""cudaErrorInsufficientDriver, cudaErrorNoDevice."""

DRIVERS = "https://www.nvidia.com/drivers"


def driver_version() -> int | None:
    """The newest CUDA release that the NVIDIA driver knows, e.g. 12 or 13; None where there is no driver."""
    version = ctypes.c_int()
    try:
        _driver().cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return None
    return version.value // 1000


def first_bus_id() -> str | None:
    """Where on the PCI bus the GPU is that CUDA shows first, e.g. "0000:65:00.0"; None where CUDA does not say.

    Takes no memory of a GPU, but a process forked after it cannot use CUDA.
    """
    device, text = ctypes.c_int(), ctypes.create_string_buffer(32)
    try:
        driver = _driver()
        failed = (
            driver.cuInit(0)
            or driver.cuDeviceGet(ctypes.byref(device), 0)
            or driver.cuDeviceGetPCIBusId(text, len(text), device)
        )
    except (OSError, AttributeError):
        return None
    return None if failed else text.value.decode()


def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")


def install_command() -> str:
    """What installs CuPy with the CUDA libraries that suit the driver of this machine."""
    return f'pip install "gpunet[cuda{12 if driver_version() == 12 else 13}]"'


def check_driver() -> None:
    """Raises DeviceError, saying what to install, where there is no NVIDIA driver or too old a one."""
    version = driver_version()
    if version is None:
        raise DeviceError(
            f"there is no NVIDIA driver on this machine: install the one for your GPU from {DRIVERS}, or use the CPU "
            "(--device cpu)"
        )
    if version < OLDEST_DRIVER:
        raise DeviceError(
            f"the NVIDIA driver knows CUDA {version} and {OLDEST_DRIVER} is needed: install a newer one from {DRIVERS}"
        )


def check_gpu(capability: tuple[int, int]) -> None:
    """Raises DeviceError for a GPU that the kernels cannot be compiled for."""
    if capability < OLDEST_GPU:
        found, needed = (".".join(map(str, numbers)) for numbers in (capability, OLDEST_GPU))
        raise DeviceError(f"the GPU has compute capability {found} and {needed} is needed: use the CPU (--device cpu)")


def explain(status: int, text: str) -> str:
    """What a CUDA error means that came before any work was done."""
    if status == INSUFFICIENT_DRIVER:
        return (
            f"this CuPy is made for a newer CUDA than the {driver_version()} that the NVIDIA driver knows: "
            f"pip uninstall --yes cupy-cuda13x && {install_command()}"
        )
    if status == NO_DEVICE:
        return "the NVIDIA driver shows no GPU: unset CUDA_VISIBLE_DEVICES if it is set, or use the CPU (--device cpu)"
    return f"the GPU cannot be used: {text}"
