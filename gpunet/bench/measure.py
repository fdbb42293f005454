"""Times of the passes of a net: the method of convnet-benchmarks.

Some dry runs of everything, then a loop over each pass, the device synchronized before the clock is read: all forward
passes, all gradients of inputs, all gradients of weights. A figure is the loop's time over its number; backward is the
sum of the two gradients. The first layer's gradient of its input is not made in nets, in single layers it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from gpunet.bench.cases import Case
from gpunet.bench.check import Check
from gpunet.bench.passes import PASSES, Passes, PassName
from gpunet.devices.device import Device
from gpunet.devices.target import DeviceTarget

STEPS = 10
DRY = 10


@dataclass(frozen=True)
class Times:
    """Milliseconds of the passes of a case.

    `flops`         multiplications and additions of the matrix products of each pass
    `arena_bytes`   what a training step of it is planned to take
    `passes_bytes`  what the passes took, every tensor in bytes of its own
    `check`         how far results are from float64; None where nobody asked
    """

    case: Case
    ms: dict[PassName, float]
    flops: dict[PassName, int]
    arena_bytes: int
    passes_bytes: int
    check: Check | None = None

    @property
    def forward_ms(self) -> float:
        return self.ms["forward"]

    @property
    def backward_ms(self) -> float:
        return self.ms["backward_inputs"] + self.ms["backward_weights"]

    @property
    def total_ms(self) -> float:
        return self.forward_ms + self.backward_ms

    @property
    def gflop_per_s(self) -> float:
        return sum(self.flops.values()) / max(self.total_ms, 1e-9) / 1e6


def measure(
    case: Case,
    device: Device,
    where: DeviceTarget,
    *,
    steps: int = STEPS,
    dry: int = DRY,
    check: Check | None = None,
    watch: Callable[[str], None] = lambda what: None,
) -> Times:
    """Time the passes of a case.

    `steps`  of each loop; `dry`: runs of all passes before
    `watch`  called with what is run next
    Raises DeviceError where the device has too little memory for the batch.
    """
    with Passes(case, device, where) as passes:
        watch(f"{case.name}: {dry} dry runs")
        for _ in range(max(dry, 1)):  # one at least: gradients are of what a forward pass gave
            passes.run_all()
        ms = {}
        for pass_ in PASSES:
            watch(f"{case.name}: {steps} times {pass_.replace('_', ' of ', 1)}")
            ms[pass_] = _loop(passes, pass_, steps)
        flops = {pass_: passes.flops(pass_) for pass_ in PASSES}
        return Times(case, ms, flops, passes.plan.arena_bytes, passes.arena_bytes, check)


def _loop(passes: Passes, pass_: PassName, steps: int) -> float:
    """Milliseconds of one of so many runs of a pass."""
    passes.device.synchronize()
    start = perf_counter()
    for _ in range(steps):
        passes.run(pass_)
    passes.device.synchronize()
    return (perf_counter() - start) * 1e3 / steps
