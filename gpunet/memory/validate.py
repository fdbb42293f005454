"""Checks a placement without trusting whoever made it: shares no code and no idea with arena.py.

It walks the steps and keeps the bytes in use sorted by offset: a buffer that is born may only touch its two neighbours
there. So every pair that could overlap is seen, in O(n log n) comparisons, and the first collision in time is named.
"""

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from typing import Protocol

from gpunet.errors import PlanError


class Placed(Protocol):
    """What is checked: nbytes in the steps [first, last)."""

    @property
    def name(self) -> str: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...


def validate(buffers: Sequence[Placed], offsets: Mapping[str, int], height_bytes: int, alignment: int = 256) -> None:
    """Raise PlanError unless every buffer lies in [0, height_bytes), aligned, apart from all that are alive with it.

    The message names both buffers, their bytes and their steps. Also wrong: a buffer without an offset, an offset
    without a buffer, two buffers of one name, a buffer that lives in no step. A buffer of 0 bytes overlaps nothing.
    """
    _complete(buffers, offsets)
    for buffer in buffers:
        _inside(buffer, offsets[buffer.name], height_bytes, alignment)
    _apart(buffers, offsets)


def _complete(buffers: Sequence[Placed], offsets: Mapping[str, int]) -> None:
    known: set[str] = set()
    for buffer in buffers:
        if buffer.name in known:
            raise PlanError(f"bad plan: two buffers are called {buffer.name!r}")
        known.add(buffer.name)
        if buffer.name not in offsets:
            raise PlanError(f"bad plan: {_named(buffer)} has no offset")
    if strangers := sorted(offsets.keys() - known):
        raise PlanError(f"bad plan: offsets for what is no buffer: {', '.join(strangers)}")


def _inside(buffer: Placed, offset: int, height_bytes: int, alignment: int) -> None:
    where = _at(buffer, offset)
    if buffer.nbytes < 0 or buffer.first >= buffer.last:
        raise PlanError(f"bad plan: {where}: negative size, or alive in no step")
    if offset < 0 or offset + buffer.nbytes > height_bytes:
        raise PlanError(f"bad plan: {where} is outside the arena's {height_bytes} bytes")
    if offset % alignment:
        raise PlanError(f"bad plan: {where} is not aligned to {alignment} bytes")


def _apart(buffers: Sequence[Placed], offsets: Mapping[str, int]) -> None:
    """Births and deaths in order of steps; of one step, deaths come first: [0, 3) and [3, 5) may share bytes."""
    solid = [buffer for buffer in buffers if buffer.nbytes > 0]
    events = [(b.first, 1, i) for i, b in enumerate(solid)] + [(b.last, 0, i) for i, b in enumerate(solid)]
    in_use: list[tuple[int, int]] = []  # (offset, position in solid), sorted
    for _, born, i in sorted(events):
        entry = (offsets[solid[i].name], i)
        if not born:
            del in_use[bisect_left(in_use, entry)]
            continue
        place = bisect_left(in_use, entry)
        for offset, other in in_use[max(place - 1, 0) : place + 1]:
            low, high = sorted([(offset, other), entry])
            if low[0] + solid[low[1]].nbytes > high[0]:
                raise PlanError(
                    f"bad plan: {_at(solid[low[1]], low[0])} overlaps {_at(solid[high[1]], high[0])}, both alive"
                )
        insort(in_use, entry)


def _named(buffer: Placed) -> str:
    return f"{buffer.name} (steps [{buffer.first}, {buffer.last}))"


def _at(buffer: Placed, offset: int) -> str:
    return f"{_named(buffer)} at bytes [{offset}, {offset + buffer.nbytes})"
