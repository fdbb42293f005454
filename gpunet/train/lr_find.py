"""A learning-rate range test: a short training under a rate that grows from step to step, and what its losses say.

Source: L. N. Smith 2017, "Cyclical learning rates for training neural networks", section 3.3. The steepest descent,
which is often read off such a curve, lies too low, and the lower the more steps there are. Where the loss is lowest and
where it rises again depend less on that, and a good rate to begin with lies between them: see bench/lr_find.py.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import count, islice
from math import exp, isfinite, log, log10
from statistics import median

import numpy as np

from gpunet.data.batches import batches
from gpunet.data.dataset import Dataset
from gpunet.data.loader import loader
from gpunet.errors import ConfigError
from gpunet.model.batch import check_enough
from gpunet.model.model import Model
from gpunet.train.entering import odd_values
from gpunet.train.trainer import check_bytes, of_all, own_share
from gpunet.values.shown import Shown

START = 0.05
"""The part of the steps whose mean loss is that of the untrained net."""

WINDOW, FEWEST = 0.05, 10
"""The part of the steps, and the fewest of them, whose middle loss tells whether the net has diverged."""

WIDTH = 0.03
"""The deviation of the bell that smooths the losses, as a part of the steps."""

GAIN = 0.05
"""The part of the loss at the start by which it must fall for a rate to be suggested."""

RISE, LOST = 0.2, 0.95
"""The loss rises where the one part of its gain is lost again, and the net has diverged where the other is."""

FLAT = 0.001
"""The loss is lowest wherever so little of its gain is missing."""

WAY = 1 / 3
"""Of the way from the lowest loss to where it rises, over the logarithm of the rate: there lies the suggestion."""


@dataclass(frozen=True, repr=False)
class RateTest(Shown):
    """The loss of each step before its update, at growing rates.

    `steps`     of the whole test, had it not ended early
    `diverged`  the rate at which the loss became infinite or no number, or no better than that of the untrained net for
                some steps; None: at none
    """

    net: str
    rates: np.ndarray
    losses: np.ndarray
    steps: int
    diverged: float | None

    @cached_property
    def smoothed(self) -> np.ndarray:
        """(steps,) the losses under a bell, so that no step of the curve is late; how far they rose at the end does
        not reach back."""
        most = 2 * _start(self.losses, self.steps)
        return smoothed(np.minimum(self.losses, most), WIDTH * self.steps)

    @property
    def lowest(self) -> float:
        """The rate with the lowest smoothed loss, before that rises for the first time."""
        return float(self.rates[self._lowest])

    @property
    def rises(self) -> float:
        """The rate at which the smoothed loss has risen for the first time; the last one where it has not."""
        at = self._risen
        return float(self.rates[at] if at is not None else self.diverged or self.rates[-1])

    @property
    def suggestion(self) -> float | None:
        """A rate to begin with, between that of the lowest loss and that at which it rises; None: it never fell.

        That of the lowest loss where it did not rise.
        """
        if self.smoothed[self._lowest] > (1 - GAIN) * _start(self.losses, self.steps):
            return None
        if self._risen is None and self.diverged is None:
            return self.lowest
        return exp((1 - WAY) * log(self.lowest) + WAY * log(self.rises))

    @property
    def _lowest(self) -> int:
        """The last step of the lowest losses before they rise; where they do not, the first.

        A net that knows all images by heart gains no more, whatever the rate.
        """
        curve = self.smoothed[: self._risen]
        return int(np.flatnonzero(curve <= curve.min() + FLAT * self._gain)[0 if self._risen is None else -1])

    @property
    def _gain(self) -> float:
        """By how much the smoothed loss ever fell."""
        return max(_start(self.losses, self.steps) - float(self.smoothed.min()), 0.0)

    @cached_property
    def _risen(self) -> int | None:
        """The first step at which `RISE` of all that is ever gained is lost; behind it, what dies may come to life."""
        curve = self.smoothed
        risen = np.flatnonzero(curve > np.minimum.accumulate(curve) + RISE * self._gain)
        return int(risen[0]) if len(risen) and self._gain else None


@dataclass(frozen=True, repr=False)
class RateTests(Shown):
    """Several tests of a net, each from other weights and in another order; at least one."""

    tests: tuple[RateTest, ...]

    @property
    def net(self) -> str:
        """Its name."""
        return self.tests[0].net

    @property
    def suggestion(self) -> float | None:
        """The middle one of what the tests suggest; None where most of them suggest nothing."""
        found = [test.suggestion for test in self.tests if test.suggestion is not None]
        return median(found) if 2 * len(found) > len(self.tests) else None

    @property
    def lowest(self) -> float:
        """The middle one of the rates with the lowest loss."""
        return median(test.lowest for test in self.tests)

    @property
    def rises(self) -> float:
        """The middle one of the rates at which the loss rises."""
        return median(test.rises for test in self.tests)

    @property
    def diverged(self) -> float | None:
        """The lowest rate at which a test diverged; None where none did."""
        return min((test.diverged for test in self.tests if test.diverged is not None), default=None)


def lr_find(
    model: Model,
    data: Dataset,
    *,
    least: float = 1e-5,
    most: float = 10.0,
    steps: int = 500,
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
    whole = min(len(data.train), model.whole_batch)  # whole batches alone are taken
    check_enough(whole if model.plan.joins_ranks else whole // model.plan.ranks, model.pairing)
    losses: list[float] = []
    order = islice(_order(len(data.train), model.whole_batch, seed), steps)
    with closing(loader(data.train, own_share(order, model))) as source:
        for rate, (images, labels) in zip(rates, model.ahead(source), strict=True):
            model.learning_rate = float(rate)
            losses.append(model.step(images, labels, **of_all(model, whole)))
            watch(len(losses), losses[-1])
            if diverged(losses, steps):
                break
    kept = len(losses) if isfinite(losses[-1]) else len(losses) - 1
    if kept < FEWEST:
        advice = odd_values(model.net, images, data.name) or "start lower"
        raise ConfigError(f"the loss is {losses[-1]} after {kept} steps at a rate of {rates[kept]:.3g}; {advice}")
    end = float(rates[len(losses) - 1]) if diverged(losses, steps) else None
    return RateTest(model.net.name, rates[:kept], np.array(losses[:kept]), steps, end)


def growing(least: float, most: float, steps: int) -> np.ndarray:
    """(steps,) rates from `least` to `most`, each the same factor above the one before. Raises ConfigError."""
    if not 0 < least < most <= 1e6:
        raise ConfigError(f"the rates go from a number above 0 up to at most 1,000,000; got {least:g} to {most:g}")
    if not 20 <= steps <= 100_000:
        raise ConfigError(f"a range test takes from 20 to 100,000 steps; got {steps:,}")
    return np.logspace(log10(least), log10(most), steps)


def whole_epochs(steps: int, n: int, batch: int) -> int:
    """At least so many steps: as many as make whole epochs of `n` images, each seen as often; fewer than one stay."""
    each = max(1, n // batch)
    return -(-steps // each) * each if steps >= each else steps


def smoothed(losses: np.ndarray, deviation: float) -> np.ndarray:
    """(n,) the losses under a bell of so many steps' deviation; at the ends under what of it there is."""
    reach = np.arange(-int(3 * deviation), int(3 * deviation) + 1)
    bell = np.exp(-0.5 * (reach / deviation) ** 2)
    weights = np.convolve(np.ones(len(losses)), bell)
    sums = np.convolve(losses, bell)
    middle = slice(len(reach) // 2, len(reach) // 2 + len(losses))
    return np.asarray(sums[middle] / weights[middle])


def diverged(losses: Sequence[float], steps: int) -> bool:
    """Whether the losses so far, of a test of `steps` steps, end in one that is no number, or have risen for good.

    That is to twice that of the start, or back by nearly all that they had fallen, if that was worth anything. The
    middle one of the last is meant: neither hard batches nor a jump that the net gets over are taken for it.
    """
    if not isfinite(losses[-1]):
        return True
    window = max(FEWEST, round(WINDOW * steps))
    if len(losses) < _first(steps) + window:
        return False
    start, now = _start(losses, steps), median(losses[-window:])
    best = float(np.convolve(losses, np.full(window, 1 / window), "valid").min())
    return now > 2 * start or (best < (1 - RISE) * start and now > best + LOST * (start - best))


def _first(steps: int) -> int:
    return max(1, round(START * steps))


def _start(losses: Sequence[float] | np.ndarray, steps: int) -> float:
    """The loss of the untrained net."""
    return float(np.mean(losses[: _first(steps)]))


def _order(n: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    """Whole batches of one epoch after the other."""
    for epoch in count(1):
        yield from (indices for indices in batches(n, batch, seed, epoch) if len(indices) == min(batch, n))
