"""Training steps with a mark behind every op: how long each took, and what it had to move and to compute."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Any, Protocol

import numpy as np

from gpunet.compile.recompute import is_again
from gpunet.model.model import Model
from gpunet.net.net import Net
from gpunet.planning.predict import op_bytes
from gpunet.program.program import Op


class Clock(Protocol):
    """Marks points in the work of a device and tells the milliseconds between them; every Device is one."""

    def mark(self) -> Any: ...

    def milliseconds(self, first: Any, last: Any) -> float: ...


Calls = list[tuple[Op, float]]
"""What a step called, in order, and the milliseconds of each call."""


@dataclass(frozen=True, slots=True)
class OpTime:
    """What an op took in a step, all its rounds together.

    `calls`   how often it was called: once, but for each round of its loop
    `images`  those of one call; of the last round perhaps fewer
    `ms`      milliseconds, the median over the steps
    `nbytes`  every input and output counted once for each call; scratch is not counted
    `flops`   as `Op.flops`, for the images there were
    """

    op: Op
    calls: int
    images: int
    ms: float
    nbytes: int
    flops: int

    @property
    def again(self) -> bool:
        """Whether it makes something a second time."""
        return is_again(self.op)

    def part(self, share: float) -> "OpTime":
        """That part of it."""
        return replace(self, ms=self.ms * share, nbytes=round(self.nbytes * share), flops=round(self.flops * share))


def random_batch(net: Net, batch: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 images (batch, H, W, D), int32 labels (batch,)) for a net."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (batch, *net.image.shape), np.uint8)
    return images, rng.integers(0, net.classes, batch, np.int32)


def timed_calls(model: Model, clock: Clock, images: np.ndarray, labels: np.ndarray, whole: int | None = None) -> Calls:
    """One training step, of so many images of all ranks, a mark behind every op; copies in are not in the figures."""
    ops: list[Op] = []
    calls = model.calls(images, labels, whole)
    marks = [clock.mark()]
    for op, call in calls:
        call()
        marks.append(clock.mark())
        ops.append(op)
    return [(op, clock.milliseconds(*pair)) for op, pair in zip(ops, pairwise(marks), strict=True)]


def op_times(model: Model, steps: Sequence[Calls], images: int) -> tuple[OpTime, ...]:
    """What each op took in these steps over so many images, in the order of the program."""
    found = []
    sums = [_by_op(calls) for calls in steps]
    counts: dict[int, int] = {}
    for op, _ in steps[0]:
        counts[id(op)] = counts.get(id(op), 0) + 1
    for step, op in enumerate(model.plan.program.ops):
        if id(op) in counts:  # float images need no conversion
            loop = model.plan.program.loop_at(step)
            calls = counts[id(op)]
            found.append(
                OpTime(
                    op,
                    calls,
                    images=min(loop.images, images) if loop else images,
                    ms=median(taken[id(op)] for taken in sums),
                    nbytes=op_bytes(op, images, calls),
                    flops=op.flops * images // model.batch,
                )
            )
    return tuple(found)


def _by_op(calls: Calls) -> dict[int, float]:
    """Milliseconds of all calls of an op, by the op's identity: equal ops of one layer are two."""
    sums: dict[int, float] = {}
    for op, ms in calls:
        sums[id(op)] = sums.get(id(op), 0.0) + ms
    return sums
