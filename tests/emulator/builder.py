"""Compiles a .cu file for the CPU: the text that NVRTC would get, behind emulator.h, into a shared library."""

import atexit
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from gpunet.devices.cuda.nvrtc import type_options
from gpunet.devices.cuda.source import compose

FOLDER = Path(__file__).parent
KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+__launch_bounds__\s*\(([^()]*)\)\s*(\w+)\s*\(')
"""How every kernel is declared; groups: its launch bounds, its name."""
FLAGS = ["-std=c++17", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-fno-fast-math", "-ffp-contract=off", "-w"]

COUNTING = "-fsanitize=thread"
"""Lets the compiler call a function before each access to memory; with -DEMULATOR_COUNT they are those of count.h."""


class BuildError(Exception):
    """A .cu file that does not compile, or no compiler to do it with; the message is the compiler's."""


def build(file: str, real: str, folder: Path | None = None, flags: tuple[str, ...] = ()) -> tuple[Path, list[str]]:
    """The shared library of cuda/`file`.cu (or `folder`'s) for volumes of `real`; the names of its kernels, in order.

    Compiled once for a text, a header, a compiler and its flags, then found in the cache.
    """
    source = compose(file, folder)
    kernels = find_kernels(source)
    entries = ", ".join(f"EMULATOR_KERNEL({name}, {bounds})" for bounds, name in kernels)
    text = f'{source}\n#line 1 "emulator"\nEMULATOR_EXPORTS({entries})\n'
    command = [*compiler(), *FLAGS, *flags, *type_options(real)]
    headers = [path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.h"))]
    key = hashlib.sha256("\0".join([*command, text, *headers]).encode()).hexdigest()[:32]
    library = cache_folder("emulator") / f"{file}-{real}-{key}.so"
    if not library.exists():
        compile_library(command, f'#include "{FOLDER / "emulator.h"}"\n{text}', library)  # wherever it lies
    return library, [name for _, name in kernels]


def find_kernels(source: str) -> list[tuple[str, str]]:
    """Launch bounds and name of every kernel of a text. Raises BuildError for one that is declared in another way."""
    source = re.sub(r"//[^\n]*|/\*.*?\*/", "", source, flags=re.DOTALL)
    kernels = KERNEL.findall(source)
    if len(kernels) != source.count("__global__") or not kernels:
        raise BuildError(
            f"{source.count('__global__')} times __global__ but {len(kernels)} kernels: declare each as "
            'extern "C" __global__ void __launch_bounds__(BLOCK) name(...)'
        )
    return kernels


@cache
def compiler() -> tuple[str, ...]:
    """The command of a C++17 compiler: the one on PATH, else the ziglang wheel's."""
    for name in ("c++", "g++", "clang++"):
        if path := shutil.which(name):
            return (path,)
    if importlib.util.find_spec("ziglang"):
        return (sys.executable, "-m", "ziglang", "c++")
    raise BuildError(
        'running the kernels on the CPU needs a C++ compiler: install g++ or clang, or "pip install ziglang"'
    )


def compile_library(command: list[str], text: str, library: Path) -> None:
    """Into a temporary name, then renamed: test processes that build the same file at once do not see half of it."""
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        source, result = Path(folder, "kernels.cpp"), Path(folder, "kernels.so")
        source.write_text(text, encoding="utf-8")
        if COUNTING in command:  # linked without the library that would answer the calls, which count.h does
            _run(
                [*(flag for flag in command if flag != "-shared"), "-c", str(source), "-o", f"{source}.o"], library.name
            )
            command, source = [flag for flag in command if flag != COUNTING], Path(f"{source}.o")
        _run([*command, str(source), "-o", str(result)], library.name)
        os.replace(result, library)


def _run(command: list[str], name: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f"{' '.join(command)} cannot compile {name}:\n{done.stderr}")


def cache_folder(name: str) -> Path:
    """A folder of the user's cache; where nothing can be written there, one that ends with this process."""
    return _usable(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpunet" / name)


@cache
def _usable(folder: Path) -> Path:
    """The folder if files can be made there, else a temporary one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        elsewhere = tempfile.TemporaryDirectory(prefix="gpunet-emulator-")
        atexit.register(elsewhere.cleanup)
        return Path(elsewhere.name)
