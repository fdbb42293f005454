"""What planning for a GPU needs to know, on a machine with or without one: a named card's, this machine's, or any's."""

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from gpunet.devices.cards import DEFAULT, Card, find, named, parse_capability
from gpunet.devices.target import MIB, DeviceTarget, Reserve

if TYPE_CHECKING:
    from gpunet.devices.cuda.probe import Gpu

HOPPER = (9, 0)


@dataclass(frozen=True, slots=True)
class CudaTarget(DeviceTarget):
    """A GPU by its compute capability; `here`: what was measured on this machine holds for it."""

    name = "cuda"
    reserve_bytes = 512 * MIB
    scratch_limit_bytes = 64 * MIB
    gathers_windows = False

    compute_capability: tuple[int, int]
    card: str = ""
    total_bytes: int | None = None
    total_source: str = ""
    doubt: str = ""
    here: bool = True

    def reserve(self) -> Reserve:
        """512 MiB for the CUDA context and loaded kernels where nobody has measured it."""
        from gpunet.devices.cuda.reserve import measured

        return (measured() if self.here else None) or Reserve(self.reserve_bytes)

    def hardware(self) -> str | None:
        from gpunet.devices.cuda.reserve import hardware

        return hardware() if self.here else None

    def gemm_workspace_bytes(self, rows: int, columns: int, itemsize: int, *, accumulate: bool) -> int:
        """32 MiB from Hopper on, as NVIDIA advises: less may keep cuBLAS from splitting long sums of weight gradients.

        8 MiB before, where it advises 4. See cublasSetWorkspace in its documentation.
        """
        return (32 if self.compute_capability >= HOPPER else 8) * MIB


def target(gpu: str | None, assume: bool) -> CudaTarget:
    """The card that is named, else this machine's GPU, else with `assume` the DEFAULT card; else no card, with its
    compute capability.

    Raises ConfigError for a card that is not known.
    """
    if gpu is not None:
        return _of_card(find(gpu))
    found = gpu_here()
    if found is not None:
        capability = parse_capability(found.compute_capability)
        return CudaTarget(capability, found.name, found.total_bytes, "all that CUDA gives of this machine's GPU")
    known = _of_card(find(DEFAULT))
    if not assume:
        return CudaTarget(known.compute_capability)
    return replace(known, total_source=f"{known.total_source}; no card or budget was named, no GPU was found")


def _of_card(card: Card) -> CudaTarget:
    found = gpu_here()
    here = found is not None and named(found.name) == [card]
    doubt = "" if card.total_is_sure else card.total_source
    return CudaTarget(card.compute_capability, card.name, card.total_bytes, card.total_source, doubt, here)


@cache
def gpu_here() -> "Gpu | None":
    """This machine's GPU; None where there is none. NVML is asked only where there is a driver, and once."""
    from gpunet.devices.cuda import present
    from gpunet.errors import DeviceError

    if present.driver_version() is None:
        return None
    from gpunet.devices.cuda import probe

    try:
        return probe.first_gpu()
    except DeviceError:
        return None
