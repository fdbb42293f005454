"""The bytes alive in each step where some values are dropped and made again: a choice that is changed one by one.

A value that backward reads and that was dropped is made again once, before the first step that reads it, or before the
first other value that is made from it; then it stays until the last of them. It may also be made twice: for others,
and later on for backward itself. What backward does not read is made whenever something is made from it, and is gone
at once. A change is counted where it is felt: the values that change, and those from which they are made.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gpunet.compile.makers import NEVER, Cost, Makers

Part = tuple[int, int, int]
"""(bytes, first, last): so many more in the steps [first, last)."""

Bytes = NDArray[np.int64]
"""By step."""

Marks = tuple[list[bool], list[bool]]
"""`missing` and `twice` of a Dropping."""


class Dropping:
    """A choice of missing values, with its bytes and its cost.

    `missing`  by value, whether it is gone behind the forward pass: what backward reads, if it was dropped; what
               backward does not read, unless it is kept
    `twice`    by value, whether it is made once for others and once more for backward, where these are apart and it is
               made alone
    """

    def __init__(self, makers: Makers) -> None:
        self.makers = makers
        self.missing = [not (value.saved or value.fixed) for value in makers.values]
        self.twice = [False] * len(makers.values)
        self._maker_of = [value.maker for value in makers.values]
        self._early = {at for at, value in enumerate(makers.values) if value.early}
        self._nbytes = [value.nbytes for value in makers.values]
        self._round_bytes = [value.round_bytes for value in makers.values]
        self._moments: list[tuple[int, ...]] = [()] * len(makers.makers)
        self._parts: list[list[Part]] = [[] for _ in makers.values]
        self._begins: list[list[int]] = [[] for _ in makers.values]  # the steps in which a part of more bytes begins
        self._groups: dict[int, set[int]] = {}
        self._live = np.array(makers.live, np.int64)
        self._own = self._live - np.array(makers.before, np.int64)
        self._nothing = -self._own - self._live.max(initial=0)
        self._over = self._nothing.copy()  # beside what is alive in a step: what making again takes right before it
        self._flops = self._ns = 0
        self._before = Before()

    # -- what is asked of a choice ---------------------------------------------------------------

    @property
    def cost(self) -> Cost:
        """Of making again what must be."""
        return Cost(self._flops, self._ns)

    @property
    def most(self) -> Bytes:
        """By step, bytes alive in it or right before it."""
        most: Bytes = np.maximum(self._live, self._live + self._over)
        return most

    @property
    def peak(self) -> int:
        """Most bytes alive at once."""
        return int(self.most.max())

    def is_made(self, value: int) -> bool:
        """Whether a value is made again."""
        return self.missing[value] and bool(self._moments[self._maker_of[value]])

    def moments(self, value: int) -> tuple[int, ...]:
        """The steps before which a value is made again, in order."""
        return self._moments[self._maker_of[value]]

    def room(self, first: int, last: int, limit: int) -> int:
        """Bytes that are left under a limit in the fullest of the steps [first, last)."""
        return limit - int(self._live[first:last].max())

    def uses(self, value: int) -> list[int]:
        """The steps before which something is made from a value again, and those that read it early."""
        moments = self._moments
        found = [moment for user in self.makers.users[value] for moment in moments[user]]
        return [*found, *early] if (early := self.makers.values[value].early) else found

    def sources(self) -> set[int]:
        """Values from which something is made again, and those that are read early."""
        makers = self.makers.makers
        return {value for group in self._groups.values() for at in group for value in makers[at].inputs} | self._early

    def made_before(self, step: int) -> list[int]:
        """The makers that run again right before a step, in order."""
        return sorted(self._groups.get(step, ()))

    @property
    def names(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """By name: saved values that are dropped, others that are kept, and those dropped ones that are made twice."""
        values = list(enumerate(self.makers.values))
        dropped = [at for at, v in values if self.missing[at] and (v.saved or (v.masked and self.is_made(at)))]
        kept = [at for at, v in values if v.keepable and not self.missing[at]]
        twice = [at for at in dropped if self._is_twice(at)]
        return self._names(dropped), self._names(kept), self._names(twice)

    @property
    def marks(self) -> Marks:
        """The choice as it is, to come back to."""
        return self.missing.copy(), self.twice.copy()

    def marks_of(self, dropped: Collection[str], kept: Collection[str], twice: Collection[str]) -> Marks:
        """The choice of these names."""
        values = self.makers.values
        missing = [v.name in dropped if v.saved else not (v.fixed or (v.keepable and v.name in kept)) for v in values]
        return missing, [v.name in twice for v in values]

    def _names(self, values: Iterable[int]) -> tuple[str, ...]:
        return tuple(self.makers.values[at].name for at in values)

    # -- changes -------------------------------------------------------------------------------------

    def toggle(self, *values: int, twice: int | None = None) -> "Before":
        """Drop values that are there, keep those that are missing; make one twice, or once again.

        Returns what `undo` takes for as long as nothing else has changed.
        """
        self._before = before = Before(values, twice, self._flops, self._ns)
        self._flip(before)
        self._follow(values if twice is None else (*values, twice))
        return before

    def undo(self, before: "Before") -> None:
        """Go back to what was there before a change, the last one: nothing is counted anew."""
        self._flip(before)
        self._flops, self._ns = before.flops, before.ns
        for at, moments in before.moments:
            self._regroup(at, moments)
        for value, parts in before.parts:
            self._put(value, parts)
        for step, over in before.over:
            self._over[step] = over

    def become(self, marks: Marks) -> None:
        """Take a choice."""
        old, (missing, twice) = (self.missing, self.twice), marks
        self.missing, self.twice = missing.copy(), twice.copy()
        both = enumerate(zip(*old, *marks, strict=True))
        self._before = Before()
        self._follow([v for v, (was, made, is_, makes) in both if (was, made) != (is_, makes)])

    def _flip(self, change: "Before") -> None:
        for value in change.values:
            self.missing[value] = not self.missing[value]
        if change.twice is not None:
            self.twice[change.twice] = not self.twice[change.twice]

    def _follow(self, values: Iterable[int]) -> None:
        """Count anew what follows from a change to these values."""
        changed = {self._maker_of[value] for value in values}
        todo = sorted(-maker for maker in changed)
        touched: set[int] = set()
        done = None
        while todo:
            maker = -heappop(todo)
            if maker != done:  # users come before what they use: each is seen once
                done = maker
                for before in self._renew(maker, maker in changed, touched):
                    heappush(todo, -before)
        for step in touched:
            self._before.over.append((step, int(self._over[step])))
            self._weigh(step)

    def _renew(self, at: int, changed: bool, touched: set[int]) -> set[int]:
        """Bring a maker up to date; returns the makers of what it takes, where its moments have changed."""
        maker, before = self.makers.makers[at], self._moments[at]
        moments = self._wanted(maker.outputs)
        moves = moments != before
        if moves:
            self._before.moments.append((at, before))
            self._regroup(at, moments)
            times = len(moments) - len(before)
            self._flops += times * maker.cost.flops
            self._ns += times * maker.cost.ns
        lies = [self._lay(value) for value in maker.outputs]
        if moves or changed or any(lies):
            touched.update(before, moments)
        return {self._maker_of[value] for value in maker.inputs} if moves else set()

    def _wanted(self, outputs: tuple[int, ...]) -> tuple[int, ...]:
        """The steps before which an op must run again for what it makes, in order."""
        found: set[int] = set()
        held = NEVER
        for value in outputs:
            if self.missing[value]:
                one, uses = self.makers.values[value], self.uses(value)
                if not (one.saved or one.masked):
                    found.update(uses)
                elif self._is_twice(value):
                    found.update({one.read, min([one.read, *uses]), *one.anew})
                else:
                    held = min([held, one.read, *uses])
        if held < min(found, default=NEVER):  # else what it makes for others comes first, and this with it
            found.add(held)
        return tuple(sorted(found))

    def _regroup(self, at: int, moments: tuple[int, ...]) -> None:
        """Let a maker run again before these steps."""
        for moment in self._moments[at]:
            self._groups[moment].discard(at)
        self._moments[at] = moments
        for moment in moments:
            self._groups.setdefault(moment, set()).add(at)

    def _lay(self, value: int) -> bool:
        """Count a value's bytes anew; whether they lie otherwise now."""
        before, parts = self._parts[value], self._shape(value)
        if parts == before:
            return False
        self._before.parts.append((value, before))
        self._put(value, parts)
        return True

    def _put(self, value: int, parts: list[Part]) -> None:
        live = self._live
        for nbytes, first, last in self._parts[value]:
            live[first:last] -= nbytes
        self._parts[value] = parts
        self._begins[value] = [first for nbytes, first, _ in parts if nbytes > 0]
        for nbytes, first, last in parts:
            live[first:last] += nbytes

    def _shape(self, value: int) -> list[Part]:
        """What a value takes beside what it takes where nothing is dropped."""
        found = self.makers.values[value]
        if self.missing[value] and not (found.saved or found.masked):
            return []
        uses = self.uses(value)
        if not self.missing[value]:
            return [(found.nbytes, found.last, max(uses) + 1)] if uses and max(uses) >= found.last else []
        moments = self._moments[found.maker]
        parts = [(-found.nbytes, *found.gone), (found.round_bytes, *found.once)] if found.saved else []
        own = moments[-1] if self._is_twice(value) else min(moments, default=0)
        for first, following in pairwise((*(moment for moment in moments if moment < own), own)):
            ends = (use + (use > first or use in found.early) for use in uses if first <= use < following)
            parts.append((self.makers.nbytes(value, first), first, max(ends)))
        if moments:
            end = max([found.ends if found.saved else own, *(use + 1 for use in uses if use > own)])
            parts.append((self.makers.nbytes(value, own), own, end))
        return [part for part in parts if part[1] < part[2]]

    def _weigh(self, step: int) -> None:
        """What is made again right before a step, one after the other: the most that takes at once."""
        group = self._groups.get(step)
        if not group:
            self._over[step] = self._nothing[step]
            return
        makers, missing, begins, sizes = self.makers.makers, self.missing, self._begins, self._sizes(step)
        order = [makers[at] for at in sorted(group)]
        last_user = {value: maker for maker in order for value in maker.inputs}
        passing: set[int] = set()
        now = most = stays = 0
        for maker in order:
            for value in maker.outputs:
                now += sizes[value]
            ending = [value for value in maker.inputs if value in passing and last_user[value] is maker]
            for new, old in maker.in_place if ending else ():
                if old in ending and sizes[new] == sizes[old]:
                    ending.remove(old)
                    now -= sizes[old]
                    break
            most = max(most, now + maker.scratch_bytes)
            for value in ending:
                now -= sizes[value]
            for value in maker.outputs:
                if step in begins[value]:  # it is there in the step itself
                    stays += sizes[value]
                elif missing[value] and value in last_user:
                    passing.add(value)
                else:
                    now -= sizes[value]
        self._over[step] = most - stays - self._own[step]

    def _sizes(self, step: int) -> list[int]:
        """By value, what it takes where it is made again before a step."""
        in_rounds = any(loop.first <= step < loop.last for loop in self.makers.loops)
        return self._round_bytes if in_rounds else self._nbytes

    def _is_twice(self, value: int) -> bool:
        """Whether a dropped value is made twice; what is made together with others never is."""
        found = self.makers.values[value]
        return self.twice[value] and found.saved and len(self.makers.makers[found.maker].outputs) == 1


@dataclass(slots=True)
class Before:
    """What was there before a change to the values that it dropped or kept, and to the one that is made twice.

    Moments by maker, parts by value and `_over` by step of a Dropping, those alone that changed.
    """

    values: tuple[int, ...] = ()
    twice: int | None = None
    flops: int = 0
    ns: int = 0
    moments: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    parts: list[tuple[int, list[Part]]] = field(default_factory=list)
    over: list[tuple[int, int]] = field(default_factory=list)
