"""The placement problem in numbers alone, as the searches see it."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cached_property
from heapq import heapify, heappop

NOWHERE = 1 << 62
"""Above every offset."""

CROWDED = 1 << 20
"""Pairs of neighbours from which on they are looked up one buffer at a time: lists of them took a gigabyte."""


@dataclass(frozen=True)
class Problem:
    """Buffers by position; buffer i takes sizes[i] > 0 units in the steps [firsts[i], lasts[i])."""

    sizes: list[int]
    firsts: list[int]
    lasts: list[int]

    @cached_property
    def bound(self) -> int:
        """Most units alive at once."""
        changes: dict[int, int] = {}
        for size, first, last in zip(self.sizes, self.firsts, self.lasts, strict=True):
            changes[first] = changes.get(first, 0) + size
            changes[last] = changes.get(last, 0) - size
        most = units = 0
        for step in sorted(changes):
            units += changes[step]
            most = max(most, units)
        return most

    @cached_property
    def conflicts(self) -> list[int]:
        """For each buffer, how many others are alive in one of its steps: all that begin before it ends, but those that
        have ended by then."""
        firsts, lasts = sorted(self.firsts), sorted(self.lasts)
        lives = zip(self.firsts, self.lasts, strict=True)
        return [bisect_left(firsts, last) - bisect_right(lasts, first) - 1 for first, last in lives]

    @cached_property
    def crowded(self) -> bool:
        """Whether there are too many neighbours for lists of them."""
        return sum(self.conflicts) > CROWDED

    @cached_property
    def neighbours(self) -> list[list[int]]:
        """For each buffer, those that are alive in one of its steps; not for what is crowded."""
        found: list[list[int]] = [[] for _ in self.sizes]
        order = sorted(range(len(self.sizes)), key=self.firsts.__getitem__)
        begins = [self.firsts[i] for i in order]
        alive: dict[int, None] = {}
        ending = [(self.lasts[i], i) for i in order]
        heapify(ending)
        for turn, i in enumerate(order):
            while ending[0][0] <= begins[turn]:  # each has begun before it ends
                del alive[heappop(ending)[1]]
            found[i] = [*alive, *order[turn + 1 : bisect_left(begins, self.lasts[i])]]
            alive[i] = None
        return found

    @cached_property
    def work(self) -> int:
        """What one skyline takes, in visits of a neighbour: a minimum over n values takes a quarter of n visits."""
        return sum(self.conflicts) + len(self.sizes) ** 2 // 4 + 1

    def ends(self, offsets: list[int]) -> list[int]:
        return [at + size for at, size in zip(offsets, self.sizes, strict=True)]
