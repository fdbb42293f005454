"""Where CUDA's libraries are: in packages, perhaps of several CUDA releases at once, or in a CUDA toolkit."""

import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from gpunet.errors import DeviceError

__all__: tuple[str, ...] = ()  # no ops here

PACKAGES = {
    "NVRTC": ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu13", "nvidia-cuda-nvrtc-cu12"),
    "cuBLAS": ("nvidia-cublas", "nvidia-cublas-cu13", "nvidia-cublas-cu12"),
}
"""The packages that bring a library, any one of them."""

FILES = {
    "NVRTC": re.compile(r"libnvrtc\.so\.(\d+)|nvrtc64_(\d+)0_0\.dll"),
    "cuBLAS": re.compile(r"libcublas\.so\.(\d+)|cublas64_(\d+)\.dll"),
}
"""What its file is called, with the CUDA release in it."""

IN_TOOLKIT = {"NVRTC": "nvrtc", "cuBLAS": "cublas"}
"""What CUDA's own finder calls them."""


def find_library(library: str, release: int | None = None) -> Path:
    """The file of NVRTC or cuBLAS, of that CUDA release if one is said, else of the newest.

    Raises DeviceError where there is none, or CUDA's finder is missing.
    """
    packaged = packaged_files(library)
    wanted = release or max(packaged, default=0)
    return packaged[wanted] if wanted in packaged else _in_toolkit(library)


def packaged_files(library: str) -> dict[int, Path]:
    """The files that packages brought, by CUDA release."""
    found = {}
    for package in PACKAGES[library]:
        with suppress(PackageNotFoundError):
            for file in distribution(package).files or ():
                if match := FILES[library].fullmatch(file.name):
                    found[int(match[1] or match[2])] = Path(str(file.locate()))
    return found


def _in_toolkit(library: str) -> Path:
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib
    except ImportError as error:  # CuPy 14 brings it
        raise DeviceError(f"CuPy is too old to find {library} ({error})") from error
    try:
        path = load_nvidia_dynamic_lib(IN_TOOLKIT[library]).abs_path
    except (OSError, RuntimeError) as error:  # not there, or there and broken
        raise DeviceError(f"{library} cannot be loaded ({error})") from error
    if path is None:
        raise DeviceError(f"{library} was loaded by another program part, from a place that cannot be told")
    return Path(path)
