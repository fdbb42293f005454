"""The gradient of biases on the CPU; forward they are part of conv and fc."""

import numpy as np

from gpunet.devices.cpu.threads import share

__all__ = ["bias_backward"]


def bias_backward(
    dy: np.ndarray, db: np.ndarray, partials: np.ndarray, *, block_rows: int, accumulate: int = 0
) -> None:
    """db = sum of dy over the axes in front of those of db, in float32 without losing the small against the large.

    dy        (N, H, W, K)       float32 or float64, in; rows of as many values as db has
    db        (K,) or (H, W, K)  same dtype, out; where accumulate is 1, in and out: the sum is added to it
    partials  (>= blocks, row)   same dtype, scratch; blocks = ceil(rows / block_rows), each the sum of block_rows rows
    Then the blocks are added in pairs, halving their number until one is left: always the same order.
    Source: CS231n "Backpropagation": a bias feeds every position; pairs after
    Higham 1993, "The accuracy of floating point summation".
    """
    rows, sums = dy.reshape(-1, db.size), db.reshape(-1)
    blocks = -(-len(rows) // block_rows)

    def one(block: int, worker: int) -> None:
        np.add.reduce(rows[block * block_rows : (block + 1) * block_rows], axis=0, out=partials[block])

    share(range(blocks), one)
    total = sum_in_pairs(partials[:blocks])
    if accumulate:
        np.add(sums, total, out=sums)
    else:
        sums[...] = total


def added_in_pairs(rows: np.ndarray) -> np.ndarray:
    """As `sum_in_pairs`, but the rows stay as they are."""
    count = len(rows) - len(rows) // 2
    head = rows[:count].copy()
    np.add(head[: len(rows) - count], rows[count:], out=head[: len(rows) - count])
    return sum_in_pairs(head)


def sum_in_pairs(rows: np.ndarray) -> np.ndarray:
    """The sum of the rows, in pairs, halving their number until one is left; the first row then holds it."""
    count = len(rows)
    while count > 1:
        pairs = count // 2
        count -= pairs
        np.add(rows[:pairs], rows[count : count + pairs], out=rows[:pairs])
    total: np.ndarray = rows[0]
    return total
