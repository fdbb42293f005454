"""What CUDA ops compute on (DeviceArray) and what stands under them (Driver): CuPy on a GPU, the emulator in tests."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from gpunet.errors import ShapeError


@dataclass(frozen=True)
class Allocation:
    """Memory of a device: its address, aligned to 256 bytes, and its size. `owner` keeps it alive."""

    pointer: int
    nbytes: int
    owner: Any = field(default=None, repr=False, compare=False)


Work = Callable[[], None]
"""A launch or a product that is prepared, or a graph of them; `Driver.run` begins it, as often as wanted."""


class Driver(ABC):
    """Memory, copies, kernel launches and matrix products of one device, in the order in which they are asked for."""

    multiprocessors: int
    capability: tuple[int, int]
    """Compute capability, such as (8, 6)."""

    _recorded: list[Work] | None = None

    @abstractmethod
    def allocate(self, nbytes: int) -> Allocation:
        """Memory with whatever was in it. Raises DeviceError where there is not that much."""

    @abstractmethod
    def free(self, allocation: Allocation) -> None:
        """Give the memory back once the work asked for is done."""

    def launch(
        self, file: str, kernel: str, grid: int, block: int, *arguments: "Argument", real: np.dtype, shared: int = 0
    ) -> None:
        """Run `kernel` of cuda/`file`.cu, compiled for volumes of `real`, on `grid` blocks of `block` threads.

        A DeviceArray arrives as a pointer (None as null), an int as long long, a float as `cast` says, a Table as a
        struct; no other type does.
        `shared`: bytes of shared memory for each block beside what the kernel declares; dynamic_shared() of
        cuda/ptx.cuh. Raises DeviceError for more than a block of this device may have.
        """
        self._begin(self.prepare(file, kernel, grid, block, *arguments, real=real, shared=shared))

    def gemm(self, product: "Product") -> None:
        """Make a matrix product."""
        self._begin(self.prepare_gemm(product))

    def _begin(self, work: Work) -> None:
        if self._recorded is None:
            self.run([work])
        else:
            self._recorded.append(work)

    def record(self, call: Callable[[], None]) -> list[Work]:
        """The launches and products of a call, in order, prepared and not begun."""
        recorded: list[Work] = []
        self._recorded = recorded
        try:
            call()
        finally:
            self._recorded = None
        return recorded

    @abstractmethod
    def prepare(
        self, file: str, kernel: str, grid: int, block: int, *arguments: "Argument", real: np.dtype, shared: int = 0
    ) -> Work:
        """What `launch` begins: the kernel is compiled and its arguments are packed."""

    @abstractmethod
    def prepare_gemm(self, product: "Product") -> Work:
        """What `gemm` begins."""

    def run(self, works: Sequence[Work]) -> None:
        """Begin prepared work, in order, each on the same memory and with the same numbers as every time."""
        for work in works:
            work()

    def on_stream(self, work: Callable[[int], None]) -> None:
        """Call `work`, on this driver's device, with the pointer of the stream that its work goes to at the moment."""
        work(0)

    def aside(self) -> AbstractContextManager[None]:
        """What is prepared meanwhile is for `beside`: it goes to another stream."""
        return nullcontext()

    def beside(self, works: Sequence[Work]) -> Any:
        """Begin work that was prepared `aside`, in order, behind all that was asked for so far, and go on beside it.

        Returns an event behind it, which `wait_for` takes. A driver that has one stream does it at once.
        """
        self.run(works)
        return self.event()

    @abstractmethod
    def capture(self, works: Sequence[Work]) -> Work:
        """All of these as one graph, which begins them again, in order, at the cost of one call; begins nothing now.

        Each must have been begun before: what a library does at its first call cannot be captured. The graph takes
        memory of the device, outside of what was allocated.
        """

    @abstractmethod
    def copy_in(self, pointer: int, values: np.ndarray) -> None:
        """Copy a C-contiguous host array to the device; the host array may be changed as soon as this returns."""

    @abstractmethod
    def copy_out(self, pointer: int, values: np.ndarray) -> None:
        """Copy from the device into a C-contiguous host array; returns when all of it is there."""

    @abstractmethod
    def send(self, pointer: int, values: np.ndarray, after: Any) -> Any:
        """Begin to copy a host array to the device, C-contiguous, beside the work asked for since the event `after`.

        Returns an event behind the copy; the host array may be changed as soon as this returns.
        """

    @abstractmethod
    def wait_for(self, event: Any) -> None:
        """Let the work asked for from now on begin behind an event of `send` or `beside`; does not wait for it."""

    @abstractmethod
    def fill(self, pointer: int, byte: int, nbytes: int) -> None:
        """Set nbytes bytes to `byte`."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until all that was asked for is done. Raises DeviceError for what went wrong in it."""

    @abstractmethod
    def event(self) -> Any:
        """A point in time behind everything that was asked for so far; does not wait for it."""

    @abstractmethod
    def elapsed_ms(self, first: Any, last: Any) -> float:
        """Milliseconds from one event to a later one; waits for it."""

    @abstractmethod
    def memory(self) -> tuple[int, int]:
        """Bytes of the device that are free, and that there are."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the driver holds."""

    def arithmetic(self) -> dict[str, str]:
        """What the last bits of results depend on beside the arguments, in words by name: versions, the GPU's size."""
        return {}


@dataclass(frozen=True)
class DeviceArray:
    """A C-contiguous array in a device's memory; whoever allocated the memory keeps it alive.

    `gap_bytes`: where `lying` made it, what of other maps lies between its positions.
    """

    pointer: int
    shape: tuple[int, ...]
    dtype: np.dtype
    driver: Driver = field(repr=False)
    gap_bytes: int = field(default=0, repr=False)

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def reshape(self, *shape: int) -> "DeviceArray":
        """The same values in another shape; one extent may be -1."""
        known = prod(extent for extent in shape if extent != -1)
        if -1 in shape and known and self.size % known == 0:
            shape = tuple(self.size // known if extent == -1 else extent for extent in shape)
        if prod(shape) != self.size or any(extent < 0 for extent in shape):
            raise ShapeError(f"an array of shape {self.shape} has {self.size} values and cannot become {shape}")
        return DeviceArray(self.pointer, shape, self.dtype, self.driver)

    def rows(self, first: int, last: int) -> "DeviceArray":
        """The slice [first, last) of axis 0."""
        if not 0 <= first <= last <= self.shape[0]:
            raise ShapeError(f"rows {first} to {last} are not all in an array of shape {self.shape}")
        row_bytes = prod(self.shape[1:]) * self.dtype.itemsize
        return DeviceArray(
            self.pointer + first * row_bytes,
            (last - first, *self.shape[1:]),
            self.dtype,
            self.driver,
        )

    def matrix(self, first: int = 0, last: int | None = None) -> "Matrix":
        """Values [first, last) of the last axis, all of them if not said, as columns; every other axis goes into the
        rows."""
        length = self.shape[-1]
        last = length if last is None else last
        if not 0 <= first <= last <= length:
            raise ShapeError(f"columns {first} to {last} are not all in an array of shape {self.shape}")
        pointer = self.pointer + first * self.dtype.itemsize
        return Matrix(pointer, prod(self.shape[:-1]), last - first, length, self.dtype, self.driver)


@dataclass(frozen=True)
class Maps:
    """Neighbouring maps of a wider volume in a device's memory: a position begins `stride` values behind the last one.

    No kernel takes it as it is, so that none takes it for a C-contiguous array: an op that can takes `lying(x)`.
    """

    pointer: int
    shape: tuple[int, ...]
    stride: int
    dtype: np.dtype
    driver: Driver = field(repr=False)

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)


def lying(x: "DeviceArray | Maps") -> tuple[DeviceArray, int]:
    """Where an array begins, and how many values behind the one before each of its positions does."""
    if isinstance(x, Maps):
        D = x.shape[-1]
        gap_bytes = max(0, x.size // D - 1) * (x.stride - D) * x.dtype.itemsize
        return DeviceArray(x.pointer, x.shape, x.dtype, x.driver, gap_bytes), x.stride
    return x, x.shape[-1]


@dataclass(frozen=True)
class Matrix:
    """A row-major matrix in a device's memory, perhaps some columns of a larger one: each row begins `stride` values
    behind the one before. Whoever reads column-major sees its transpose, with a leading dimension of `stride`."""

    pointer: int
    rows: int
    columns: int
    stride: int
    dtype: np.dtype
    driver: Driver = field(repr=False)

    @property
    def nbytes(self) -> int:
        """From the first value to the last."""
        return ((self.rows - 1) * self.stride + self.columns) * self.dtype.itemsize if self.rows * self.columns else 0


@dataclass(frozen=True)
class Product:
    """c = alpha op(a) op(b) + beta c on the matrices as cuBLAS sees them, column-major; op transposes where asked.

    op(a) is (m, k), op(b) is (k, n), c is (m, n); all of them float32 or float64, in which it also computes. c is not
    read where beta is 0. `workspace`: scratch of cuBLAS, aligned to 256 bytes.
    """

    a: Matrix
    b: Matrix
    c: Matrix
    trans_a: bool = False
    trans_b: bool = False
    alpha: float = 1.0
    beta: float = 0.0
    workspace: DeviceArray | None = None

    @property
    def m(self) -> int:
        return self.c.columns

    @property
    def n(self) -> int:
        return self.c.rows

    @property
    def k(self) -> int:
        return self.a.columns if self.trans_a else self.a.rows


Table = tuple[DeviceArray | int, ...]
"""Pointers and numbers side by side, which a kernel takes as one argument: a struct of as many long longs."""

Argument = DeviceArray | int | float | Table | None
"""What a kernel takes."""


def cast(argument: DeviceArray | int | float | None, real: np.dtype) -> np.generic:
    """A kernel's argument as the bytes it expects: pointers 8 bytes, integers long long; so in a table. Floats are
    `real`, float32 where that is a half type.

    The only place where that is decided: CuPy would pass a Python float as a double to a kernel that reads a float.
    Raises TypeError for anything else, NumPy's scalars and bools included.
    """
    if argument is None:
        return np.uintp(0)
    if isinstance(argument, DeviceArray):
        return np.uintp(argument.pointer)
    if type(argument) is int:
        return np.int64(argument)
    if type(argument) is float:
        return np.float64(argument) if real == np.float64 else np.float32(argument)
    raise TypeError(f"a kernel takes DeviceArray, int, float or None, not {type(argument).__name__} ({argument!r})")
