"""Choosing the ways in which a batch fits its budget: the cheapest that does, in predicted time or in extra FLOPs.

In this order: the free savings alone; one buffer for images instead of two; a smaller im2col scratch; recomputation,
with the first layers in chunks of images or not; the same with less scratch and smaller chunks; micro-batches. Each is
compiled and bounded as it would run, and of those that fit the cheapest is taken, rounds priced as well as what is made
again. What may be dropped is searched once for each of them, whatever the limit is: a larger budget never costs more.

Beside that stand the choices that need the fewest bytes. They follow from the net, the batch and what is allowed alone,
whatever the budget is: so one size is the smallest of all plans, and every budget from there on holds one.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from gpunet.compile.chunk import chunk_cuts, mixing
from gpunet.compile.makers import Cost, Makers, Point, Price, makers_of
from gpunet.compile.recompute import is_again, saved
from gpunet.compile.ways import Ways
from gpunet.memory.plan import live_bytes
from gpunet.planning.clock import Clock, Clocks, cost_of
from gpunet.planning.least import Least
from gpunet.program.program import Program

if TYPE_CHECKING:
    from gpunet.compile.frontier import Counted

MAX_COST = 0.03
"""What making again may take by itself, as a fraction of the time of a step."""

MIB = 2**20

SCRATCH_DIVISORS = (4, 16, 64)
"""By what the device's own scratch limit is divided, one after the other, where memory is short."""

CHUNK_BYTES = 256 * MIB
"""What a round of a chunk should take in passing: enough images to keep a GPU busy."""

MOST_BYTES = 2**50
"""Above that no machine is, and nothing is searched."""

NO_END = 10.0**9
"""A fraction that nothing reaches."""

Compile = Callable[[Ways], Program]
"""Makes the finished program for some ways, all else being settled."""


@dataclass(frozen=True, slots=True)
class MaxCost:
    """What making again may cost, as fractions of a step's: of its predicted time, and of its FLOPs.

    `by_flops`  whether what costs the fewest FLOPs is wanted, and not what takes the least time
    """

    time: float = MAX_COST
    flops: float = NO_END
    by_flops: bool = False

    @property
    def nothing(self) -> bool:
        """Whether the free savings alone are allowed."""
        return self.time == 0


def most_cost(time: float | None, flops: float | None) -> MaxCost:
    """What was asked for: a cap on the time, MAX_COST where nothing else is said, or one on the FLOPs, or both."""
    if flops is None:
        return MaxCost(MAX_COST if time is None else time)
    return MaxCost(NO_END if time is None else time, flops, by_flops=time is None)


@dataclass(frozen=True)
class Choice:
    """Ways and the program they make; `step`: what a step that makes nothing again, and in one go, costs."""

    ways: Ways
    program: Program
    step: Cost = field(default_factory=Cost)
    ns: Clock = field(default=lambda op: 0, repr=False, compare=False)
    rounds_ns: Callable[[Program], int] = field(default=lambda program: 0, repr=False, compare=False)

    @cached_property
    def cost(self) -> Cost:
        """Of what is made again, and of what runs in rounds and not in one go."""
        again = [op for op in self.program.ops if is_again(op)]
        return Cost(sum(op.flops for op in again), sum(map(self.ns, again)) + self.rounds_ns(self.program))

    @property
    def extra(self) -> float:
        """FLOPs of what is made again, as a fraction of those of a step that makes nothing again."""
        return self.cost.flops / self.step.flops if self.cost.flops else 0.0

    @property
    def extra_time(self) -> float:
        """The same of predicted time, and that which rounds take more."""
        return self.cost.ns / self.step.ns if self.cost.ns else 0.0

    @cached_property
    def needed_bytes(self) -> int:
        """Most bytes alive at once."""
        return bound(self.program)


@dataclass(frozen=True)
class Chooser:
    """Looks for the cheapest ways under a limit of bytes of arena.

    `compile`      makes a program, once for each ways
    `ns`           what an op takes
    `batch`        images
    `scratch`      the device's scratch limit, bytes
    `most`         what may be spent; nothing: the free savings and a smaller scratch alone
    `allowed`      kinds of way that may be used: "recompute", "chunks", "micro-batches", "ghost-rounds"
    `least_images` the fewest images that a layer can learn from
    `clocks`       what an op takes in rounds of so many images; None: rounds cost nothing, as on the CPU
    `counted`      makes the program by which it is counted what may be dropped; None: that of `compile`
    `near`         the chooser of a batch that many have in common, which searches for all of them; None: this one does
    """

    compile: Compile
    ns: Clock
    batch: int
    scratch: int
    most: MaxCost = field(default_factory=MaxCost)
    allowed: tuple[str, ...] = ("recompute", "chunks", "micro-batches")
    least_images: int = 1
    clocks: Clocks | None = None
    counted: Compile | None = None
    near: "Chooser | None" = field(default=None, repr=False, compare=False)
    _tried: dict[Ways, Choice] = field(default_factory=dict, repr=False, compare=False)
    _counted: dict[Ways, "Counted"] = field(default_factory=dict, repr=False, compare=False)
    _searched: dict[Ways, tuple[tuple[str, ...], list[Point]]] = field(default_factory=dict, repr=False, compare=False)

    def choose(self, limit: int) -> Choice | None:
        """The cheapest choice whose bytes alive at once are within the limit; None where there is none."""
        options = []
        for option in self._free_options():
            if option.needed_bytes <= limit:
                return option
            options.append(option)
        late = options[-1]
        if late.needed_bytes - limit <= self.scratch:  # an op has scratch once: less cannot bring more
            for ways in self._with_less_scratch(late):
                if self._try(ways).needed_bytes <= limit:
                    return self._try(ways)
        least = self.smallest[0].needed_bytes
        if limit < least:
            return None
        dear = (option for option in self._dear_options(late, limit) if least <= option.needed_bytes)
        return self._cheapest([*dear, *self.smallest], limit)

    @cached_property
    def smallest(self) -> list[Choice]:
        """What each of the ways comes to at its smallest, up to the cost, fewest bytes first; whatever the limit."""
        found = list(self._free_options())
        found += map(self._try, self._with_less_scratch(found[-1])[-1:])
        plain = found[-1]
        if not self.most.nothing:
            for ways in self._shapes(plain.ways, plain.program, CHUNK_BYTES):
                found += self._smallest_of(ways)
            found += self._whole_in_rounds(plain)
        return sorted(found, key=lambda option: option.needed_bytes)

    def _cheapest(self, options: Iterable[Choice], limit: int) -> Choice | None:
        """Of those that fit, the one at the lowest price."""
        fitting = (option for option in options if option.needed_bytes <= limit)
        return min(fitting, key=lambda option: self.price(option.cost), default=None)

    def _try(self, ways: Ways) -> Choice:
        if ways not in self._tried:
            self._tried[ways] = Choice(ways, self.compile(ways), self.step, self.ns, self._rounds_ns)
        return self._tried[ways]

    @cached_property
    def step(self) -> Cost:
        """What a step costs that makes nothing again."""
        return cost_of(self.compile(Ways(self.scratch)), self.ns)

    def _rounds_ns(self, program: Program) -> int:
        """What the loops of a program take more than one call of each op, as a part of `step`."""
        if self.clocks is None:
            return 0
        more = 0.0
        for loop in program.loops:
            for op in program.ops[loop.first : loop.last]:
                more += self.batch / loop.images * self.clocks(loop.images)(op) - self.clocks(self.batch)(op)
        return max(0, round(more / max(self._at_once_ns, 1) * self.step.ns))

    @cached_property
    def _at_once_ns(self) -> int:
        """What a step in one go takes at this very batch."""
        assert self.clocks is not None  # else nobody asks
        return cost_of(self.compile(Ways(self.scratch)), self.clocks(self.batch)).ns

    @cached_property
    def _most(self) -> Cost:
        return Cost(int(self.most.flops * self.step.flops), int(self.most.time * self.step.ns))

    @cached_property
    def price(self) -> Price:
        """What is to be small: time, or FLOPs, and of the same FLOPs, time."""
        return Price(1000 * max(self.step.ns, 1), max(self.step.flops, 1)) if self.most.by_flops else Price(0, 1)

    def least(self, choice: Choice, card: str) -> Least | None:
        """Finds what any choice costs at least, in as few bytes and the same ways; None where nothing is made again."""
        if not choice.ways.dropped:
            return None
        plain = self._try(replace(choice.ways, dropped=(), kept=(), twice=()))
        return Least(
            self._as_counted(plain.ways), card, choice.ways, choice.needed_bytes, plain.cost, self.step, self.price
        )

    def _free_options(self) -> Iterator[Choice]:
        """What costs no FLOPs and changes no bit: one buffer for images, and large gradients that wait."""
        plain = Ways(self.scratch)
        yield (first := self._try(plain))
        if first.program.next_bytes is not None:
            plain = replace(plain, one_buffer=True)
            yield self._try(plain)
        yield self._try(replace(plain, late=True))

    def _with_less_scratch(self, late: Choice) -> list[Ways]:
        return [replace(late.ways, scratch_limit_bytes=limit) for limit in self._smaller_scratch()]

    def _dear_options(self, late: Choice, limit: int) -> Iterator[Choice]:
        """What makes something again, or takes sums in another order, the cheapest first; nothing, where none may."""
        if self.most.nothing:
            return
        smaller = self._with_less_scratch(late)
        for ways, fraction in ((late.ways, 1), *((ways, 8) for ways in smaller[1:2])):
            shapes = self._shapes(ways, self._try(ways).program, fraction)
            found = self._cheapest(filter(None, (self._recomputed(shape, limit) for shape in shapes)), limit)
            if found is not None:
                yield found
        yield from self._whole_in_rounds(late)

    def _smaller_scratch(self) -> list[int]:
        """Scratch limits below the device's own, down to one where an im2col matrix holds a few rows."""
        return [limit for limit in (self.scratch // divisor for divisor in SCRATCH_DIVISORS) if limit >= MIB]

    def _shapes(self, plain: Ways, program: Program, fraction: int) -> list[Ways]:
        """The ways to run what is recomputed: in one go, or the first layers in chunks of that fraction."""
        shapes = [plain] if "recompute" in self.allowed and program.mode == "train" else []
        if "chunks" in self.allowed:
            shapes += [replace(plain, cut=cut, chunk=images) for cut, images in self._cuts(program, fraction)]
        return shapes

    def _recomputed(self, ways: Ways, limit: int) -> Choice | None:
        """These ways with the cheapest choice of what to drop that makes them fit; None where none does."""
        points = self._points(ways)
        # As it was counted. As it is compiled is what decides, and that is known of the last.
        start = min(points.first_within(limit), len(points) - 1) if points else 0
        tries = (points[at] for at in range(start, len(points))) if points else iter((Point(0, Cost()),))
        for choice in map(self._try, (_dropping(ways, one) for one in takewhile(self._affordable(ways), tries))):
            if choice.needed_bytes <= limit and choice.cost.within(self._most):
                return choice
        return None

    def _affordable(self, ways: Ways) -> Callable[[Point], bool]:
        """Whether what a point costs may be spent, beside what the rounds of these ways do."""
        rounds = self._try(ways).cost
        return lambda point: rounds.plus(point.cost).within(self._most)

    def _smallest_of(self, ways: Ways) -> list[Choice]:
        """These ways as they are, and with what must be dropped to take the fewest bytes."""
        found, points = [self._try(ways)], self._points(ways)
        if points:
            may = self._affordable(ways)
            affordable = (at for at in reversed(range(1, len(points))) if may(points[at]))
            found = [self._try(_dropping(ways, points[at])) for at in (0, *islice(affordable, 1))]
        return [choice for choice in found if choice.cost.within(self._most)]

    def _points(self, ways: Ways) -> "Counted | None":
        """What may be dropped, for less and less memory, the cheapest first; None where nothing may or can be."""
        from gpunet.compile.frontier import Counted  # and NumPy, which a plan that fits does without

        plain = self._try(ways)
        if plain.program.mode != "train" or "recompute" not in self.allowed or plain.needed_bytes > MOST_BYTES:
            return None
        if ways not in self._counted:
            makers = makers_of(self._as_counted(ways), self.ns)
            self._counted[ways] = Counted(makers, self._alike(ways, makers))
        return self._counted[ways]

    def _alike(self, ways: Ways, makers: Makers) -> Sequence[Point]:
        """What was searched for these ways, with the device's scratch and the largest rounds, at a batch near this one.

        Where the values are the same, so is what is tried of them. Where they are not, it is searched for this batch.
        """
        if self.near is not None:
            values, points = self.near.search(ways)
            if values == makers.names:
                return points
        return self.search(ways)[1]

    def search(self, ways: Ways) -> tuple[tuple[str, ...], list[Point]]:
        """The values that these ways make at this batch, by name, and what to drop of them for less and less memory."""
        from gpunet.compile.frontier import frontier

        rounds = dict(self._cuts(self.compile(Ways(self.scratch)), 1))
        plain = replace(ways, scratch_limit_bytes=self.scratch, chunk=rounds.get(ways.cut, ways.chunk))
        if plain not in self._searched:
            makers = makers_of(self._as_counted(plain), self.ns)
            self._searched[plain] = makers.names, frontier(makers, self.price, self._most)
        return self._searched[plain]

    def _as_counted(self, ways: Ways) -> Program:
        return (self.counted or self.compile)(ways)

    def _cuts(self, program: Program, fraction: int) -> Iterator[tuple[str, int]]:
        """(activation, images of a round): the cut points, saved ones in training, with smaller volumes than before."""
        made = {t.name: t for op in program.ops for t in op.outputs}
        cuts = chunk_cuts(program)
        kept = saved(program) if program.mode == "train" else made
        largest = before = 0
        for name in (name for name in cuts if name in kept):
            size = made[name].nbytes // self.batch
            largest = max(largest, size)
            if size < before:
                images = max(1, min(CHUNK_BYTES // (3 * largest), self.batch // 2) // fraction)
                yield name, 1 << (images.bit_length() - 1)
            before = size

    def _whole_in_rounds(self, plain: Choice) -> Iterator[Choice]:
        """The whole step in rounds, where it may run so, and can."""
        if plain.program.mode != "train":
            return
        if "micro-batches" in self.allowed and mixing(plain.program) is None:
            yield from self._micro_batches(plain.ways)
        if "ghost-rounds" in self.allowed:
            yield from self._ghost_rounds(plain.ways)

    def _micro_batches(self, plain: Ways) -> Iterator[Choice]:
        """As few rounds as possible, from two on. Who asks for them by name has them, whatever they take."""
        images = self.batch
        while images > 1:
            images = -(-images // 2)
            yield self._try(replace(plain, micro_batch=images))

    def _ghost_rounds(self, plain: Ways) -> Iterator[Choice]:
        """As few rounds as possible, from two on, each with as many images as a layer needs to learn from."""
        rounds = 2
        while self.batch // rounds >= self.least_images:
            yield self._try(replace(plain, ghost_rounds=rounds))
            rounds *= 2


def _dropping(ways: Ways, point: Point) -> Ways:
    return replace(ways, dropped=point.dropped, kept=point.kept, twice=point.twice)


def bound(program: Program) -> int:
    """Most bytes of a program alive at once, each tensor rounded up to the alignment: no placement takes less."""
    return max(live_bytes(program))
