"""Choosing the ways in which a batch fits its budget: the cheapest that does, in extra FLOPs.

In this order: the free savings alone; one buffer for images instead of two; a smaller im2col scratch; recomputation,
with the first layers in chunks of images or not; the same with less scratch and smaller chunks; micro-batches. Each is
compiled and bounded as it would run, and what it drops is searched, to the byte, until it just fits. So a larger budget
never costs more FLOPs, unless they buy larger rounds and more scratch, on which a GPU is faster.

Beside that stand the choices that need the fewest bytes. They follow from the net, the batch and what is allowed alone,
whatever the budget is: so one size is the smallest of all plans, and every budget from there on holds one.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from gpunet.compile.checkpoints import cheapest, links
from gpunet.compile.chunk import chunk_cuts, mixing
from gpunet.compile.recompute import extra_flops, saved
from gpunet.compile.ways import Ways
from gpunet.memory.plan import live_bytes
from gpunet.program.program import Program

MAX_COST = 0.03
"""Extra FLOPs that recomputation may take by itself, as a fraction of the step's."""

MIB = 2**20

SCRATCH_DIVISORS = (4, 16, 64)
"""By what the device's own scratch limit is divided, one after the other, where memory is short."""

CHUNK_BYTES = 256 * MIB
"""What a round of a chunk should take in passing: enough images to keep a GPU busy."""

Compile = Callable[[Ways], Program]
"""Makes the finished program for some ways, all else being settled."""


@dataclass(frozen=True)
class Choice:
    """Ways and the program they make."""

    ways: Ways
    program: Program

    @cached_property
    def extra(self) -> float:
        """FLOPs of what is made again, as a fraction of those of a step that makes nothing again."""
        more = extra_flops(self.program)
        return more / (sum(op.flops for op in self.program.ops) - more) if more else 0.0

    @cached_property
    def needed_bytes(self) -> int:
        """Most bytes alive at once."""
        return bound(self.program)


@dataclass(frozen=True)
class Chooser:
    """Looks for the cheapest ways under `limit_bytes` of arena.

    `compile`      makes a program
    `batch`        images
    `scratch`      the device's scratch limit, bytes
    `max_cost`     extra FLOPs allowed, as a fraction; 0: the free savings and a smaller scratch alone
    `allowed`      kinds of way that may be used: "recompute", "chunks", "micro-batches"
    `rounds_pay`   whether larger rounds and more scratch are worth FLOPs, as on a GPU; else the fewest FLOPs win
    """

    compile: Compile
    batch: int
    scratch: int
    limit_bytes: int
    max_cost: float = MAX_COST
    allowed: tuple[str, ...] = ("recompute", "chunks", "micro-batches")
    rounds_pay: bool = True
    _tried: dict[Ways, Choice] = field(default_factory=dict, init=False, repr=False, compare=False)

    def choose(self) -> Choice | None:
        """The cheapest choice whose bytes alive at once are within the limit; None where there is none."""
        options = []
        for option in self._free_options():
            if option.needed_bytes <= self.limit_bytes:
                return option
            options.append(option)
        late = options[-1]
        if late.needed_bytes - self.limit_bytes <= self.scratch:  # an op has scratch once: less cannot bring more
            for ways in self._with_less_scratch(late):
                if self._try(ways).needed_bytes <= self.limit_bytes:
                    return self._try(ways)
        least = self.smallest[0].needed_bytes
        if self.limit_bytes < least:
            return None
        dear = (option for option in self._dear_options(late) if least <= option.needed_bytes <= self.limit_bytes)
        if self.rounds_pay and (found := next(dear, None)) is not None:
            return found
        return self._cheapest([*dear, *self.smallest])

    @cached_property
    def smallest(self) -> list[Choice]:
        """What each of the ways comes to at its smallest, up to max_cost, fewest bytes first; whatever the limit."""
        found = list(self._free_options())
        found += map(self._try, self._with_less_scratch(found[-1]))
        plain = found[-1]
        if self.max_cost > 0:
            for ways in self._shapes(plain.ways, plain.program, CHUNK_BYTES):
                found += self._smallest_of(ways)
            if self.batch > 1 and self._may_round(plain.program):
                found += self._micro_batches(plain.ways)
        return sorted(found, key=lambda option: option.needed_bytes)

    def _cheapest(self, options: Iterable[Choice]) -> Choice | None:
        """Of those that fit, the one with the fewest extra FLOPs."""
        fitting = (option for option in options if option.needed_bytes <= self.limit_bytes)
        return min(fitting, key=lambda option: option.extra, default=None)

    def _try(self, ways: Ways) -> Choice:
        if ways not in self._tried:
            self._tried[ways] = Choice(ways, self.compile(ways))
        return self._tried[ways]

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

    def _dear_options(self, late: Choice) -> Iterator[Choice]:
        """What costs FLOPs, or takes sums in another order, the cheapest first; where none may be spent, nothing."""
        if self.max_cost == 0:
            return
        smaller = self._with_less_scratch(late)
        for ways, fraction in ((late.ways, 1), *((ways, 8) for ways in smaller[1:2])):
            found = self._recomputed(ways, fraction)
            if found is not None:
                yield found
        if self._may_round(late.program):
            yield from self._micro_batches(late.ways)

    def _smaller_scratch(self) -> list[int]:
        """Scratch limits below the device's own, down to one where an im2col matrix holds a few rows."""
        return [limit for limit in (self.scratch // divisor for divisor in SCRATCH_DIVISORS) if limit >= MIB]

    def _recomputed(self, plain: Ways, fraction: int) -> Choice | None:
        """The cheapest recomputation, without chunks or with the first layers up to some fall in volume in chunks."""
        program = self._try(plain).program
        best, most_flops = None, self._most_flops(program)
        for ways in self._shapes(plain, program, fraction):
            found = self._recompute(ways, most_flops)
            if found is not None:
                best, most_flops = found, extra_flops(found.program) - 1
            if most_flops < 0:
                break
        return best

    def _most_flops(self, program: Program) -> int:
        """What may be spent on running parts of a program again."""
        return int(self.max_cost * sum(op.flops for op in program.ops))

    def _shapes(self, plain: Ways, program: Program, fraction: int) -> list[Ways]:
        """The ways to run what is recomputed: in one go, or the first layers in chunks of that fraction."""
        shapes = [plain] if "recompute" in self.allowed and program.mode == "train" else []
        if "chunks" in self.allowed:
            shapes += [replace(plain, cut=cut, chunk=images) for cut, images in self._cuts(program, fraction)]
        return shapes

    def _recompute(self, ways: Ways, most_flops: int) -> Choice | None:
        """These ways with the fewest activations dropped, in FLOPs, that make them fit; None where none do.

        What is dropped for a limit takes a little more or less when it is compiled: the highest limit that leads to
        what fits is sought, from the one that is meant on, by halves, to the byte.
        """
        plain = self._try(ways)
        if plain.needed_bytes <= self.limit_bytes:
            return plain
        search = self._search(plain, most_flops)
        if search is None:
            return None
        tried = []
        low, high, middle = 0, plain.needed_bytes, self.limit_bytes
        while high - low > 1:
            dropped = search(middle)
            choice = None if dropped is None else self._try(replace(ways, dropped=dropped))
            if choice is not None:
                tried.append(choice)
            if choice is not None and choice.needed_bytes > self.limit_bytes:
                high = middle
            else:
                low = middle
            middle = (low + high) // 2
        return self._cheapest(tried)

    def _smallest_of(self, ways: Ways) -> list[Choice]:
        """These ways as they are, and with what must be dropped for the lowest limit that can be held, to the byte."""
        plain = self._try(ways)
        search = self._search(plain, self._most_flops(plain.program))
        low, high = 0, plain.needed_bytes
        if search is None or (dropped := search(high)) is None:
            return [plain]
        while high - low > 1:
            middle = (low + high) // 2
            found = search(middle)
            if found is None:
                low = middle
            else:
                high, dropped = middle, found
        return [plain, self._try(replace(ways, dropped=dropped))]

    def _search(self, plain: Choice, most_flops: int) -> Callable[[int], tuple[str, ...] | None] | None:
        """Finds, for a limit, the cheapest choice of what to drop; None where nothing may or can be dropped."""
        if plain.program.mode == "infer" or "recompute" not in self.allowed:
            return None
        parts = links(plain.program, live_bytes(plain.program))
        return lambda limit: cheapest(parts, limit, most_flops)

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

    def _may_round(self, program: Program) -> bool:
        """Whether the whole step may run in rounds, and can."""
        return "micro-batches" in self.allowed and program.mode == "train" and mixing(program) is None

    def _micro_batches(self, plain: Ways) -> Iterator[Choice]:
        """As few rounds as possible, from two on."""
        images = self.batch
        while images > 1:
            images = -(-images // 2)
            yield self._try(replace(plain, micro_batch=images))


def bound(program: Program) -> int:
    """Most bytes of a program alive at once, each tensor rounded up to the alignment: no placement takes less."""
    return max(live_bytes(program))
