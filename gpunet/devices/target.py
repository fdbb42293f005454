"""What the planner needs to know of a device without opening it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from gpunet.devices.algorithms import algorithm_for
from gpunet.errors import ConfigError
from gpunet.program.algorithm import Algorithm, Fusions, Math, Pass
from gpunet.program.filters import ConvShape
from gpunet.program.program import DTYPES, AnyDtype, DeviceName, Dtype
from gpunet.program.tensor import HALVES
from gpunet.values.given import told

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Reserve:
    """What the process holds outside the arena, in bytes, and how that is known, in words."""

    nbytes: int
    source: str = "stated, not measured"


class DeviceTarget(ABC):
    """Constants of a device and the scratch that its algorithms want; of a GPU, which one is meant.

    `reserve_bytes`        what the process holds outside the arena where nobody has measured it
    `scratch_limit_bytes`  how much scratch of a convolution pays on this device
    `rounds_pay`           whether larger rounds run faster, so that small ones are paid for in time
    `gathers_windows`      whether a product of windows that no matrix holds needs them gathered in scratch first
    `calls_cost`           whether a call costs time by itself, so that one for several arrays is better than many
    `fusions`              by algorithm of a convolution, or for NORM, what is done in one op with it
    `card`                 the name of the card that is planned for; "" where none was named and none is here
    `compute_capability`   (8, 6) of 8.6; None where there is no such thing
    `total_bytes`          all that CUDA gives of that card, and `total_source`, how that is known; None: no card
    `doubt`                what is unsure of that, in words; "" where nothing is
    """

    alignment: ClassVar[int] = 256
    reserve_bytes: ClassVar[int]
    scratch_limit_bytes: ClassVar[int]
    rounds_pay: ClassVar[bool]
    gathers_windows: ClassVar[bool]
    calls_cost: ClassVar[bool]
    fusions: ClassVar[Fusions] = {}
    card: str = ""
    compute_capability: tuple[int, int] | None = None
    total_bytes: int | None = None
    total_source: str = ""
    doubt: str = ""

    @property
    @abstractmethod
    def name(self) -> DeviceName:
        """As people say it: cpu, cuda, cuda:1."""

    def reserve(self, ranks: int = 1) -> Reserve:
        """The reserve of this machine where it was measured, else the stated one; that of one of so many ranks."""
        return Reserve(self.reserve_bytes)

    @abstractmethod
    def hardware(self) -> str | None:
        """What a measurement holds for: this machine's CPU, or GPU and driver; None where that is not here."""

    @abstractmethod
    def check_math(self, math: Math, dtype: str) -> None:
        """Raise ConfigError, with what there is, for products that this device has not in that dtype."""

    @abstractmethod
    def gemm_workspace_bytes(self, rows: int, columns: int, itemsize: int, *, accumulate: bool) -> int:
        """Bytes a (rows, columns) matrix product wants beside its operands; `accumulate`: added to what is there."""

    @property
    @abstractmethod
    def halves(self) -> tuple[Dtype, ...]:
        """The types of two bytes that it has, the one for training first."""

    @abstractmethod
    def product_dtype(self, dtype: str) -> str:
        """The type in which it multiplies matrices where activations are of `dtype`."""

    def has(self, dtype: AnyDtype) -> bool:
        """Whether there are activations of this type on it."""
        return bool(self.halves) if dtype == "mixed" else dtype not in HALVES or dtype in self.halves

    def dtype(self, asked: AnyDtype) -> Dtype:
        """The type that is asked for; "mixed": the half type that it trains with best.

        Raises ConfigError for one that there is not, or that it does not have.
        """
        if asked not in DTYPES:
            raise ConfigError(f"the dtype must be one of {', '.join(DTYPES)}; got {told(asked)}")
        if asked != "mixed" and self.has(asked):
            return asked
        if not self.halves:
            raise ConfigError(f"{self._words} has no half types: they need compute capability 7.5; use float32")
        if asked != "mixed":
            raise ConfigError(f"{self._words} has no {asked}, which needs compute capability 8.0; use {self.halves[0]}")
        return self.halves[0]

    @property
    def _words(self) -> str:
        """What it is, for messages."""
        if self.compute_capability is None:
            return f"the {self.name.upper()}"
        return f"{self.card or 'a GPU'} (compute capability {'.'.join(map(str, self.compute_capability))})"

    def conv_algorithm(
        self, pass_: Pass, shape: ConvShape, *, dtype: str, math: Math, scratch_limit_bytes: int
    ) -> Algorithm:
        """How the device runs this pass of a convolution."""
        return algorithm_for(
            pass_,
            shape,
            dtype=dtype,
            math=math,
            device=self.name,
            capability=self.compute_capability,
            scratch_limit_bytes=scratch_limit_bytes,
        )
