"""What NVRTC makes of a .cu file, and the machine that executes it: made once for a text, then found in the cache."""

import hashlib
import os
import platform
import tempfile
from functools import cache
from pathlib import Path

import pytest

from gpunet.devices.cuda.libraries import packaged_files
from gpunet.devices.cuda.nvrtc import Nvrtc, compile_options, open_nvrtc
from tests.emulator.builder import FLAGS, cache_folder, compile_library, compiler

MACHINE = Path(__file__).parent / "machine"

EXTRAS = {12: "nvrtc12", 13: "nvrtc"}
"""By CUDA release, what installs its NVRTC for the tests."""


def nvrtc_of(release: int) -> Nvrtc:
    """NVRTC of a CUDA release, which needs no GPU; both may be there at once.

    Where there is none, one test fails and says what to install, and all that would compile with it are skipped.
    """
    found = packaged_files("NVRTC")
    if release not in found:
        pytest.skip(f"as test_nvrtc_is_there says, {missing(release)}")
    return open_nvrtc(found[release])


def missing(release: int) -> str:
    return f'there is no NVRTC of CUDA {release} to compile with: pip install -e ".[{EXTRAS[release]}]"'


def ptx_of(source: str, name: str, real: str, architecture: str, release: int, flags: tuple[str, ...] = ()) -> str:
    """The PTX of a text, as the driver would have it compiled, for an architecture such as "75"."""
    nvrtc = nvrtc_of(release)
    options = (*compile_options(real, f"compute_{architecture}"), *flags)
    path = cache_folder("ptx") / f"{name}-{real}-{architecture}-{_key(repr((nvrtc.version, options)), source)}.ptx"
    if not path.exists():
        code, _ = nvrtc.compile(source, f"{name}.cu", options)
        _put(path, code.rstrip(b"\0"))
    return path.read_text(encoding="utf-8")


@cache
def machine() -> Path:
    """The shared library that executes PTX, for this very CPU: a fused multiply-add is one instruction of it."""
    command = [*compiler(), *FLAGS, "-march=native"]
    text = f'#include "{MACHINE / "machine.cpp"}"\n'
    files = [path.read_text(encoding="utf-8") for path in sorted(MACHINE.iterdir())]
    library = cache_folder("ptx") / f"machine-{_key(*command, text, _cpu(), *files)}.so"
    if not library.exists():
        compile_library(command, text, library)
    return library


def _cpu() -> str:
    """What tells this machine's kind of CPU from others."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _put(path: Path, content: bytes) -> None:
    """Whole or not at all, whoever writes it at the same time."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    os.replace(file.name, path)
