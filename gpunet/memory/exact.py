"""Exact search for a placement of a given height, after MiniMalloc (Moffitt 2023).

Any placement can be pushed down until every buffer rests on another or on the ground, and can then be built by rising
offset. So only such are built, and a branch ends where the bytes still to come have no room under the ceiling.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

from gpunet.memory.problem import NOWHERE, Problem


def reach(problem: Problem, order: list[int], ceiling: int, work: int, stop: float) -> list[int] | None:
    """Offsets of a placement no higher than `ceiling`, or None where `work` was used up or there is none.

    `order`   which of several buffers at one offset is tried first
    `work`    in visits of a neighbour, as Problem.work
    `stop`    time of perf_counter at which to give up
    """
    nodes = work * len(order) // problem.work
    if nodes < len(order):  # each places a buffer at most
        return None
    attempt = _Attempt(problem, order, ceiling)
    branches = [attempt.candidates()]
    for node in range(nodes):
        i = next(branches[-1], None)
        if i is not None:
            attempt.put(i)
            if not attempt.waiting:
                return attempt.offsets()
            branches.append(attempt.candidates())
        elif not attempt.trail:
            return None
        else:
            branches.pop()
            attempt.take_back()
        if node % 64 == 0 and perf_counter() > stop:
            return None
    return None


@dataclass(frozen=True, slots=True)
class _Put:
    """What is needed to take a buffer back: where it lay, and where those that it lifted would have lain before."""

    buffer: int
    at: int
    lifted: list[tuple[int, int]]


class _Attempt:
    """A placement in the making.

    `at`       where each waiting buffer would lie: on those placed so far in its steps; NOWHERE once it is placed
    `to_come`  units still waiting, for each step in which some buffer begins: most are alive in one of these
    """

    def __init__(self, problem: Problem, order: list[int], ceiling: int) -> None:
        self.sizes, self.neighbours, self.ceiling = problem.sizes, problem.neighbours, ceiling
        self.turn = {i: turn for turn, i in enumerate(order)}
        self.waiting = set(order)
        self.at = [0] * len(order)
        self.ends = problem.sizes.copy()
        self.trail: list[_Put] = []
        steps = sorted(set(problem.firsts))
        self.begins = [bisect_left(steps, first) for first in problem.firsts]
        self.stops = [bisect_left(steps, last) for last in problem.lasts]
        self.to_come = [0] * len(steps)
        for i in order:
            self._count(i, self.sizes[i])

    def candidates(self) -> Iterator[int]:
        """Buffers that can be next, the lowest first: they leave no hole for another, and what waits has its room."""
        at, to_come, ceiling = self.at, self.to_come, self.ceiling
        lowest = self.trail[-1].at if self.trail else 0
        if lowest + max(to_come) > ceiling:
            return iter(())
        end = min(self.ends)
        found = [
            (at[i], self.turn[i], i)
            for i in self.waiting
            if lowest <= at[i] < end and at[i] + max(to_come[self.begins[i] : self.stops[i]]) <= ceiling
        ]
        return iter([i for _, _, i in sorted(found)])

    def put(self, i: int) -> None:
        at, ends, end = self.at, self.ends, self.ends[i]
        lifted: list[tuple[int, int]] = []
        self.waiting.remove(i)
        self.trail.append(_Put(i, at[i], lifted))
        at[i] = ends[i] = NOWHERE
        for j in self.neighbours[i]:
            if at[j] < end:
                lifted.append((j, at[j]))
                at[j] = end
                ends[j] = end + self.sizes[j]
        self._count(i, -self.sizes[i])

    def take_back(self) -> None:
        put = self.trail.pop()
        self.waiting.add(put.buffer)
        for j, at in [*put.lifted, (put.buffer, put.at)]:
            self.at[j] = at
            self.ends[j] = at + self.sizes[j]
        self._count(put.buffer, self.sizes[put.buffer])

    def offsets(self) -> list[int]:
        where = {put.buffer: put.at for put in self.trail}
        return [where[i] for i in range(len(self.sizes))]

    def _count(self, i: int, units: int) -> None:
        for step in range(self.begins[i], self.stops[i]):
            self.to_come[step] += units
