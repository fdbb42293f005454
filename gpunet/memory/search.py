"""The search behind arena.py, in numbers alone: sizes in units of the alignment, half-open lives, offsets out.

Two ways turn an order of buffers into offsets: `first_fit`, and `skyline`, which builds from the bottom up. That is the
idea of the best-fit heuristic of Sekiyama et al. ("Profile-guided memory optimization for deep neural networks", 2018)
and of the search of MiniMalloc (Moffitt 2023), which places buffers by rising offset.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from random import Random
from time import perf_counter

from gpunet.memory.exact import reach
from gpunet.memory.problem import NOWHERE, Problem

WORK_PER_SECOND = 6_000_000
"""Work (see Problem.work) that a second of deadline buys: a third to half of what CPython 3.11 does on a 3 GHz core."""

PATIENCE = 10
"""How many deadlines may pass before the clock ends a search that its work has not ended."""

EXACT_PART = 4
"""The exact search gets one part in so many of the work."""

MANY_ORDERS = 100
"""Where the work buys fewer, a problem is large: there, what lies NEAR the bound is worth less of it."""

NEAR = 1e-3
"""Above the bound, as a fraction of it. From here on a large problem is worth all of the work, below in proportion: of
plans of gigabytes, some KB are worth none."""

STARTS = 3
"""Orders that the rounds start from; half of them go to these, the other half to the best of them."""

SHAKEN = 3
"""Where rounds are few beside the buffers, one in so many changes all of the order a little, the others one place."""


@dataclass(frozen=True, slots=True)
class Found:
    """Offsets in units; `height` is the highest end; `order` says how they were found."""

    offsets: list[int]
    height: int
    order: str


def search(problem: Problem, deadline_s: float) -> Found:
    """The lowest placement found: every order, then the exact search for the bound itself, then changes to the best.

    Stops at once where the lower bound is reached, and near it once that has taken long. What it may spend is work, not
    time: the same input gives the same offsets on a busy machine too. The clock only ends what takes PATIENCE times as
    long as it should.
    """
    stop = perf_counter() + PATIENCE * deadline_s
    if not problem.sizes:
        return Found([], 0, "nothing to place")
    work = int(max(deadline_s, 0) * WORK_PER_SECOND)
    best: Found | None = None
    starts = []
    for tried, (found, by) in enumerate(_in_orders(problem), start=1):
        best = _lower(best, found)
        if by is not None:
            starts.append((found, by))
        if best.height == problem.bound or tried * problem.work > _worth(best, problem, work):
            return best
    assert best is not None
    starts.sort(key=lambda start: start[0].height)
    for _, by in starts:
        offsets = reach(problem, by, problem.bound, work // (EXACT_PART * len(starts)), stop)
        if offsets is not None:
            return _found(problem, offsets, "exact search")
    return _lower(best, _improve(problem, starts[:STARTS], work, stop))


def _in_orders(problem: Problem) -> Iterator[tuple[Found, list[int] | None]]:
    """What each order comes to, and the order where a search may go on from it."""
    for order, by in _skyline_orders(problem):
        yield _found(problem, skyline(problem, by, NOWHERE), f"skyline by {order}"), by
    for order, by in _first_fit_orders(problem):
        yield _found(problem, first_fit(problem, by), f"first-fit by {order}"), None


def _worth(found: Found, problem: Problem, work: int) -> float:
    """How much work may go into getting below what was found: any in small problems, and far above the bound."""
    near = (found.height - problem.bound) / (NEAR * problem.bound)
    return work * near if near < 1 and MANY_ORDERS * problem.work > work else inf


def first_fit(problem: Problem, order: list[int]) -> list[int]:
    """Offsets when each buffer in turn goes into the lowest gap that holds it."""
    if problem.crowded:
        from gpunet.memory import crowded  # and NumPy, which most plans do without

        return crowded.first_fit(problem, order)
    sizes, neighbours = problem.sizes, problem.neighbours
    offsets = [-1] * len(sizes)
    for i in order:
        size, at = sizes[i], 0
        for low, taken in sorted([(offsets[j], sizes[j]) for j in neighbours[i] if offsets[j] >= 0]):
            if low - at >= size:
                break
            at = max(at, low + taken)
        offsets[i] = at
    return offsets


def skyline(problem: Problem, order: list[int], ceiling: int) -> list[int] | None:
    """Offsets when the arena grows from the bottom up; None as soon as it would be higher than `ceiling`.

    Each buffer could lie on top of those placed so far in its steps. One that starts above the lowest end that any
    could have would leave a hole for that one: of all others, the first in `order` is next.
    """
    if problem.crowded:
        from gpunet.memory import crowded

        return crowded.skyline(problem, order, ceiling)
    sizes, neighbours = problem.sizes, problem.neighbours
    offsets = [0] * len(sizes)
    at = offsets.copy()  # where each would lie; NOWHERE once it is placed
    ends = sizes.copy()
    waiting = order.copy()
    while waiting:
        lowest_end = min(ends)
        for i in waiting:
            if at[i] < lowest_end:
                break
        waiting.remove(i)
        offsets[i], end = at[i], ends[i]
        if end > ceiling:
            return None
        at[i] = ends[i] = NOWHERE
        for j in neighbours[i]:
            if at[j] < end:
                at[j] = end
                ends[j] = end + sizes[j]
    return offsets


def _found(problem: Problem, offsets: list[int] | None, order: str) -> Found:
    assert offsets is not None
    return Found(offsets, max(problem.ends(offsets)), order)


def _lower(one: Found | None, other: Found) -> Found:
    return other if one is None or other.height < one.height else one


def _skyline_orders(problem: Problem) -> Iterator[tuple[str, list[int]]]:
    """The likeliest to reach the bound first; whole numbers only, so that ties fall alike on every machine."""
    sizes = problem.sizes
    lives = [last - first for first, last in zip(problem.firsts, problem.lasts, strict=True)]
    positions = range(len(sizes))
    yield "size x life", sorted(positions, key=lambda i: -sizes[i] * lives[i])
    yield "size x life**2", sorted(positions, key=lambda i: -sizes[i] * lives[i] ** 2)
    yield "size x life**3", sorted(positions, key=lambda i: -sizes[i] * lives[i] ** 3)
    yield "life", sorted(positions, key=lambda i: (-lives[i], -sizes[i]))
    yield "size", sorted(positions, key=lambda i: (-sizes[i], -lives[i]))
    yield "size**2 x life", sorted(positions, key=lambda i: -(sizes[i] ** 2) * lives[i])


def _first_fit_orders(problem: Problem) -> Iterator[tuple[str, list[int]]]:
    sizes, firsts, lasts, conflicts = problem.sizes, problem.firsts, problem.lasts, problem.conflicts
    positions = range(len(sizes))
    yield "size", sorted(positions, key=lambda i: (-sizes[i], firsts[i] - lasts[i]))
    yield "size x life", sorted(positions, key=lambda i: -sizes[i] * (lasts[i] - firsts[i]))
    yield "size x conflicts", sorted(positions, key=lambda i: -sizes[i] * conflicts[i])
    yield "life", sorted(positions, key=lambda i: (firsts[i] - lasts[i], -sizes[i]))
    yield "conflicts", sorted(positions, key=lambda i: (-conflicts[i], -sizes[i]))
    yield "first step", sorted(positions, key=lambda i: (firsts[i], -sizes[i]))
    yield "last step", sorted(positions, key=lambda i: (-lasts[i], -sizes[i]))


def _improve(problem: Problem, starts: list[tuple[Found, list[int]]], work: int, stop: float) -> Found:
    rounds = work // problem.work
    random = Random(0)
    climbs = [_Climb(problem, order, found, random) for found, order in starts]
    for climb in climbs:
        climb.run(rounds // (2 * len(climbs)), stop)
    best = min(climbs, key=lambda climb: climb.cost)
    best.run(rounds // 2, stop)
    return best.found


class _Climb:
    """An order that is changed a little in each round; changes that make nothing worse stay."""

    def __init__(self, problem: Problem, order: list[int], found: Found, random: Random) -> None:
        self.problem, self.order, self.found, self.random = problem, order, found, random
        self.ends = problem.ends(found.offsets)
        self.cost = self._cost(self.ends)

    def run(self, rounds: int, stop: float) -> None:
        """At most `rounds` rounds; fewer where the bound is reached, or where the clock says `stop`."""
        few = rounds < len(self.order) // 8
        for number in range(rounds):
            if self.found.height == self.problem.bound or perf_counter() > stop:
                return
            # in turn, all that reach over the bound and those at the very top
            level = self.problem.bound if number % 2 else self.found.height - 1
            high = [i for i, end in enumerate(self.ends) if end > level]
            self._try(self._shaken() if few and number % SHAKEN == 0 else self._changed(high))

    def _changed(self, high: list[int]) -> list[int]:
        """A buffer that lies too high moves to an earlier turn; now and then any buffer to any turn."""
        order, random = self.order.copy(), self.random
        turn = order.index(random.choice(high))
        if turn and random.random() < 0.7:
            order.insert(random.randrange(turn), order.pop(turn))
        else:
            turn = random.randrange(len(order))
            order.insert(random.randrange(len(order)), order.pop(turn))
        return order

    def _shaken(self) -> list[int]:
        """Every buffer may come a little earlier or later: where rounds are few, single moves lead nowhere in time."""
        spread = 2 + len(self.order) // 8
        turns = [turn + self.random.randrange(spread) for turn in range(len(self.order))]
        return [self.order[turn] for turn in sorted(range(len(turns)), key=turns.__getitem__)]

    def _try(self, order: list[int]) -> None:
        offsets = skyline(self.problem, order, self.found.height)
        if offsets is None:
            return
        ends = self.problem.ends(offsets)
        cost = self._cost(ends)
        if cost <= self.cost:
            self.order, self.ends, self.cost = order, ends, cost
            self.found = Found(offsets, cost[0], "search")

    def _cost(self, ends: list[int]) -> tuple[int, int]:
        """Height, then all that reaches over the bound: the second leads down where the first is flat."""
        bound = self.problem.bound
        return max(ends), sum(end - bound for end in ends if end > bound)
