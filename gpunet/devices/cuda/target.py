"""What planning for a GPU needs to know, on a machine with or without one: a named card's, this machine's, or any's."""

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, ClassVar

from gpunet.devices.cards import DEFAULT, Card, find, named, parse_capability, with_article
from gpunet.devices.cuda.tensor_tiles import FILES, OLDEST
from gpunet.devices.name import full_name
from gpunet.devices.target import MIB, DeviceTarget, Reserve
from gpunet.errors import ConfigError, DeviceError
from gpunet.program.algorithm import NORM, Fusions, Math
from gpunet.program.program import DeviceName, Dtype

if TYPE_CHECKING:
    from gpunet.devices.cuda.probe import Gpu

TURING, AMPERE, HOPPER = (7, 5), (8, 0), (9, 0)
NCCL_BYTES = 256 * MIB
"""What NCCL takes of a GPU beside the arena where nobody has measured it: some MiB for each channel to another rank."""


@dataclass(frozen=True, slots=True)
class CudaTarget(DeviceTarget):
    """A GPU by its compute capability.

    `here`    what was measured on this machine holds for it
    `number`  which GPU of those that CUDA shows on this machine
    """

    reserve_bytes = 512 * MIB
    scratch_limit_bytes = 16 * MIB
    rounds_pay = True
    gathers_windows = False
    calls_cost = True
    fusions: ClassVar[Fusions] = {
        **dict.fromkeys(FILES, ("relu", "maps", "pool2x2", "unpool2x2", "slope", "norm-few", "late-norm", "norm-maps")),
        "implicit": ("relu", "maps", "pool2x2", "unpool2x2", "slope", "norm", "norm-maps"),
        "winograd2": ("relu", "maps", "pool2x2", "unpool2x2", "slope", "norm-few", "late-norm"),
        NORM: ("relu",),
    }

    compute_capability: tuple[int, int]
    card: str = ""
    total_bytes: int | None = None
    total_source: str = ""
    doubt: str = ""
    here: bool = True
    number: int = 0

    @property
    def name(self) -> DeviceName:
        return full_name("cuda", self.number)

    @property
    def halves(self) -> tuple[Dtype, ...]:
        """Tensor cores have float16 from 7.5 on, bfloat16 from 8.0 on."""
        if self.compute_capability >= AMPERE:
            return ("bfloat16", "float16")
        return ("float16",) if self.compute_capability >= TURING else ()

    def product_dtype(self, dtype: str) -> str:
        return dtype

    def reserve(self, ranks: int = 1) -> Reserve:
        """512 MiB for the CUDA context and loaded kernels, and for several ranks 256 MiB for NCCL, where nobody has
        measured it."""
        from gpunet.devices.cuda.reserve import measured, measured_nccl

        own = (measured(self.number) if self.here else None) or Reserve(self.reserve_bytes)
        if ranks == 1:
            return own
        nccl = (measured_nccl(ranks, self.number) if self.here else None) or Reserve(NCCL_BYTES)
        words = f"{own.source}; of it {nccl.nbytes / MIB:,.0f} MiB for NCCL, {nccl.source}"
        return Reserve(own.nbytes + nccl.nbytes, words)

    def hardware(self) -> str | None:
        from gpunet.devices.cuda.reserve import hardware

        return hardware(self.number) if self.here else None

    def check_math(self, math: Math, dtype: str) -> None:
        needed = OLDEST.get(math)
        if needed is None:
            return
        if dtype != "float32":
            raise ConfigError(
                f"math {math} multiplies float32 on tensor cores, and the dtype is {dtype}: use math exact"
            )
        if self.compute_capability < needed:
            have, need = (".".join(map(str, number)) for number in (self.compute_capability, needed))
            raise ConfigError(
                f"math {math} needs tensor cores of compute capability {need} or newer, and "
                f"{with_article(self.card) if self.card else 'the GPU'} has {have}: use math exact"
            )

    def gemm_workspace_bytes(self, rows: int, columns: int, itemsize: int, *, accumulate: bool) -> int:
        """32 MiB from Hopper on, as NVIDIA advises: less may keep cuBLAS from splitting long sums of weight gradients.

        8 MiB before, where it advises 4. See cublasSetWorkspace in its documentation.
        """
        return (32 if self.compute_capability >= HOPPER else 8) * MIB


def target(gpu: str | None, assume: bool, number: int = 0) -> CudaTarget:
    """The card that is named, else this machine's GPU of that number, else with `assume` the DEFAULT card; else no
    card, with its compute capability.

    Raises ConfigError for a card that is not known, DeviceError where there are GPUs, but none of that number.
    """
    if gpu is not None:
        return _of_card(find(gpu), number)
    found = gpu_here(number)
    if found is not None:
        capability = parse_capability(found.compute_capability)
        source = "all that CUDA gives of this machine's GPU"
        return CudaTarget(capability, found.name, found.cuda_bytes, source, number=number)
    known = _of_card(find(DEFAULT), number)
    if not assume:
        return CudaTarget(known.compute_capability, number=number)
    return replace(known, total_source=f"{known.total_source}; no card or budget was named, no GPU was found")


def _of_card(card: Card, number: int) -> CudaTarget:
    found = gpu_here(number)
    here = found is not None and named(found.name) == [card]
    doubt = "" if card.total_is_sure else card.total_source
    return CudaTarget(card.compute_capability, card.name, card.total_bytes, card.total_source, doubt, here, number)


@cache
def gpu_here(number: int = 0) -> "Gpu | None":
    """This machine's GPU of that number; None where there is none.

    NVML is asked only where there is a driver, and once. Raises DeviceError where there are GPUs, but others alone.
    """
    from gpunet.devices.cuda import libcuda

    if libcuda.driver_version() is None:
        return None
    from gpunet.devices.cuda import probe

    try:
        return probe.gpu(number)
    except libcuda.NoSuchGpu:
        raise
    except DeviceError:
        return None
