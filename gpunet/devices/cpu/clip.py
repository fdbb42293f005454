"""Gradient clipping on the CPU.

Source: Pascanu et al. 2013, "On the difficulty of training recurrent neural networks".
"""

from math import sqrt

import numpy as np

from gpunet.devices.cpu.bias import sum_in_pairs
from gpunet.devices.cpu.threads import share, share_blocks

__all__ = ["add_square_sum", "clip_by_norm", "clip_by_value"]

LEAST_NORM = 1e-6
"""Added to the norm that a gradient is divided by, as in PyTorch."""


def clip_by_value(dw: np.ndarray, *, most: float) -> None:
    """dw = dw between -most and most; NaN stays NaN.

    dw  (...)  float32 or float64, in and out
    As torch.nn.utils.clip_grad_value_.
    """
    values = dw.reshape(-1)

    def one(block: slice, worker: int) -> None:
        np.clip(values[block], -most, most, out=values[block])

    share_blocks(values.size, one)


def add_square_sum(
    dw: np.ndarray, square_sum: np.ndarray, partials: np.ndarray, *, block_values: int, begins: int
) -> None:
    """square_sum = the sum of the squares of dw where `begins` is 1; where it is 0, that is added to it.

    dw          (...)        float32 or float64, in
    square_sum  (1,)         same dtype, out; where `begins` is 0, in and out
    partials    (>= blocks,)  same dtype, scratch; blocks = ceil(values / block_values), each the sum of so many squares
    Always added in the same order: within a block, then blocks in pairs, then to the sum. What is NaN or too large for
    the dtype makes it NaN or infinite.
    """
    values = dw.reshape(-1)
    blocks = -(-values.size // block_values)
    spares: dict[int, np.ndarray] = {}

    def one(block: int, worker: int) -> None:
        part = values[block * block_values : (block + 1) * block_values]
        if worker not in spares:
            spares[worker] = np.empty(min(block_values, values.size), values.dtype)
        with np.errstate(over="ignore"):
            squares = np.multiply(part, part, out=spares[worker][: part.size])
            partials[block] = np.add.reduce(squares)

    share(range(blocks), one)
    with np.errstate(over="ignore"):
        total = sum_in_pairs(partials[:blocks])
        square_sum[0] = total if begins else square_sum[0] + total


def clip_by_norm(square_sum: np.ndarray, dw: np.ndarray, *, most: float) -> None:
    """dw *= most / (norm + 1e-6) where that is below 1; the norm is the root of square_sum.

    square_sum  (1,)   float32 or float64, in: of the squares of all gradients, this one among them
    dw          (...)  same dtype, in and out
    As torch.nn.utils.clip_grad_norm_: of an infinite norm finite gradients become 0, of one that is NaN all become NaN.
    """
    factor = most / (sqrt(square_sum[0]) + LEAST_NORM)
    if factor > 1:
        return
    values = dw.reshape(-1)

    def one(block: slice, worker: int) -> None:
        with np.errstate(invalid="ignore"):  # 0 times infinity
            np.multiply(values[block], factor, out=values[block])

    share_blocks(values.size, one)
