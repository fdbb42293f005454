"""What planning for the CPU needs to know."""

from typing import ClassVar

from gpunet.devices.target import MIB, DeviceTarget, Reserve
from gpunet.errors import ConfigError
from gpunet.program.algorithm import NORM, Fusions, Math
from gpunet.program.program import Dtype
from gpunet.program.tensor import wide

MPI_BYTES = 24 * MIB
"""What MPI takes in each of several ranks, MPICH on one machine: 16 MiB of two, 20 of four."""


class CpuTarget(DeviceTarget):
    """The interpreter and NumPy take about 64 MiB; an im2col matrix pays while it stays near the caches."""

    name = "cpu"
    reserve_bytes = 64 * MIB
    scratch_limit_bytes = 8 * MIB
    rounds_pay = False
    gathers_windows = True
    calls_cost = False
    fusions: ClassVar[Fusions] = {
        "im2col": ("relu", "maps", "pool", "pool2x2", "late-unpool", "late-unpool2x2"),
        "winograd2": ("relu", "maps", "pool2x2", "late-unpool2x2", "late-norm"),
        "winograd4": ("relu", "maps", "pool2x2", "late-unpool2x2", "late-norm"),
        NORM: ("relu",),
    }

    @property
    def halves(self) -> tuple[Dtype, ...]:
        return ("bfloat16", "float16")

    def product_dtype(self, dtype: str) -> str:
        """BLAS has no halves."""
        return wide(dtype)

    def reserve(self, ranks: int = 1) -> Reserve:
        """64 MiB, and for several ranks 24 MiB for MPI."""
        if ranks == 1:
            return super().reserve()
        words = f"stated, not measured; of it {MPI_BYTES // MIB} MiB for MPI"
        return Reserve(self.reserve_bytes + MPI_BYTES, words)

    def hardware(self) -> str:
        from gpunet.devices.cpu.probe import cores, model

        return f"{model()}, {cores()} cores"

    def check_math(self, math: Math, dtype: str) -> None:
        """A CPU has no tensor cores; what is meant for them means nothing here."""

    def gemm_workspace_bytes(self, rows: int, columns: int, itemsize: int, *, accumulate: bool) -> int:
        """NumPy cannot add a product to what is there, so it makes the product first: room for all of it."""
        return rows * columns * itemsize if accumulate else 0


def target(gpu: str | None, assume: bool) -> CpuTarget:
    """The CPU. Raises ConfigError where a card was named."""
    if gpu is not None:
        raise ConfigError(f"{gpu!r} names a card, and the plan is for the CPU: leave the card out, or plan for cuda")
    return CpuTarget()
