"""Which algorithm of each convolution is fastest on this device: `gpunet tune`.

Each distinct convolution of a net's training step is run by everything that the device has for it, in turns, on random
values, at the batch and in the scratch that a plan would give it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from gpunet.compile.lower import lower
from gpunet.devices import target
from gpunet.devices.algorithms import candidates
from gpunet.devices.device import Arena, Call, Device
from gpunet.devices.target import DeviceTarget
from gpunet.net.net import Net, least_images
from gpunet.optimize.optimizers import SGD
from gpunet.planning.conv_work import conv_shape, pass_of
from gpunet.planning.planner import check_batch, check_net, require_ops
from gpunet.planning.tuned import conv_key, keep
from gpunet.program.algorithm import Algorithm, Math, Pass
from gpunet.program.filters import ConvShape
from gpunet.program.program import Dtype, Op, RunTime
from gpunet.program.tensor import Tensor

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


@dataclass(frozen=True)
class _Forced:
    """A target that has each convolution run by one of its candidates, the last where there are fewer."""

    of: DeviceTarget
    number: int

    @property
    def name(self) -> str:
        return self.of.name

    @property
    def gathers_windows(self) -> bool:
        return self.of.gathers_windows

    def gemm_workspace_bytes(self, rows: int, columns: int, itemsize: int, *, accumulate: bool) -> int:
        return self.of.gemm_workspace_bytes(rows, columns, itemsize, accumulate=accumulate)

    def conv_algorithm(
        self, pass_: Pass, shape: ConvShape, *, dtype: str, math: Math, scratch_limit_bytes: int
    ) -> Algorithm:
        found = _candidates(self.of, pass_, shape, dtype, scratch_limit_bytes)
        return found[min(self.number, len(found) - 1)]


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
    cases = _cases(check_net(net), max(check_batch(batch), least_images(net.pairing(()))), where, dtype)
    for number, case in enumerate(cases, 1):
        what = f"{case.layers[0]}, {case.pass_.replace('_', ' of ', 1)}"
        watch(f"{what}: {len(case.ops)} algorithms; {number} of {len(cases)} convolutions")
        times = _race(case.ops, device, rounds)
        timed = tuple(map(Timed, case.algorithms, times))
        made = Tuned(case.key, case.pass_, case.shape, tuple(case.layers), timed)
        keep(where, case.key, [(one.algorithm.name, one.algorithm.tile) for one in made.order])
        yield made


@dataclass(frozen=True)
class _Case:
    """A pass of a convolution, and the op that it is by each of the algorithms."""

    key: str
    pass_: Pass
    shape: ConvShape
    algorithms: Sequence[Algorithm]
    ops: list[Op]
    layers: list[str]


def _cases(net: Net, batch: int, where: DeviceTarget, dtype: Dtype) -> list[_Case]:
    """The distinct convolutions of a step: the net is lowered once for each algorithm that any of them has."""
    found: dict[str, _Case] = {}
    ops = _convolutions(net, batch, where, dtype, 0)
    for op, pass_ in ops:
        shape = conv_shape(op, pass_, batch)
        known = _candidates(where, pass_, shape, dtype, where.scratch_limit_bytes)
        key = conv_key(pass_, shape, dtype)
        case = found.setdefault(key, _Case(key, pass_, shape, known, [op], []))
        case.layers.append(op.layer)
    for number in range(1, max((len(case.algorithms) for case in found.values()), default=0)):
        by_place = {(op.layer, pass_): op for op, pass_ in _convolutions(net, batch, where, dtype, number)}
        for case in found.values():
            if number < len(case.algorithms):
                case.ops.append(by_place[case.ops[0].layer, case.pass_])
    order = {op.layer: number for number, (op, _) in reversed([*enumerate(ops)])}
    for case in found.values():
        case.layers.sort(key=order.__getitem__)
    return sorted(found.values(), key=lambda case: order[case.layers[0]])


def _convolutions(net: Net, batch: int, where: DeviceTarget, dtype: Dtype, number: int) -> list[tuple[Op, Pass]]:
    """The ops of convolutions of a step in which each runs by its candidate of that number, and their passes."""
    program = lower(
        net,
        batch=batch,
        mode="train",
        dtype=dtype,
        optimizer=SGD(),
        target=_Forced(where, number),
        scratch_limit_bytes=where.scratch_limit_bytes,
    )
    require_ops(net, program, where.name)
    return [(op, pass_) for op in program.ops if (pass_ := pass_of(op)) is not None]


def _candidates(
    where: DeviceTarget, pass_: Pass, shape: ConvShape, dtype: str, scratch_limit_bytes: int
) -> Sequence[Algorithm]:
    return candidates(
        pass_,
        shape,
        dtype=dtype,
        math="exact",
        device=where.name,
        capability=where.compute_capability,
        scratch_limit_bytes=scratch_limit_bytes,
    )


def _race(ops: Sequence[Op], device: Device, rounds: int) -> list[float]:
    """Milliseconds of a call of each op; they take turns, so that drifts hit all alike."""
    arena = device.allocate(max(sum(_room(tensor) for tensor in op.arguments if tensor) for op in ops))
    try:
        bound = [_bind(op, arena, device) for op in ops]
        counts = []
        for calls in bound:
            _ms(device, calls, 1)  # compiles kernels, wakes libraries up
            counts.append(max(1, min(MOST_CALLS, round(LEAST_MS / max(_ms(device, calls, 1), 1e-3)))))
        turns = [[_ms(device, calls, count) for calls, count in zip(bound, counts, strict=True)] for _ in range(rounds)]
        return [median(times) for times in zip(*turns, strict=True)]
    finally:
        arena.free()


def _bind(op: Op, arena: Arena, device: Device) -> list[Call]:
    """An op on random values, its arguments one behind the other in the arena."""
    rng, offset = np.random.default_rng(0), 0
    arrays: list[Any] = []
    for tensor in op.arguments:
        arrays.append(None if tensor is None else arena.view(offset, tensor.shape, tensor.dtype))
        offset += 0 if tensor is None else _room(tensor)
        if tensor in op.inputs:
            device.write(arrays[-1], rng.standard_normal(tensor.shape, np.float32).astype(tensor.dtype, copy=False))
    numbers = {name: 0 if isinstance(one, RunTime) else one for name, one in op.attributes.items()}
    return device.bind(op.name, arrays, numbers)


def _room(tensor: Tensor) -> int:
    """Bytes of a tensor, rounded up to the alignment."""
    return -(-tensor.nbytes // DeviceTarget.alignment) * DeviceTarget.alignment


def _ms(device: Device, calls: Sequence[Call], count: int) -> float:
    """Milliseconds of one of `count` runs of the calls, one behind the other."""
    first = device.mark()
    for _ in range(count):
        device.run(calls)
    return device.milliseconds(first, device.mark()) / count
