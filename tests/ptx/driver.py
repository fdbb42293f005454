"""The driver of the CUDA device over executed PTX: what NVRTC made of the kernels runs, not the C++ that they were.

Memory, copies and matrix products are the emulator's. Stricter than that: every load and store must lie in the arrays
that the launch was given, and be aligned; no whole number is divided by 0; and where it `watches`, races in global and
in shared memory, shared memory that nobody wrote, and writes to what was read as constant (`__restrict__`) are errors.
"""

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from gpunet.devices.cuda.arrays import Argument, DeviceArray
from gpunet.devices.cuda.packing import Packed
from gpunet.devices.cuda.source import compose
from gpunet.errors import DeviceError
from tests.emulator.driver import EmulatorDriver, EmulatorError, describe

from .builder import machine, ptx_of
from .program import SPECIAL, Assembler, Program
from .text import Parameter, parse

RELEASES = {"61": 12, "70": 12}
"""Which CUDA release compiles for an architecture; 13 where nothing is said."""


class PtxDriver(EmulatorDriver):
    """As EmulatorDriver, for the PTX of an architecture.

    watches  whether races and the like are errors, too; ten times as slow
    noise    by how many units of the last place approximate instructions are off, as far as they may be
    options  more of NVRTC's
    """

    def __init__(
        self,
        order: str = "ascending",
        *,
        architecture: str = "75",
        watches: bool = False,
        noise: int = 0,
        options: tuple[str, ...] = (),
        **others: Any,
    ):
        super().__init__(order, **others)
        self._architecture = architecture
        self.capability = int(architecture[:-1]), int(architecture[-1])
        self._watches = watches
        self._noise = noise
        self._options = options

    def _library(self, file: str, real: str) -> "PtxLibrary":  # type: ignore[override]
        key = (file, real)
        if key not in self._libraries:
            release = RELEASES.get(self._architecture, 13)
            source = compose(file, self._folder)
            text = ptx_of(source, file, real, self._architecture, release, self._options)
            self._libraries[key] = library_of(text)  # type: ignore[assignment]
        return self._libraries[key]  # type: ignore[return-value]

    def _run(self, library: Any, name: str, what: tuple[Any, ...], arrays: list[DeviceArray]) -> str:
        kernel, grid, block, shared, packed = what
        launch = _Launch(
            grid=grid, threads=block, dynamic_bytes=shared, order=self._order, noise=self._noise,
            watches=self._watches, seed=self._seed,
        )  # fmt: skip
        wrong: str = library.launch(kernel, launch, packed, extents(arrays))
        return wrong


def extents(arrays: list[DeviceArray]) -> np.ndarray:
    """(first, behind the last) of the addresses that arrays take, those of arrays that overlap as one."""
    merged: list[list[int]] = []
    ends = {(array.pointer, array.pointer + array.nbytes + array.gap_bytes) for array in arrays}
    for first, after in sorted(ends):
        if merged and first < merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], after)
        else:
            merged.append([first, after])
    return np.array(merged, np.uint64).reshape(-1)


class _Launch(ctypes.Structure):
    """As in machine/machine.cpp."""

    _fields_ = (
        *((name, ctypes.c_uint) for name in ("grid", "threads", "dynamic_bytes")),
        *((name, ctypes.c_int) for name in ("order", "noise", "watches")),
        ("seed", ctypes.c_uint64),
        ("ranges", ctypes.c_void_p),
        ("range_count", ctypes.c_uint64),
        ("parameters", ctypes.c_void_p),
        ("parameter_bytes", ctypes.c_uint64),
        *((name, ctypes.c_int) for name in ("block_number", "block_count", "thread_count")),
    )


@dataclass(frozen=True)
class _Kernel:
    """A kernel that the machine holds."""

    handle: int
    program: Program


class PtxLibrary:
    """The kernels of a text of PTX; each is assembled when it is first launched."""

    def __init__(self, text: str):
        self._text = text
        self._module = parse(text)
        self._names = [name for name, function in self._module.functions.items() if function.is_kernel]
        self._kernels: dict[str, _Kernel] = {}

    def check(
        self, name: str, kernel: str, grid: int, block: int, arguments: tuple[Argument, ...], real: np.dtype
    ) -> None:
        """Raises for a kernel that there is not, a launch that CUDA refuses, and arguments that it would misread."""
        if kernel not in self._names:
            raise DeviceError(f"there is no kernel {name}; there are {', '.join(self._names)}")
        function = self._module.functions[kernel]
        if not 1 <= grid < 2**31 or not 1 <= block <= function.most_threads:
            bounds = function.most_threads
            raise DeviceError(f"{name} cannot run on {grid} blocks of {block} threads; __launch_bounds__ are {bounds}")
        if len(arguments) != len(function.parameters):
            raise EmulatorError(f"{name} takes {len(function.parameters)} arguments, not {len(arguments)}")
        for position, (argument, parameter) in enumerate(zip(arguments, function.parameters, strict=True)):
            given = describe(argument, real)
            if not _fits(given, parameter):
                taken = f"{parameter.nbytes} bytes of .{parameter.kind}"
                raise EmulatorError(f"{name}, argument {position}: the kernel takes {taken}, not {given}")

    def launch(self, kernel: str, launch: _Launch, packed: Packed, ranges: np.ndarray) -> str:
        """Run it; what went wrong, or nothing."""
        held = self._kernel(kernel)
        parameters = _as_bytes(packed, held.program.parameters)
        launch.ranges, launch.range_count = ranges.ctypes.data, len(ranges) // 2
        launch.parameters, launch.parameter_bytes = parameters.ctypes.data, len(parameters)
        launch.block_number, launch.block_count = SPECIAL["%ctaid.x"], SPECIAL["%nctaid.x"]
        launch.thread_count = SPECIAL["%ntid.x"]
        line = ctypes.c_int()
        wrong: str = functions().machine_launch(held.handle, ctypes.byref(launch), ctypes.byref(line)).decode()
        if not wrong or not line.value:
            return wrong
        return f"{wrong}; line {line.value} of the PTX: {self._text.splitlines()[line.value - 1].strip()}"

    def _kernel(self, name: str) -> _Kernel:
        if name not in self._kernels:
            program = Assembler(self._module, forms()).assemble(name)
            handle = functions().machine_program(
                program.rows.ctypes.data, program.instructions, program.constants, len(program.constants),
                program.register_bytes, program.shared_bytes,
            )  # fmt: skip
            self._kernels[name] = _Kernel(handle, program)
        return self._kernels[name]


@cache
def library_of(text: str) -> PtxLibrary:
    """Once for a process."""
    return PtxLibrary(text)


@cache
def functions() -> ctypes.PyDLL:
    """Those of the machine, which holds the interpreter's lock: it runs one launch at a time."""
    path: Path = machine()
    library = ctypes.PyDLL(str(path))
    library.machine_form.restype = library.machine_launch.restype = ctypes.c_char_p
    library.machine_program.restype = ctypes.c_void_p
    library.machine_program.argtypes = (
        [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint32]
    )  # fmt: skip
    library.machine_launch.argtypes = [ctypes.c_void_p] * 3
    return library


@cache
def forms() -> dict[str, int]:
    """The number of each form of instruction that the machine has."""
    found: dict[str, int] = {}
    while name := functions().machine_form(len(found)):
        found[name.decode()] = len(found)
    return found


def _fits(given: str, parameter: Parameter) -> bool:
    """Whether an argument, as `describe` has it, may be that parameter: PTX does not tell pointers from numbers."""
    if given.startswith("struct"):
        return parameter.kind == "b8" and parameter.nbytes == int(given.removeprefix("struct"))
    if given.startswith("f"):
        return parameter.kind == f"f{8 * int(given[1:])}"
    return parameter.kind in ("u64", "b64")


def _as_bytes(packed: Packed, places: list[tuple[int, int]]) -> np.ndarray:
    """The parameters as they lie in the memory that the kernel reads them from."""
    last, nbytes = places[-1] if places else (0, 0)
    memory = np.zeros(last + nbytes, np.uint8)
    for (start, size), address in zip(places, packed.addresses.tolist(), strict=True):
        memory[start : start + size] = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
    return memory
