"""The search behind arena.py, in numbers only: sizes in units of the alignment, half-open lives, offsets out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from random import Random
from time import perf_counter

PAIRS_PER_SECOND = 4_000_000
"""Pairs of neighbours that first-fit looks at in a second: about a third of what a 3 GHz core does in CPython 3.11."""


@dataclass(frozen=True)
class Problem:
    """Buffers by position; buffer i takes sizes[i] units in the steps [firsts[i], lasts[i])."""

    sizes: list[int]
    firsts: list[int]
    lasts: list[int]

    @cached_property
    def live(self) -> dict[int, int]:
        """Units alive from each step at which that changes, in order."""
        changes: dict[int, int] = {}
        for size, first, last in zip(self.sizes, self.firsts, self.lasts, strict=True):
            changes[first] = changes.get(first, 0) + size
            changes[last] = changes.get(last, 0) - size
        live, units = {}, 0
        for step in sorted(changes):
            units += changes[step]
            live[step] = units
        return live

    @cached_property
    def bound(self) -> int:
        """Most units alive at once."""
        return max(self.live.values(), default=0)

    @cached_property
    def neighbours(self) -> list[list[int]]:
        """For each buffer, those that are alive in one of its steps."""
        found: list[list[int]] = [[] for _ in self.sizes]
        alive: list[int] = []
        for i in sorted(range(len(self.sizes)), key=self.firsts.__getitem__):
            alive = [j for j in alive if self.lasts[j] > self.firsts[i]]
            for j in alive:
                found[j].append(i)
            found[i] = alive.copy()
            alive.append(i)
        return found


@dataclass(frozen=True, slots=True)
class Found:
    offsets: list[int]
    height: int
    order: str


def first_fit(problem: Problem, order: list[int]) -> list[int]:
    """Offsets when each buffer in turn goes to the lowest gap that holds it."""
    sizes, neighbours = problem.sizes, problem.neighbours
    offsets = [-1] * len(sizes)
    for i in order:
        size, at = sizes[i], 0
        spans = [(offsets[j], sizes[j]) for j in neighbours[i] if offsets[j] >= 0]
        spans.sort()
        for low, length in spans:
            if low - at >= size:
                break
            if low + length > at:
                at = low + length
        offsets[i] = at
    return offsets


def height(problem: Problem, offsets: list[int]) -> int:
    return max((at + size for at, size in zip(offsets, problem.sizes, strict=True)), default=0)


def orders(problem: Problem) -> Iterator[tuple[str, list[int]]]:
    sizes, firsts, lasts = problem.sizes, problem.firsts, problem.lasts
    conflicts = [len(n) for n in problem.neighbours]
    steps = sorted(problem.live)
    peaks = [max(problem.live[s] for s in steps if firsts[i] <= s < lasts[i]) for i in range(len(sizes))]
    keys: dict[str, Callable[[int], tuple[int, ...]]] = {
        "size": lambda i: (-sizes[i], firsts[i] - lasts[i]),
        "size x life": lambda i: (-sizes[i] * (lasts[i] - firsts[i]),),
        "size x conflicts": lambda i: (-sizes[i] * conflicts[i],),
        "life": lambda i: (firsts[i] - lasts[i], -sizes[i]),
        "conflicts": lambda i: (-conflicts[i], -sizes[i]),
        "peak": lambda i: (-peaks[i], -sizes[i]),
        "peak, life": lambda i: (-peaks[i], firsts[i] - lasts[i], -sizes[i]),
        "first": lambda i: (firsts[i], -sizes[i]),
        "last": lambda i: (-lasts[i], -sizes[i]),
    }
    for name, key in keys.items():
        yield name, sorted(range(len(sizes)), key=key)


def search(problem: Problem, deadline_s: float) -> Found:
    best: Found | None = None
    for name, order in orders(problem):
        offsets = first_fit(problem, order)
        found = Found(offsets, height(problem, offsets), name)
        if best is None or found.height < best.height:
            best = found
        if best.height == problem.bound:
            break
    assert best is not None
    return best
