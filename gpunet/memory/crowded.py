"""The ways of search.py to turn an order into offsets, for problems of so many neighbours that no list may hold them.

Thousands of buffers that are alive together are millions of pairs. Here the neighbours of one buffer are found when it
is placed, by a look at all others at once. The offsets are those of `search.first_fit` and `search.skyline`.
"""

import numpy as np

from gpunet.memory.problem import NOWHERE, Problem


def skyline(problem: Problem, order: list[int], ceiling: int) -> list[int] | None:
    """As `search.skyline`; all is held in the order in which buffers come."""
    sizes, firsts, lasts = (np.array(column, np.int64)[order] for column in _columns(problem))
    offsets = np.zeros(len(order), np.int64)
    at, ends = offsets.copy(), sizes.copy()
    for _ in order:
        turn = int((at < ends.min()).argmax())
        offsets[turn], end = at[turn], int(ends[turn])
        if end > ceiling:
            return None
        at[turn] = ends[turn] = NOWHERE
        lifted = np.flatnonzero((firsts < lasts[turn]) & (lasts > firsts[turn]) & (at < end))
        at[lifted] = end
        ends[lifted] = end + sizes[lifted]
    found = np.empty_like(offsets)
    found[order] = offsets
    return [int(offset) for offset in found]


def first_fit(problem: Problem, order: list[int]) -> list[int]:
    """As `search.first_fit`."""
    sizes, firsts, lasts = (np.array(column, np.int64) for column in _columns(problem))
    offsets = np.full(len(order), -1, np.int64)
    for i in order:
        near = np.flatnonzero((firsts < lasts[i]) & (lasts > firsts[i]) & (offsets >= 0))
        near = near[offsets[near].argsort(kind="stable")]
        tops = np.maximum.accumulate(np.concatenate([[0], offsets[near] + sizes[near]]))
        holds = np.flatnonzero(offsets[near] - tops[:-1] >= sizes[i])
        offsets[i] = tops[holds[0]] if len(holds) else tops[-1]
    return [int(offset) for offset in offsets]


def _columns(problem: Problem) -> tuple[list[int], list[int], list[int]]:
    return problem.sizes, problem.firsts, problem.lasts
