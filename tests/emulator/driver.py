"""The driver of the CUDA device without a GPU: kernels run in emulator.h, products in NumPy, memory is the host's.

It is stricter than a GPU: arguments must have the types of the kernel's parameters, arrays must lie in memory that is
allocated, a write outside of it, a barrier that not all threads reach and a workspace in use are errors.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from gpunet.devices.cuda.arrays import Allocation, Argument, DeviceArray, Driver, Matrix, Product, Work
from gpunet.devices.cuda.packing import Packed, pack
from gpunet.errors import DeviceError
from gpunet.program.tensor import HALVES

from .builder import build

ORDERS = ("ascending", "descending", "random")
GUARD_BYTES = 4096
GUARD = 0xFF
"""NaN bytes: a kernel that reads just outside of its memory gets NaN, one that writes anything else there is caught."""
ALIGNMENT = 256


class EmulatorError(AssertionError):
    """Something that a GPU might have let pass."""


class EmulatorDriver(Driver):
    """Runs threads and blocks in an `order` of ORDERS, other random ones for each launch and each `seed`.

    folder       where the .cu files are, if not the project's
    flags        more flags for the compiler
    total_bytes  how much memory this device pretends to have
    """

    multiprocessors = 1
    capability = (9, 0)
    most_shared_bytes = 227 * 1024
    """For a block, as compute capability 9.0 has it; other GPUs have less."""

    def __init__(
        self,
        order: str = "ascending",
        *,
        seed: int = 0,
        folder: Path | None = None,
        flags: tuple[str, ...] = (),
        total_bytes: int = 2**40,
    ):
        self._order = ORDERS.index(order)
        self._seed = seed
        self._folder = folder
        self._flags = flags
        self._total_bytes = total_bytes
        self._libraries: dict[tuple[str, str], _Library] = {}
        self._live: dict[int, Allocation] = {}
        self._captured: list[Work] | None = None
        self._beside: list[_Begun] = []
        self.launched: list[str] = []
        self.graphs_run = 0

    # ---- memory ----

    def allocate(self, nbytes: int) -> Allocation:
        free, total = self.memory()
        if nbytes > free:
            raise DeviceError(f"the emulated GPU has {free} of {total} bytes free; {nbytes} bytes were asked for")
        memory = np.empty(nbytes + 2 * GUARD_BYTES + ALIGNMENT, np.uint8)
        start = GUARD_BYTES + -(memory.ctypes.data + GUARD_BYTES) % ALIGNMENT
        memory[:start] = memory[start + nbytes :] = GUARD
        memory[start : start + nbytes] = 0xFF
        allocation = Allocation(memory.ctypes.data + start, nbytes, memory)
        self._live[allocation.pointer] = allocation
        return allocation

    def free(self, allocation: Allocation) -> None:
        self.check_guards("what ran last")
        del self._live[allocation.pointer]

    def check_guards(self, suspect: str) -> None:
        """Raises EmulatorError, naming the suspect, if bytes just outside of an allocation were overwritten."""
        for allocation in self._live.values():
            start = allocation.pointer - allocation.owner.ctypes.data
            for guard in (allocation.owner[:start], allocation.owner[start + allocation.nbytes :]):
                if not (guard == GUARD).all():
                    raise EmulatorError(f"{suspect} wrote outside of an allocation of {allocation.nbytes} bytes")

    def _check_lives(self, what: str, pointer: int, nbytes: int) -> None:
        for live in self._live.values():
            if live.pointer <= pointer and pointer + nbytes <= live.pointer + live.nbytes:
                return
        raise EmulatorError(f"{what}: {nbytes} bytes at {pointer:#x} are not all in memory that is allocated")

    def copy_in(self, pointer: int, values: np.ndarray) -> None:
        self._bytes("copy_in", pointer, values.nbytes)[:] = values.reshape(-1).view(np.uint8)

    def send(self, pointer: int, values: np.ndarray, after: float) -> "_Sent":
        """Nothing arrives before it is waited for: until then NaN bytes are there, so that all who look too early, or
        still look at what was there, see them."""
        self._bytes("send", pointer, values.nbytes)[:] = 0xFF
        assert after <= perf_counter()
        return _Sent(pointer, values.copy())

    def wait_for(self, event: "_Sent | _Begun") -> None:
        if isinstance(event, _Sent):
            self.copy_in(event.pointer, event.values)
            return
        while not event.done:  # in order
            self._beside.pop(0).run()

    def beside(self, works: Sequence[Work]) -> "_Begun":
        """Nothing is done before it is waited for: whoever looks too early sees what was there before."""
        begun = _Begun(list(works))
        self._beside.append(begun)
        return begun

    def copy_out(self, pointer: int, values: np.ndarray) -> None:
        values.reshape(-1).view(np.uint8)[:] = self._bytes("copy_out", pointer, values.nbytes)

    def fill(self, pointer: int, byte: int, nbytes: int) -> None:
        self._bytes("fill", pointer, nbytes)[:] = byte

    def _bytes(self, what: str, pointer: int, nbytes: int) -> np.ndarray:
        self._refuse_capture(what)
        self._check_lives(what, pointer, nbytes)
        return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(pointer))

    def memory(self) -> tuple[int, int]:
        return self._total_bytes - sum(live.nbytes for live in self._live.values()), self._total_bytes

    def synchronize(self) -> None:
        self._refuse_capture("synchronize")
        self.check_guards("what ran last")

    def event(self) -> float:
        return perf_counter()

    def elapsed_ms(self, first: float, last: float) -> float:
        return (last - first) * 1e3

    def close(self) -> None:
        self.check_guards("what ran last")
        self._live.clear()

    # ---- kernels ----

    def prepare(
        self, file: str, kernel: str, grid: int, block: int, *arguments: Argument, real: np.dtype, shared: int = 0
    ) -> Work:
        name = f"{file}.{kernel}"
        library = self._library(file, real.name)
        library.check(name, kernel, grid, block, arguments, real)
        if not 0 <= shared <= self.most_shared_bytes:
            raise DeviceError(
                f"a block of {name} cannot have {shared} bytes of dynamic shared memory; here it is up to "
                f"{self.most_shared_bytes}"
            )
        packed = pack(arguments, real)
        given = [one for argument in arguments for one in (argument if isinstance(argument, tuple) else (argument,))]
        arrays = [one for one in given if isinstance(one, DeviceArray)]

        def run() -> None:
            for array in arrays:
                self._check_lives(f"an array for {name}", array.pointer, array.nbytes + array.gap_bytes)
            wrong = self._run(library, name, (kernel, grid, block, shared, packed), arrays)
            self._seed += 1
            self.launched.append(name)
            if wrong:
                raise EmulatorError(f"{name}, {wrong}")
            self.check_guards(name)

        return self._unless_captured(run)

    def _run(self, library: "_Library", name: str, what: tuple[Any, ...], arrays: list[DeviceArray]) -> str:
        """Run a launch, which was given these arrays; what went wrong, or nothing."""
        return library.launch(*what, self._order, self._seed)

    # ---- graphs: recorded, then played back ----

    def _unless_captured(self, run: Work) -> Work:
        """Work that runs when it is called, but while a graph is captured is noted there and does nothing."""
        begun = False

        def begin() -> None:
            nonlocal begun
            if self._captured is None:
                begun = True
                run()
            elif begun:
                self._captured.append(run)
            else:
                raise EmulatorError("work was captured that had never been begun")

        return begin

    def capture(self, works: Sequence[Work]) -> Work:
        self._captured = graph = []
        try:
            for work in works:
                work()
        finally:
            self._captured = None

        def replay() -> None:
            self._refuse_capture("a graph")
            self.graphs_run += 1
            for run in graph:
                run()

        return replay

    def _refuse_capture(self, what: str) -> None:
        if self._captured is not None:
            raise EmulatorError(f"{what} while a graph is captured")

    def _library(self, file: str, real: str) -> "_Library":
        if (file, real) not in self._libraries:
            self._libraries[file, real] = _Library(*build(file, real, self._folder, self._flags))
        return self._libraries[file, real]

    # ---- matrix products ----

    def prepare_gemm(self, product: Product) -> Work:
        return self._unless_captured(lambda: self._multiply(product))

    def _multiply(self, product: Product) -> None:
        a, b, c = (self._column_major(matrix) for matrix in (product.a, product.b, product.c))
        if product.workspace is not None:
            self._scribble(product.workspace, [product.a, product.b, product.c])
        for operand in (a, b):
            if np.may_share_memory(operand, c):
                raise EmulatorError("gemm: the result overlaps an operand")
        left, right = a.T if product.trans_a else a, b.T if product.trans_b else b
        with np.errstate(all="ignore"):  # infinity and NaN are values
            made = c.dtype.type(product.alpha) * (left @ right)
            c[...] = made + c.dtype.type(product.beta) * c if product.beta else made

    def _column_major(self, matrix: Matrix) -> np.ndarray:
        """The matrix as cuBLAS sees it: its rows are columns there."""
        if matrix.stride < max(1, matrix.columns):
            numbers = f"leading dimension {matrix.stride} of {matrix.columns} rows"
            raise DeviceError(f"cuBLAS: CUBLAS_STATUS_INVALID_VALUE ({numbers})")
        memory = self._bytes("gemm", matrix.pointer, matrix.nbytes).view(matrix.dtype)
        strides = (matrix.dtype.itemsize, matrix.stride * matrix.dtype.itemsize)
        return np.lib.stride_tricks.as_strided(memory, (matrix.columns, matrix.rows), strides)

    def _scribble(self, workspace: DeviceArray, operands: list[Matrix]) -> None:
        """cuBLAS may leave anything there: NaN bytes."""
        if workspace.pointer % ALIGNMENT:
            raise DeviceError("cuBLAS: CUBLAS_STATUS_INVALID_VALUE (its workspace is not aligned to 256 bytes)")
        for operand in operands:
            if (
                workspace.pointer < operand.pointer + operand.nbytes
                and operand.pointer < workspace.pointer + workspace.nbytes
            ):
                raise EmulatorError("gemm: the workspace overlaps an operand or the result")
        self.fill(workspace.pointer, 0xFF, workspace.nbytes)


@dataclass(frozen=True)
class _Sent:
    """What is on its way to the device."""

    pointer: int
    values: np.ndarray


@dataclass
class _Begun:
    """Work that goes on beside other."""

    works: list[Work]
    done: bool = False

    def run(self) -> None:
        for work in self.works:
            work()
        self.done = True


class _Library:
    """A compiled .cu file."""

    def __init__(self, path: Path, kernels: list[str]):
        # PyDLL holds the interpreter's lock: a library has one set of threadIdx, shared memory and fibers.
        self._functions = ctypes.PyDLL(str(path))
        self._functions.emulator_signature.restype = ctypes.c_char_p
        self._functions.emulator_launch.restype = ctypes.c_char_p
        self._functions.emulator_launch.argtypes = (
            [ctypes.c_int] * 4 + [ctypes.c_void_p, ctypes.c_int, ctypes.c_ulonglong]
        )  # fmt: skip
        self._index = {name: index for index, name in enumerate(kernels)}
        self._signatures = {
            name: self._functions.emulator_signature(index).decode().split() for name, index in self._index.items()
        }
        self._most_threads = {name: self._functions.emulator_most_threads(index) for name, index in self._index.items()}

    def check(
        self, name: str, kernel: str, grid: int, block: int, arguments: tuple[Argument, ...], real: np.dtype
    ) -> None:
        """Raises for a kernel that there is not, a launch that CUDA refuses, and arguments that it would misread."""
        if kernel not in self._index:
            raise DeviceError(f"there is no kernel {name}; there are {', '.join(self._index)}")
        if not 1 <= grid < 2**31 or not 1 <= block <= self._most_threads[kernel]:
            bounds = self._most_threads[kernel]
            raise DeviceError(f"{name} cannot run on {grid} blocks of {block} threads; __launch_bounds__ are {bounds}")
        signature = self._signatures[kernel]
        if len(arguments) != len(signature):
            raise EmulatorError(
                f"{name} takes {len(signature)} arguments ({' '.join(signature)}), not {len(arguments)}"
            )
        for position, (argument, parameter) in enumerate(zip(arguments, signature, strict=True)):
            given = describe(argument, real)
            if given != parameter and not (parameter.startswith("p") and (given == "p" or parameter == "pv")):
                raise EmulatorError(f"{name}, argument {position}: the kernel takes {parameter}, not {given}")

    def launch(self, kernel: str, grid: int, block: int, shared: int, packed: Packed, order: int, seed: int) -> str:
        """Run it; what went wrong, or nothing."""
        numbers = self._index[kernel], grid, block, shared
        wrong: bytes = self._functions.emulator_launch(*numbers, packed.pointer, order, seed)
        return wrong.decode()


def describe(argument: Argument, real: np.dtype) -> str:
    """As emulator.h describes parameters."""
    if isinstance(argument, DeviceArray):
        return "pf2" if argument.dtype.name in HALVES else f"p{argument.dtype.kind}{argument.dtype.itemsize}"
    if argument is None:
        return "p"
    if isinstance(argument, tuple):
        return f"struct{8 * len(argument)}"
    return "i8" if isinstance(argument, int) else f"f{max(4, real.itemsize)}"
