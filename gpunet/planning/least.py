"""What making again costs at least, for a plan: how near its choice is to what no choice can be below."""

from dataclasses import dataclass

from gpunet.compile.makers import Cost, Price, makers_of
from gpunet.compile.ways import Ways
from gpunet.planning.clock import clock
from gpunet.program.program import Program


@dataclass(frozen=True, slots=True)
class Least:
    """A bound that is found once it is asked for.

    `plain`        the program in the same ways, with nothing made again
    `card`         whose clock it is
    `ways`         with what is made again
    `limit_bytes`  what is alive at once with it
    `rounds`       what running in rounds costs, whatever is made again
    `step`         what a step that makes nothing again costs
    """

    plain: Program
    card: str
    ways: Ways
    limit_bytes: int
    rounds: Cost
    step: Cost
    price: Price

    @property
    def by_flops(self) -> bool:
        """Whether FLOPs are to be few, and not time."""
        return self.price.flops > 0

    def __call__(self) -> float | None:
        """The fraction of the step's time, or of its FLOPs where these are to be few; None where SciPy is missing."""
        from gpunet.compile.dropping import Dropping  # and NumPy, which a plan that fits does without
        from gpunet.compile.relaxation import least_price

        makers = makers_of(self.plain, clock(self.card, self.plain.batch))
        counted = Dropping(makers)
        counted.become(counted.marks_of(self.ways.dropped, self.ways.kept, self.ways.twice))
        limit_bytes = max(self.limit_bytes, counted.peak)  # rewrites may do better than what choices are counted by
        turn = next(step for step, op in enumerate(self.plain.ops) if op.phase == "backward")
        least = least_price(makers, self.price, limit_bytes, turn)
        if least is not None and not self.by_flops:
            least += self.price(self.rounds)
        whole = self.price.flops * self.step.flops or self.price.ns * self.step.ns
        return None if least is None else least / max(whole, 1)
