"""Changes to a choice of what to drop: those that pay to come under a limit, and those that can be undone above it."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

import numpy as np

from gpunet.compile.dropping import Before, Bytes, Dropping
from gpunet.compile.makers import Cost, Makers, Price, Value

LOOKS = 8
"""How many of the likeliest changes are looked at before one is made."""

FEW_LOOKS = 3
"""How many at least, where what was found is more than is expected of the others, as what is made again together costs
less than it seems to."""

TRIES = 400
"""By how many values of a net a choice is tried to do without each of the dearest."""


@dataclass(frozen=True, slots=True)
class Change:
    """Values that are dropped, or kept after all, and one that is made twice, or once again."""

    values: tuple[int, ...] = ()
    twice: int | None = None


class Changes:
    """Changes the choice `state` one by one; `most`: what it may cost."""

    def __init__(self, makers: Makers, price: Price, most: Cost) -> None:
        self.makers, self.state = makers, Dropping(makers)
        self._price, self._most = price, most
        self._all = range(len(makers.values))
        self._alone = _alone(makers, price)
        self._prices = np.array(self._alone, float)
        self._dearest = sorted(self._all, key=lambda value: -self._alone[value])
        self._sizes = np.array([value.nbytes for value in makers.values], np.int64)
        self._saved = np.array([value.saved for value in makers.values], bool)
        self._free = np.array([_free(value) for value in makers.values], np.int64).reshape(-1, 2).T

    @property
    def price(self) -> int:
        """Of the choice as it is."""
        return self._price(self.state.cost)

    def reach(self, limit: int, never: int | None = None) -> bool:
        """Make what pays most, until nothing is above the limit; False where nothing helps.

        `never`  a value that is not to be dropped
        """
        while True:
            excess = self._excess(limit)
            if not excess.any():
                return True
            change = self._best(limit, excess, never)
            if change is None:
                return False
            self._make(change)

    def relax(self, limit: int) -> None:
        """Undo whatever is not needed to hold a limit, the dearest first."""
        state, values = self.state, self.makers.values
        state.toggle(*(v for v in self._all if values[v].keepable and not state.missing[v] and not state.uses(v)))
        for value in self._dearest:
            if state.missing[value] and state.twice[value]:
                self._undo(Change((), value), limit)
            elif state.missing[value] and values[value].saved and self._has_no_room(value, limit):
                continue
            if state.missing[value] and (values[value].saved or (values[value].keepable and state.is_made(value))):
                self._undo(self._kept(value), limit)

    def improve(self, limit: int) -> None:
        """Do without what is dropped, one by one, the dearest first, where the rest then costs less."""
        best, marks = self.price, self.state.marks
        dropped = [v for v in self._all if self.state.missing[v] and self.makers.values[v].saved]
        for value in sorted(dropped, key=lambda value: -self._alone[value])[: TRIES // len(self._all)]:
            if not self.state.missing[value]:
                continue
            self._make(self._kept(value))
            if self.reach(limit, value):
                self.relax(limit)
            if self.state.peak <= limit and self.price < best:
                best, marks = self.price, self.state.marks
            else:
                self.state.become(marks)

    # -- which change ----------------------------------------------------------------------------------

    def _best(self, limit: int, excess: Bytes, never: int | None) -> Change | None:
        """Of the likeliest changes, the one that takes most off what is above a limit for its price."""
        total, before = int(excess.sum()), self.price
        best: tuple[float, Change] | None = None
        for looked, (change, expected) in enumerate(self._candidates(excess, never)):
            if best is not None and (looked >= LOOKS or (looked >= FEW_LOOKS and best[0] >= expected)):
                break
            made = self._make(change)
            gain = total - int(self._excess(limit).sum())
            if gain > 0 and self.state.cost.within(self._most):
                worth = gain / max(self.price - before, 1)
                if best is None or worth > best[0]:
                    best = worth, change
            self.state.undo(made)
        return None if best is None else best[1]

    def _candidates(self, excess: Bytes, never: int | None) -> Iterator[tuple[Change, float]]:
        """Changes, and what each may take off what is above the limit for its price; the likeliest first."""
        yield from ((change, inf) for change in self._restoring(excess))
        for value, worth in self._likeliest(excess):
            if value != never:
                yield from ((change, worth) for change in self._changes(value))

    def _excess(self, limit: int) -> Bytes:
        """By step, bytes above a limit."""
        excess: Bytes = np.maximum(self.state.most - limit, 0)
        return excess

    def _likeliest(self, excess: Bytes) -> list[tuple[int, float]]:
        """Values that lie in a step above the limit, with what each would free there for its price, the most first."""
        first, last = self._spans()
        bytes_until = np.concatenate([[0], np.cumsum(excess)])
        steps_until = np.concatenate([[0], np.cumsum(excess > 0)])
        freed = np.minimum(
            bytes_until[last] - bytes_until[first], self._sizes * (steps_until[last] - steps_until[first])
        )
        worth = freed / self._prices
        order = np.argsort(-worth, kind="stable")
        return [(int(value), float(worth[value])) for value in order[worth[order] > 0]]

    def _spans(self) -> tuple[Bytes, Bytes]:
        """By value, the steps [first, last) in which a change to it may free its bytes."""
        there = self._saved & ~np.array(self.state.missing)
        first, last = (np.where(there, ends, 0) for ends in self._free)
        for value in self.state.sources():
            if not there[value]:
                first[value], last[value] = self._between(value)
        return first, last

    def _between(self, value: int) -> tuple[int, int]:
        """The same of one from which others are made again, and that backward does not find where it was made."""
        found, uses = self.makers.values[value], self.state.uses(value)
        if found.saved and not self.state.twice[value] and self._apart(value):
            return min(uses), found.read
        if found.keepable and not self.state.missing[value]:
            return found.last, max(*uses, found.last)
        return 0, 0

    def _changes(self, value: int) -> Iterator[Change]:
        """What may be done about a value: drop it, alone, or with what it is made from or what is made from it
        kept, or with it made twice."""
        found, state = self.makers.values[value], self.state
        if found.saved and state.missing[value]:
            yield Change((), value)
            return
        yield Change((value,))
        sources = self._sources(value) if found.saved else []
        if sources and 2 * sum(self.makers.values[source].nbytes for source in sources) <= found.nbytes:
            yield Change((value, *sources))
        heirs = self._heirs(value) if found.saved else []
        if heirs and 2 * sum(self.makers.values[heir].nbytes for heir in heirs) <= found.nbytes:
            yield Change((value, *heirs))
        if found.saved and not state.twice[value] and self._apart(value):
            yield Change((value,), value)

    def _restoring(self, excess: Bytes) -> list[Change]:
        """What is made again right before the fullest step may be kept after all."""
        values, makers = self.makers.values, self.makers.makers
        made = (v for at in self.state.made_before(int(excess.argmax())) for v in makers[at].outputs)
        return [self._kept(v) for v in made if values[v].saved and self.state.missing[v]]

    def _apart(self, value: int) -> bool:
        """Whether a value is made alone, and others are made from it before backward reads it: it can be made twice."""
        found = self.makers.values[value]
        single = len(self.makers.makers[found.maker].outputs) == 1
        return single and any(use < found.read for use in self.state.uses(value))

    def _sources(self, value: int) -> list[int]:
        """What takes products, is gone, and would be made for this value: keeping it may be cheaper."""
        values, found, todo = self.makers.values, dict.fromkeys([value]), [value]
        while todo:
            for source in self.makers.makers[values[todo.pop()].maker].inputs:
                if self.state.missing[source] and not values[source].saved and source not in found:
                    found[source] = None
                    if not values[source].keepable:
                        todo.append(source)
        return [source for source in found if values[source].keepable]

    def _heirs(self, value: int) -> list[int]:
        """What is gone and would be made from this value: keeping it in its place may be cheaper."""
        values, found, seen, todo = self.makers.values, [], {value}, [value]
        while todo:
            for user in self.makers.users[todo.pop()]:
                for made in self.makers.makers[user].outputs:
                    if self.state.missing[made] and made not in seen:
                        seen.add(made)
                        if values[made].saved and not self.state.twice[made]:
                            found.append(made)
                        elif not values[made].saved:
                            todo.append(made)
        return found

    def _has_no_room(self, value: int, limit: int) -> bool:
        """Whether keeping a dropped value is sure to break a limit, as it comes on top of all else until it is read.

        Not sure where what it is made from is kept for longer on its behalf, which would then be gone.
        """
        found = self.makers.values[value]
        first, last = found.gone
        last = min([last, *self.state.moments(value)])
        if found.once != (0, 0) or first >= last or self.state.room(first, last, limit) >= found.nbytes:
            return False
        return not self._keeps_others(value)

    def _keeps_others(self, value: int) -> bool:
        """Whether what a value is made from, itself or through others, is kept beyond its own last use."""
        values, state = self.makers.values, self.state
        seen, todo = {value}, [value]
        while todo:
            for source in self.makers.makers[values[todo.pop()].maker].inputs:
                if state.missing[source] and source not in seen:
                    seen.add(source)
                    todo.append(source)
                elif not state.missing[source] and max(state.uses(source), default=-1) >= values[source].last:
                    return True
        return False

    # -- making and undoing ----------------------------------------------------------------------------

    def _kept(self, value: int) -> Change:
        """The change that keeps what is dropped."""
        return Change((value,), value if self.state.twice[value] else None)

    def _undo(self, change: Change, limit: int) -> None:
        before = self.price
        made = self._make(change)
        if self.state.peak > limit or self.price >= before:
            self.state.undo(made)

    def _make(self, change: Change) -> Before:
        return self.state.toggle(*change.values, twice=change.twice)


def _free(value: Value) -> tuple[int, int]:
    """The steps [first, last) in which it may be gone until it is read for the first time."""
    first, last = value.free
    return first, max(first, min(last, *value.early, last))


def _alone(makers: Makers, price: Price) -> list[int]:
    """By value, the price of making it again where no other is dropped."""
    found: list[int] = []
    for value in makers.values:  # what it is made from comes before it
        maker = makers.makers[value.maker]
        more = {
            makers.values[v].maker: found[v]
            for v in maker.inputs
            if not (makers.values[v].saved or makers.values[v].fixed)
        }
        found.append(max(price(maker.cost), 1) + sum(more.values()))
    return found
