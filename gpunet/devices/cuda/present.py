"""What of CUDA is on this machine and how to get what is missing; one command each."""

import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shutil import which

from gpunet.devices.cuda.libcuda import NO_DEVICE, count, driver_version, no_gpu, visible
from gpunet.devices.cuda.nvrtc import Capability, Nvrtc, at_hand
from gpunet.errors import DeviceError

OLDEST_DRIVER = 12
"""The CUDA release that the NVIDIA driver must know."""

OLDEST_OF_CUDA_13 = (7, 5)
"""Compute capability: CUDA 13 has nothing for older GPUs, whichever CUDA their driver says it knows; CUDA 12 has."""

OLDEST_OF_CUDA_12 = (5, 0)

INSUFFICIENT_DRIVER = 35
"""cudaErrorInsufficientDriver."""

DRIVERS = "https://www.nvidia.com/drivers"

CUPY = {"cupy-cuda12x": 12, "cupy-cuda13x": 13}
"""The CUDA release that a package of CuPy is made for."""

WSL = Path("/dev/dxg")
"""Through this, Linux inside Windows reaches the GPU."""


def cupy_packages() -> list[str]:
    """The packages of CuPy that are installed; there must be but one."""
    found = []
    for package in CUPY:
        with suppress(PackageNotFoundError):
            version(package)
            found.append(package)
    return found


def cupy_release() -> int | None:
    """The CUDA release that the CuPy installed is made for; None where no package, or more than one, says."""
    releases = {CUPY[package] for package in cupy_packages()}
    return releases.pop() if len(releases) == 1 else None


def capabilities() -> list[Capability]:
    """Compute capabilities of the GPUs that CUDA shows; none where it shows none."""
    try:
        return [visible(number).capability for number in range(count())]
    except DeviceError:
        return []


def cuda_release() -> int:
    """The CUDA release to install: what the driver knows, but 12 where a GPU is too old for CUDA 13."""
    old = any(capability < OLDEST_OF_CUDA_13 for capability in capabilities())
    return 12 if old or driver_version() == 12 else 13


def install_command() -> str:
    """What installs CuPy with the CUDA libraries that suit the GPUs and the driver of this machine."""
    return _install(cuda_release())


def _install(release: int) -> str:
    """There can be but one CuPy: those of other releases are uninstalled before."""
    others = [package for package in cupy_packages() if CUPY[package] != release]
    uninstall = f"pip uninstall --yes {' '.join(others)} && " if others else ""
    return f'{uninstall}pip install "gpunet[cuda{release}]"'


def driver_command() -> str:
    """What installs the NVIDIA driver: a command where this system has one, else where to find it."""
    if which("ubuntu-drivers"):
        return "sudo ubuntu-drivers install"
    return f"install the driver for your GPU from {DRIVERS}"


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


def check_gpu(capability: Capability, nvrtc: Nvrtc | None = None) -> None:
    """Raises DeviceError for a GPU that NVRTC, the one of this installation if none is given, has no code for."""
    nvrtc = nvrtc or at_hand(cupy_release())
    oldest = nvrtc.architectures[0]
    if capability >= oldest:
        return
    found, needed, release = _dotted(capability), _dotted(oldest), nvrtc.version[0]
    way_out = f"{_install(12)}, or use" if release > 12 and capability >= OLDEST_OF_CUDA_12 else "use"
    raise DeviceError(
        f"the GPU has compute capability {found} and CUDA {release} needs {needed}: {way_out} the CPU (--device cpu)"
    )


def lends_memory() -> bool:
    """Whether the system gives a GPU's programs memory of its own, and without a word, where the GPU's is used up."""
    return sys.platform == "win32" or WSL.exists()


def explain(status: int, text: str) -> str:
    """What a CUDA error means that came before any work was done."""
    if status == INSUFFICIENT_DRIVER:
        return (
            f"this CuPy is made for a newer CUDA than the {driver_version()} that the NVIDIA driver knows: "
            f"{install_command()}"
        )
    if status == NO_DEVICE:
        return no_gpu()
    return f"the GPU cannot be used: {text}"


def _dotted(capability: Capability) -> str:
    return ".".join(map(str, capability))
