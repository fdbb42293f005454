"""Which algorithm of each convolution is fastest on this device: `gpunet tune`.

Each distinct convolution of a net's training step is run by everything that the device has for it, in turns, on random
values, at the batch and in the scratch that a plan would give it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from gpunet.devices import target
from gpunet.devices.device import Call, Device
from gpunet.devices.target import DeviceTarget
from gpunet.net.net import Net, least_images
from gpunet.planning.planner import check_batch, check_net
from gpunet.planning.tuned import keep
from gpunet.profile.convolutions import Room, conv_cases, numbers, random_values
from gpunet.program.algorithm import Algorithm, Pass
from gpunet.program.filters import ConvShape
from gpunet.program.program import Dtype, Op

ROUNDS = 5
"""Turns of each algorithm; the median counts."""

LEAST_MS = 2.0
"""A turn lasts at least so long, in several calls where one is shorter."""

MOST_CALLS = 100

BETTER = 0.97
"""What is to be taken in place of the preferred algorithm takes at most that share of its time: less is noise."""


@dataclass(frozen=True, slots=True)
class Timed:
    """An algorithm and the milliseconds of a call."""

    algorithm: Algorithm
    ms: float


@dataclass(frozen=True)
class Tuned:
    """A pass of a convolution, all that the device has for it, as it was preferred, and what was fastest.

    `layers`  those that are such a convolution
    """

    key: str
    pass_: Pass
    shape: ConvShape
    layers: tuple[str, ...]
    timed: tuple[Timed, ...]

    @property
    def preferred(self) -> Timed:
        return self.timed[0]

    @property
    def order(self) -> list[Timed]:
        """The fastest first; the preferred one before what is hardly faster."""
        slack = BETTER * self.preferred.ms
        return sorted(self.timed, key=lambda one: slack if one is self.preferred else one.ms)

    @property
    def winner(self) -> Timed:
        return self.order[0]


def tune(
    net: Net,
    batch: int,
    device: Device,
    *,
    where: DeviceTarget | None = None,
    dtype: Dtype = "float32",
    rounds: int = ROUNDS,
    watch: Callable[[str], None] = lambda what: None,
) -> Iterator[Tuned]:
    """Time the algorithms of each distinct convolution of a training step, and keep the order as soon as it is known.

    `where`  the device as planning knows it; None: this machine's
    `watch`  called with what is timed next

    Raises DeviceError where the device has too little memory for one, DataError where the cache cannot be written.
    """
    where = where or target(device.name)
    cases = conv_cases(check_net(net), max(check_batch(batch), least_images(net.pairing(()))), where, dtype)
    for number, case in enumerate(cases, 1):
        what = f"{case.layers[0]}, {case.pass_.replace('_', ' of ', 1)}"
        watch(f"{what}: {len(case.ops)} algorithms; {number} of {len(cases)} convolutions")
        times = _race(case.ops, device, rounds)
        timed = tuple(map(Timed, case.algorithms, times))
        made = Tuned(case.key, case.pass_, case.shape, tuple(case.layers), timed)
        keep(where, case.key, [(one.algorithm.name, one.algorithm.tile) for one in made.order])
        yield made


def _race(ops: Sequence[Op], device: Device, rounds: int) -> list[float]:
    """Milliseconds of a call of each op; they take turns, so that drifts hit all alike."""
    with Room(ops, device) as room:
        bound = [device.bind(op.name, room.arrays(op, random_values), numbers(op)) for op in ops]
        counts = []
        for calls in bound:
            _ms(device, calls, 1)  # compiles kernels, wakes libraries up
            counts.append(max(1, min(MOST_CALLS, round(LEAST_MS / max(_ms(device, calls, 1), 1e-3)))))
        turns = [[_ms(device, calls, count) for calls, count in zip(bound, counts, strict=True)] for _ in range(rounds)]
        return [median(times) for times in zip(*turns, strict=True)]


def _ms(device: Device, calls: Sequence[Call], count: int) -> float:
    """Milliseconds of one of `count` runs of the calls, one behind the other."""
    first = device.mark()
    for _ in range(count):
        device.run(calls)
    return device.milliseconds(first, device.mark()) / count
