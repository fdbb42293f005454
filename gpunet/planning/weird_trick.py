"""Fully connected layers data parallel, as all others, or divided over ranks: what each way costs, and which pays.

Source: Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks".
"""

from collections.abc import Callable
from dataclasses import dataclass

from gpunet.errors import ConfigError
from gpunet.memory.plan import Plan
from gpunet.planning.network import Network, RanksPrediction, predict_ranks


@dataclass(frozen=True)
class Way:
    """A plan of one of the two ways, and what is predicted of it where a network was named."""

    plan: Plan
    found: RanksPrediction | None


@dataclass(frozen=True)
class BothWays:
    """Both ways for the same batch, ranks and network."""

    parallel: Way
    split: Way

    @property
    def recommended(self) -> Way | None:
        """The faster of those that fit, or of both where none does; None where no network is known."""
        ways = [way for way in (self.parallel, self.split) if way.plan.fits] or [self.parallel, self.split]
        times = [(_ms(way.found), number) for number, way in enumerate(ways) if way.found is not None]
        return ways[min(times)[1]] if times else None


def _ms(found: RanksPrediction) -> float:
    """Milliseconds of a step; where its card is not known, those of waiting alone."""
    return found.waits_ms + (0.0 if found.step_ms is None else found.step_ms.likely)


def both_ways(made: Plan, other: Callable[[], Plan], over: Network | None) -> BothWays | None:
    """A plan beside the one that `other` makes the other way; None where the net has no layer that can be divided."""
    try:
        ways = [Way(plan, None if over is None else predict_ranks(plan, over)) for plan in (made, other())]
    except ConfigError:
        return None
    parallel, split = sorted(ways, key=lambda way: bool(way.plan.program.split))
    return BothWays(parallel, split)
