"""Where each buffer lies in the arena: lifetimes and sizes in, offsets out.

This is dynamic storage allocation, which is strongly NP-hard. So many orders are tried and the lowest arena wins; above
the lower bound a search goes on from there. All of that is in search.py; here are names, bytes and what may be wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

from gpunet.errors import PlanError
from gpunet.memory.problem import Problem
from gpunet.memory.search import search

ALIGNMENT = 256
"""Bytes; what cudaMalloc promises, and what vector loads and cuBLAS like."""


MOST_BYTES = 2**62
"""Of all buffers together: a search counts in integers of 64 bits."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """Bytes that are needed in the steps [first, last)."""

    name: str
    nbytes: int
    first: int
    last: int


@dataclass(frozen=True)
class Placement:
    """Offsets in bytes by buffer name, and how good they are.

    `height_bytes`       size of the arena, a multiple of the alignment
    `lower_bound_bytes`  most bytes alive at once, each buffer rounded up to the alignment: no placement is lower
    `order`              what found it: "skyline by size x life", "first-fit by size", ..., or "search"
    `seconds`            how long that took; no part of equality
    """

    offsets: dict[str, int]
    height_bytes: int
    lower_bound_bytes: int
    order: str
    seconds: float = field(compare=False)

    @property
    def gap(self) -> float:
        """Height over lower bound, minus one: 0.0 is as low as can be."""
        return self.height_bytes / self.lower_bound_bytes - 1 if self.lower_bound_bytes else 0.0


def place(
    buffers: Sequence[Buffer],
    *,
    base: Sequence[Buffer] = (),
    alignment: int = ALIGNMENT,
    deadline_s: float = 1.0,
) -> Placement:
    """Give every buffer an offset such that no two that are alive in the same step overlap.

    `base`        buffers that outlive the program: one on the other from offset 0, in this order, whatever their steps
    `alignment`   bytes; every offset is a multiple of it
    `deadline_s`  how much search to spend where the lower bound is not reached at once. It buys a fixed number of
                  rounds, half of what this time holds on a 3 GHz core or less, so that the same input gives the same
                  offsets; the clock only stops a machine that is too slow for them.
    Raises PlanError naming the buffer for a duplicate name, a negative size, or steps that are not first < last.
    """
    started = perf_counter()
    _check([*base, *buffers], alignment)
    offsets, floor = _stack(base, alignment)
    solid = [buffer for buffer in buffers if buffer.nbytes]
    problem = _problem(solid, alignment)
    found = search(problem, deadline_s)
    offsets |= {buffer.name: 0 for buffer in buffers if not buffer.nbytes}
    offsets |= {buffer.name: (floor + at) * alignment for buffer, at in zip(solid, found.offsets, strict=True)}
    return Placement(
        offsets,
        (floor + found.height) * alignment,
        (floor + problem.bound) * alignment,
        found.order,
        perf_counter() - started,
    )


def _problem(buffers: Sequence[Buffer], alignment: int) -> Problem:
    sizes = [_units(buffer.nbytes, alignment) for buffer in buffers]
    return Problem(sizes, [buffer.first for buffer in buffers], [buffer.last for buffer in buffers])


def _units(nbytes: int, alignment: int) -> int:
    """Size in multiples of the alignment: all of the search counts in these."""
    return -(-nbytes // alignment)


def _stack(base: Sequence[Buffer], alignment: int) -> tuple[dict[str, int], int]:
    """Offsets in bytes of buffers put one on the other, and the height in units."""
    offsets, top = {}, 0
    for buffer in base:
        offsets[buffer.name] = top * alignment
        top += _units(buffer.nbytes, alignment)
    return offsets, top


def _check(buffers: Sequence[Buffer], alignment: int) -> None:
    if alignment < 1:
        raise PlanError(f"the alignment must be at least 1 byte; got {alignment}")
    if sum(buffer.nbytes for buffer in buffers) > MOST_BYTES:
        largest = max(buffers, key=lambda buffer: buffer.nbytes)
        raise PlanError(
            f"{largest.name} and the other tensors take more than {MOST_BYTES:,} bytes, which no machine has: "
            f"{largest.nbytes:,} for it alone"
        )
    names: set[str] = set()
    for buffer in buffers:
        if buffer.name in names:
            raise PlanError(f"two buffers are called {buffer.name!r}; each needs a name of its own")
        names.add(buffer.name)
        if buffer.nbytes < 0:
            raise PlanError(f"{buffer.name}: a size of {buffer.nbytes} bytes; it must be 0 or more")
        if buffer.last <= buffer.first:
            raise PlanError(
                f"{buffer.name}: lives in steps [{buffer.first}, {buffer.last}), which is none; last must be above"
            )
