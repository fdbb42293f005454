"""NVIDIA's run-time compiler through ctypes, so that its options are ours alone.

CuPy would add -ftz=true behind them, which takes float32 values below 1.2e-38 for 0. Names and numbers are those of
NVIDIA's NVRTC documentation.
"""

import ctypes
import os
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_void_p
from functools import cache
from pathlib import Path

from gpunet.devices.cuda.libraries import find_library
from gpunet.errors import DeviceError

__all__: tuple[str, ...] = ()  # no ops here

REALS = ("float32", "float64")
"""Types in which is computed."""

TYPES = {
    "float32": ("float", "float"),
    "float64": ("double", "double"),
    "float16": ("Float16", "float"),
    "bfloat16": ("Bfloat16", "float"),
}
"""STORED and REAL of cuda/common.cuh, by the type of a volume: as what it lies in memory, in what is computed."""

COMPILATION = 6
"""NVRTC_ERROR_COMPILATION: its log says why."""

Capability = tuple[int, int]


class CompileError(DeviceError):
    """A text that NVRTC does not compile; the message is its log."""


class Nvrtc:
    """NVRTC as a library at `path`. Raises DeviceError where it cannot be loaded or refuses to work.

    `version`        such as (12, 9)
    `architectures`  compute capabilities that it makes code for, the oldest first
    """

    def __init__(self, path: Path):
        self.path = path
        if sys.platform == "win32":  # where it looks for its second library
            os.add_dll_directory(str(path.parent))
        try:
            self._library = ctypes.CDLL(str(path))
            self._declare()
        except OSError as error:
            raise DeviceError(f"NVRTC cannot be loaded ({error})") from error
        except AttributeError as error:
            raise DeviceError(f"{path} is no NVRTC, or too old a one ({error})") from error
        self.version = self._version()
        self.architectures = self._architectures()

    def _declare(self) -> None:
        """What its functions take and give, where that is no int."""
        self._library.nvrtcGetErrorString.restype = c_char_p
        self._library.nvrtcCreateProgram.argtypes = [POINTER(c_void_p), c_char_p, c_char_p, c_int, c_void_p, c_void_p]
        self._library.nvrtcCompileProgram.argtypes = [c_void_p, c_int, POINTER(c_char_p)]
        for name in ("ProgramLog", "CUBIN", "PTX"):
            getattr(self._library, f"nvrtcGet{name}Size").argtypes = [c_void_p, POINTER(c_size_t)]
            getattr(self._library, f"nvrtcGet{name}").argtypes = [c_void_p, c_char_p]
        self._library.nvrtcGetSupportedArchs.argtypes = [POINTER(c_int)]

    def compile(self, source: str, name: str, options: tuple[str, ...]) -> tuple[bytes, str]:
        """(code, log) of a text called `name`: machine code for -arch=sm_.., PTX for -arch=compute_...

        Raises CompileError with the log for a text that is no good, DeviceError for anything else.
        """
        program = c_void_p()
        self._call("CreateProgram", byref(program), source.encode(), name.encode(), 0, None, None)
        try:
            given = [option.encode() for option in options]
            status = self._library.nvrtcCompileProgram(program, len(given), (c_char_p * len(given))(*given))
            log = self._text("ProgramLog", program).rstrip(b"\0").decode("utf-8", "replace")
            if status == COMPILATION:
                raise CompileError(log)
            self._check("CompileProgram", status)
            virtual = any(option.startswith("-arch=compute_") for option in options)
            return self._text("PTX" if virtual else "CUBIN", program), log
        finally:
            self._library.nvrtcDestroyProgram(byref(program))

    def architecture(self, capability: Capability) -> str:
        """What it makes for a GPU: sm_86, code that runs there, or compute_121, which a newer GPU's driver compiles.

        Code for a compute capability runs on those of the same first number and a larger second one.
        """
        able = [known for known in self.architectures if known <= capability]
        if able and able[-1][0] == capability[0]:
            return "sm_{}{}".format(*able[-1])
        return "compute_{}{}".format(*self.architectures[-1])

    def _version(self) -> tuple[int, int]:
        major, minor = c_int(), c_int()
        self._call("Version", byref(major), byref(minor))
        return major.value, minor.value

    def _architectures(self) -> list[Capability]:
        number = c_int()
        self._call("GetNumSupportedArchs", byref(number))
        found = (c_int * number.value)()
        self._call("GetSupportedArchs", found)
        return sorted(divmod(value, 10) for value in found)

    def _text(self, what: str, program: c_void_p) -> bytes:
        size = c_size_t()
        self._call(f"Get{what}Size", program, byref(size))
        text = ctypes.create_string_buffer(size.value)
        self._call(f"Get{what}", program, text)
        return text.raw

    def _call(self, name: str, *arguments: object) -> None:
        self._check(name, getattr(self._library, f"nvrtc{name}")(*arguments))

    def _check(self, name: str, status: int) -> None:
        if status:
            words = self._library.nvrtcGetErrorString(status).decode()
            raise DeviceError(f"NVRTC {'.'.join(map(str, self.version))}: {name} returned {words}")


def type_options(real: str) -> tuple[str, str]:
    """What every compiler of the kernels gets for a type of TYPES."""
    stored, computed = TYPES[real]
    return f"-DSTORED={stored}", f"-DREAL={computed}"


def compile_options(real: str, architecture: str) -> tuple[str, ...]:
    """All that NVRTC gets for a type of TYPES and what `Nvrtc.architecture` says."""
    # the second: lambdas are functions of the GPU, too
    return ("--std=c++17", "--device-as-default-execution-space", *type_options(real), f"-arch={architecture}")


@cache
def open_nvrtc(path: Path) -> Nvrtc:
    """The library at that path, once for a process."""
    return Nvrtc(path)


def at_hand(release: int | None = None) -> Nvrtc:
    """The NVRTC of this installation, of that CUDA release if one is said. Raises DeviceError where there is none."""
    found = open_nvrtc(find_library("NVRTC", release))
    if release not in (None, found.version[0]):
        raise DeviceError(f"there is no NVRTC of CUDA {release} here, but one of CUDA {found.version[0]}")
    return found
