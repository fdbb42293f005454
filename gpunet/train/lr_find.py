"""A learning-rate range test: a short training under a rate that grows from step to step, and what its losses say.

Source: L. N. Smith 2017, "Cyclical learning rates for training neural networks", section 3.3.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count, islice
from math import isfinite, log10

import numpy as np

from gpunet.data.batches import batches
from gpunet.data.dataset import Dataset
from gpunet.data.loader import loader
from gpunet.errors import ConfigError
from gpunet.model.batch import check_last_batch
from gpunet.model.model import Model
from gpunet.train.trainer import check_bytes

LAST = 5
"""Losses whose mean tells whether the net has diverged: a single batch may be hard."""

START = 0.05
"""The part of the steps whose mean loss is that of the untrained net."""

WIDTH = 0.05
"""The deviation of the bell that smooths the losses, as a part of the steps."""

GAIN = 0.05
"""The part of the loss at the start by which it must fall for a rate to be suggested."""

MUCH, LOST = 0.2, 0.9
"""A net that had gained the one part of the loss at the start has diverged where it lost the other of that again."""


@dataclass(frozen=True)
class RateTest:
    """The loss of each step before its update, at growing rates.

    `steps`     of the whole test, had it not ended early
    `diverged`  the rate at which the loss became infinite or no number, or lost what it had gained; None: at none
    """

    net: str
    rates: np.ndarray
    losses: np.ndarray
    steps: int
    diverged: float | None

    @property
    def smoothed(self) -> np.ndarray:
        """(steps,) the losses under a bell, so that no step of the curve is late; how far they rose at the end does
        not reach back."""
        most = 2 * _start(self.losses, self.steps)
        return smoothed(np.minimum(self.losses, most), WIDTH * self.steps)

    @property
    def slopes(self) -> np.ndarray:
        """(steps,) of the smoothed loss, for ten times the rate."""
        return np.asarray(np.gradient(self.smoothed, np.log10(self.rates)))

    @property
    def lowest(self) -> float:
        """The rate with the lowest smoothed loss."""
        return float(self.rates[self._lowest])

    @property
    def suggestion(self) -> float | None:
        """The rate at which the loss falls most steeply before its lowest; None where it never fell."""
        if self.smoothed[self._lowest] > (1 - GAIN) * _start(self.losses, self.steps):
            return None
        return float(self.rates[int(self.slopes[: self._lowest + 1].argmin())])

    @property
    def _lowest(self) -> int:
        return int(self.smoothed.argmin())


def lr_find(
    model: Model,
    data: Dataset,
    *,
    least: float = 1e-6,
    most: float = 10.0,
    steps: int = 200,
    seed: int = 0,
    watch: Callable[[int, float], None] = lambda step, loss: None,
) -> RateTest:
    """Train `model` for up to so many steps, the rate growing from `least` to `most` by one factor; it is spoilt then.

    The order of the images depends on `seed` alone. Stops where the loss diverges.
    `watch`  called with the steps done and the loss of each

    Raises ConfigError for numbers that make no sense, DataError where the data do not suit the net.
    """
    rates = growing(least, most, steps)
    data.require(model.net.image.shape, model.net.classes)
    check_bytes(data, model.net)
    check_last_batch(len(data.train), model.batch, model.mixing)
    losses: list[float] = []
    with closing(loader(data.train, islice(_order(len(data.train), model.batch, seed), steps))) as source:
        for rate, (images, labels) in zip(rates, model.ahead(source), strict=True):
            model.learning_rate = float(rate)
            losses.append(model.step(images, labels))
            watch(len(losses), losses[-1])
            if diverged(losses, steps):
                break
    kept = len(losses) if isfinite(losses[-1]) else len(losses) - 1
    if kept < LAST:
        raise ConfigError(f"the loss is {losses[-1]} after {kept} steps at a rate of {rates[kept]:.3g}; start lower")
    end = float(rates[len(losses) - 1]) if diverged(losses, steps) else None
    return RateTest(model.net.name, rates[:kept], np.array(losses[:kept]), steps, end)


def growing(least: float, most: float, steps: int) -> np.ndarray:
    """(steps,) rates from `least` to `most`, each the same factor above the one before. Raises ConfigError."""
    if not 0 < least < most <= 1e6:
        raise ConfigError(f"the rates go from a number above 0 up to at most 1,000,000; got {least:g} to {most:g}")
    if not 20 <= steps <= 100_000:
        raise ConfigError(f"a range test takes from 20 to 100,000 steps; got {steps:,}")
    return np.logspace(log10(least), log10(most), steps)


def smoothed(losses: np.ndarray, deviation: float) -> np.ndarray:
    """(n,) the losses under a bell of so many steps' deviation; at the ends under what of it there is."""
    reach = np.arange(-int(3 * deviation), int(3 * deviation) + 1)
    bell = np.exp(-0.5 * (reach / deviation) ** 2)
    weights = np.convolve(np.ones(len(losses)), bell)
    sums = np.convolve(losses, bell)
    middle = slice(len(reach) // 2, len(reach) // 2 + len(losses))
    return np.asarray(sums[middle] / weights[middle])


def diverged(losses: list[float], steps: int) -> bool:
    """Whether the losses so far, of a test of `steps` steps, end in one that is no number, or have risen for good.

    That is to twice that of the start, or back by most of what they had fallen, if that was worth anything.
    """
    if not isfinite(losses[-1]):
        return True
    if len(losses) < round(START * steps) + LAST:
        return False
    means = np.convolve(losses, np.full(LAST, 1 / LAST), "valid")
    start, best, now = _start(losses, steps), float(means.min()), float(means[-1])
    return now > 2 * start or (best < (1 - MUCH) * start and now > best + LOST * (start - best))


def _start(losses: Sequence[float] | np.ndarray, steps: int) -> float:
    """The loss of the untrained net."""
    return float(np.mean(losses[: max(1, round(START * steps))]))


def _order(n: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    """Whole batches of one epoch after the other."""
    for epoch in count(1):
        yield from (indices for indices in batches(n, batch, seed, epoch) if len(indices) == min(batch, n))
