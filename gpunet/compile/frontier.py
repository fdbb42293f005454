"""What to drop and make again: for less and less memory, the cheapest choice that a search finds.

The limits follow from the program alone, from all that it takes down to the least that can be reached, so that whoever
asks for a budget chooses among the same points: a larger budget never costs more. A step down drops, one after the
other, what frees the most bytes above the limit for its price, until none is above it; then whatever is not needed for
that is kept after all, the dearest first. On the way back up, choices for less memory are relaxed to more.

Sources: Chen et al. 2016, "Training deep nets with sublinear memory cost"; Kumar et al. 2019, "Efficient
rematerialization for deep networks"; Shah et al. 2021, "Memory optimization for deep networks" (MONeT).
"""

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from gpunet.compile.changes import Changes
from gpunet.compile.dropping import Dropping, Marks
from gpunet.compile.makers import ALIGNMENT, Cost, Makers, Point, Price

POINTS = 48
"""Steps from all that a program takes down to what no choice can free; of nets of many values, fewer."""

POINTS_AGAIN = 30
"""Steps of a second way down, which comes upon other choices."""

SMALL = 60
"""Values of a net in which so much is tried one by one that a second way finds nothing."""

VALUES = 12_000
"""By so many steps and values a search is bounded."""

FEWEST = 10
"""Steps at least."""

BORDER = 6
"""Limits that are tried besides between what may be spent and what may not."""

FINEST = 1000
"""The last of these steps, where larger ones cannot be taken any more."""

FEW = 9
"""Values that may be dropped of which every choice is tried: so the best of them all is found for a small net."""

EVERY = 2
"""At one of so many limits, what was found is tried to be improved."""

BEYOND = 3
"""How far above what may be spent a search goes on: on the way back it comes upon what costs less."""

BETWEEN = 6
"""The same for a moment, until what is not needed is kept after all."""


def frontier(makers: Makers, price: Price, most: Cost) -> list[Point]:
    """Choices for less and less memory, each dearer than the one before; the first drops nothing.

    `most`  what making again may cost
    """
    found: list[Point] = []
    for steps in _steps(len(makers.values)):
        changes = Changes(makers, price, most.times(BETWEEN))
        way = _descend(changes, _floor(makers), most.times(BEYOND), steps)
        found += [point for point, _ in way] + _ascend(changes, way, price) + _at_border(changes, way, most)
    if sum(value.saved for value in makers.values) <= FEW:
        found += _every(Dropping(makers), price)
    return _undominated([point for point in found if point.cost.within(most)], price)


class Counted:
    """The same choices for a program of the same values, with the bytes and the cost that they have there.

    Each is counted once it is asked for.
    """

    def __init__(self, makers: Makers, points: Sequence[Point]) -> None:
        self._state, self._points = Dropping(makers), points
        self._found: dict[int, Point] = {}

    def __len__(self) -> int:
        return len(self._points)

    def __getitem__(self, at: int) -> Point:
        if at not in self._found:
            state, point = self._state, self._points[at]
            state.become(state.marks_of(set(point.dropped), set(point.kept), set(point.twice)))
            self._found[at] = Point(state.peak, state.cost, *state.names)
        return self._found[at]

    def first_within(self, limit: int) -> int:
        """The position of the first that holds a limit, if they take less and less; their number where none does."""
        return bisect_left(range(len(self)), True, key=lambda at: self[at].peak_bytes <= limit)


_Way = list[tuple[Point, Marks]]


def _steps(values: int) -> list[int]:
    """In how many steps to go down: once more in larger ones where there is time and one by one too little is tried."""
    fewer = [POINTS_AGAIN] if SMALL < values <= VALUES // POINTS else []
    return [max(min(POINTS, VALUES // values), FEWEST), *fewer]


def _descend(changes: Changes, floor: int, most: Cost, steps: int) -> _Way:
    """From nothing dropped, limit by limit, to where none can be held any more; there in ever smaller steps."""
    state = changes.state
    way = [_reached(changes)]
    low = state.peak
    step = max((low - floor) // steps, ALIGNMENT)
    while step >= max((way[0][0].peak_bytes - floor) // FINEST, ALIGNMENT):
        if changes.reach(low - step):
            changes.relax(low - step)
            if len(way) % EVERY == 0:
                changes.improve(low - step)
        if state.peak < low and state.cost.within(most):
            way.append(_reached(changes))
            low = state.peak
        else:
            step //= 2
            state.become(way[-1][1])
    return way


def _ascend(changes: Changes, way: _Way, price: Price) -> list[Point]:
    """From the least memory up: what was found for less is relaxed to each limit; what is cheaper so."""
    found = []
    _, marks = way[-1]
    for point, before in reversed(way[:-1]):
        changes.state.become(marks)
        changes.relax(point.peak_bytes)
        relaxed, marks = _reached(changes)
        if price(relaxed.cost) < price(point.cost):
            found.append(relaxed)
        else:
            marks = before
    return found


def _at_border(changes: Changes, way: _Way, most: Cost) -> list[Point]:
    """Between the last step that may be spent and the next, from both sides: there a little less costs just enough."""
    last = max(at for at, (point, _) in enumerate(way) if point.cost.within(most))
    if last + 1 == len(way):
        return []
    (above, before), (below, behind) = way[last : last + 2]
    found = []
    for part in range(1, BORDER):
        limit = above.peak_bytes - (above.peak_bytes - below.peak_bytes) * part // BORDER
        for marks in (before, behind):
            changes.state.become(marks)
            if changes.reach(limit):
                changes.relax(limit)
                changes.improve(limit)
                found.append(_reached(changes)[0])
    return found


def _every(state: Dropping, price: Price) -> list[Point]:
    """Of all choices of what to drop, none made twice and nothing else kept, those that no other beats.

    Each differs from the one before by one value, as numbers in a Gray code do by one bit.
    """
    saved = [at for at, value in enumerate(state.makers.values) if value.saved]
    found = []
    for number in range(1, 1 << len(saved)):
        state.toggle(saved[(number & -number).bit_length() - 1])
        found.append((price(state.cost), state.peak, state.marks))
    points = []
    least = max(state.makers.live)
    for _, peak, marks in sorted(found):
        if peak < least:
            least = peak
            state.become(marks)
            points.append(Point(peak, state.cost, *state.names))
    return points


def _reached(changes: Changes) -> tuple[Point, Marks]:
    state = changes.state
    return Point(state.peak, state.cost, *state.names), state.marks


def _floor(makers: Makers) -> int:
    """What stays alive at least, however much is dropped."""
    change = np.zeros(len(makers.live) + 1, np.int64)
    for value in makers.values:
        if value.saved:
            first, last = value.free
            change[first] += value.nbytes
            change[last] -= value.nbytes
    return int((np.array(makers.live, np.int64) - np.cumsum(change[:-1])).max())


def _undominated(points: Sequence[Point], price: Price) -> list[Point]:
    """Those that no other beats in bytes and price, the cheapest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (price(point.cost), point.peak_bytes)):
        if not best or point.peak_bytes < best[-1].peak_bytes:
            best.append(point)
    return best
