"""Kernels as NVRTC compiles them, kept from one run to the next: all tests that compile share them."""

import os
import re
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from gpunet.devices.cuda.nvrtc import Nvrtc, compile_options
from tests.emulator.builder import cache_folder

REPORT = re.compile(
    r"Compiling entry function '(?P<name>\w+)'.*?(?P<stack>\d+) bytes stack frame, "
    r"(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads"
    r".*?Used (?P<registers>\d+) registers(?:[^\n]*?(?P<shared>\d+) bytes smem)?",
    re.DOTALL,
)
"""What ptxas says of each kernel."""


@dataclass(frozen=True)
class Report:
    """Of one kernel: registers of a thread, bytes that left them, bytes of shared memory of a block."""

    registers: int
    stack: int
    stores: int
    loads: int
    shared: int

    @property
    def spills(self) -> bool:
        return bool(self.stack or self.stores or self.loads)


def compile_text(nvrtc: Nvrtc, source: str, real: str, architecture: str) -> tuple[bytes, str]:
    """The code of a text and the log of NVRTC and ptxas. Raises CompileError with that log."""
    options = (*compile_options(real, architecture), "--ptxas-options=-v")
    made_by = (nvrtc.version, nvrtc.path.stat().st_size, options, source)
    path = cache_folder("compiled") / sha256(repr(made_by).encode()).hexdigest()[:32]
    if not path.exists():
        code, log = nvrtc.compile(source, "kernels.cu", options)
        _keep(path, log.encode() + b"\0" + code)
    log_bytes, _, code = path.read_bytes().partition(b"\0")
    return code, log_bytes.decode()


def _keep(path: Path, content: bytes) -> None:
    """Whole or not at all: test processes may compile the same text at once."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    os.replace(file.name, path)


def reports(log: str) -> dict[str, Report]:
    """What ptxas says, by kernel."""
    names = "registers", "stack", "stores", "loads", "shared"
    return {match["name"]: Report(*(int(match[name] or 0) for name in names)) for match in REPORT.finditer(log)}
