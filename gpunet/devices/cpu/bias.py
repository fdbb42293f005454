"""The gradient of biases on the CPU; forward they are part of conv and fc."""

from functools import cache
from math import gcd

import numpy as np

from gpunet.devices.cpu.halves import as_wide
from gpunet.devices.cpu.threads import share

__all__ = ["bias_backward"]

RUN = 16
"""See `column_sums`."""


def bias_backward(
    dy: np.ndarray,
    counters: np.ndarray | None,
    db: np.ndarray,
    partials: np.ndarray,
    *,
    block_rows: int,
    accumulate: int = 0,
) -> None:
    """db = sum of dy over the axes in front of those of db, in float32 without losing the small against the large.

    dy        (N, H, W, K)       float32 or float64, in; rows of as many values as db has
    counters  (>= row / 8,)      int32 zeros, with which blocks of a GPU find out which is the last; not used here
    db        (K,) or (H, W, K)  same dtype, out; where accumulate is 1, in and out: the sum is added to it
    partials  (>= blocks, row)   same dtype, scratch; blocks = ceil(rows / block_rows), each the sum of block_rows rows
    Then the blocks are added in pairs, halving their number until one is left: always the same order.
    Source: CS231n "Backpropagation": a bias feeds every position; pairs after
    Higham 1993, "The accuracy of floating point summation".
    """
    rows, sums = dy.reshape(-1, db.size), db.reshape(-1)
    blocks = -(-len(rows) // block_rows)

    def one(block: int, worker: int) -> None:
        partials[block] = column_sums(as_wide(rows[block * block_rows : (block + 1) * block_rows]))

    share(range(blocks), one)
    total = sum_in_pairs(partials[:blocks])
    if accumulate:
        np.add(sums, total, out=sums)
    else:
        sums[...] = total


def column_sums(rows: np.ndarray) -> np.ndarray:
    """The sum of the rows, (rows, values), or of each of a stack of such, as two products, which BLAS is quickest at.

    The first adds up every RUN-th row, the second what comes of it: sums of few each, so float32 loses little.
    """
    *stack, count, values = rows.shape
    beside = gcd(count, RUN)
    wide = rows.reshape(*stack, count // beside, beside * values)
    few = np.matmul(_ones(count // beside, rows.dtype), wide).reshape(*stack, beside, values)
    sums: np.ndarray = np.matmul(_ones(beside, rows.dtype), few)[..., 0, :]
    return sums


@cache
def _ones(count: int, dtype: np.dtype) -> np.ndarray:
    return np.ones((1, count), dtype)


def sum_in_pairs(rows: np.ndarray) -> np.ndarray:
    """The sum of the rows, in pairs, halving their number until one is left; the first row then holds it."""
    count = len(rows)
    while count > 1:
        pairs = count // 2
        count -= pairs
        np.add(rows[:pairs], rows[count : count + pairs], out=rows[:pairs])
    total: np.ndarray = rows[0]
    return total
