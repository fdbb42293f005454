"""Batch normalization on the CPU. Source: Ioffe & Szegedy 2015, algorithm 1."""

from collections.abc import Iterator

import numpy as np

from gpunet.devices.cpu.bias import added_in_pairs, sum_in_pairs
from gpunet.devices.cpu.threads import BLOCK, share

__all__ = [
    "batch_norm_backward",
    "batch_norm_backward_frozen",
    "batch_norm_backward_sums",
    "batch_norm_forward",
    "batch_norm_statistics",
    "batch_norm_update",
]

PARTS = 512
"""Parts that are put together at a time, as no array may grow with the batch."""


def batch_norm_statistics(
    x: np.ndarray,
    running_mean: np.ndarray,
    running_variance: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    partials: np.ndarray,
    *,
    block_rows: int,
    training: int,
) -> None:
    """Mean and variance of each map over all images and positions; where not training, the running ones.

    x                               (N, H, W, D)      float32 or float64, in; its rows are the N*H*W positions
    running_mean, running_variance  (D,)              same dtype, in
    mean, variance                  (D,)              same dtype, out; the variance is over N*H*W and never below 0
    partials                        (>= 2*parts, D)   same dtype, scratch; parts = ceil(N*H*W / block_rows)
    training                        1 or 0

    x is read once, in parts of block_rows rows, which are put together as in Chan, Golub & LeVeque 1983, "Algorithms
    for computing the sample variance". What is summed are differences, in a part from its first row or its mean, of the
    parts from the mean of the first (their shifted data), so that a mean that is large beside the deviation takes no
    digits from it. All sums are in pairs, or nearly, always in the same order. A NaN or infinite value leaves its map
    without a variance: NaN.
    """
    if not training:
        np.copyto(mean, running_mean)
        np.copyto(variance, running_variance)
        return
    rows = x.reshape(-1, x.shape[-1])
    parts = -(-len(rows) // block_rows)
    totals, squares = partials[:parts], partials[parts : 2 * parts]

    def one(part: int, worker: int) -> None:
        block = rows[part * block_rows : (part + 1) * block_rows]
        with np.errstate(invalid="ignore", over="ignore"):
            difference = block - block[0]
            totals[part] = added_in_pairs(difference)
            np.subtract(difference, totals[part] / len(block), out=difference)
            np.multiply(difference, difference, out=difference)
            squares[part] = sum_in_pairs(difference)

    share(range(parts), one)
    with np.errstate(invalid="ignore", over="ignore"):
        _put_together(rows, totals, squares, mean, variance, block_rows)


def _put_together(
    rows: np.ndarray, totals: np.ndarray, squares: np.ndarray, mean: np.ndarray, variance: np.ndarray, block_rows: int
) -> None:
    """Mean and variance of all rows from what their parts of block_rows gave, which is scratch afterwards."""
    firsts, full = rows[::block_rows], len(totals) - 1
    above = totals[0] / min(block_rows, len(rows))
    blocks = [(slice(first, min(first + PARTS, full)), block_rows) for first in range(0, full, PARTS)]
    for block, count in [*blocks, (slice(full, full + 1), len(rows) - full * block_rows)]:
        difference = firsts[block] - rows[0] + (totals[block] / count - above)
        np.multiply(difference, count, out=totals[block])
        np.add(squares[block], totals[block] * difference, out=squares[block])
    total = sum_in_pairs(totals)
    further = total / len(rows)
    np.add(rows[0], above + further, out=mean)
    np.subtract(sum_in_pairs(squares), total * further, out=variance)
    np.divide(np.maximum(variance, 0, out=variance), len(rows), out=variance)


def batch_norm_forward(
    x: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    y: np.ndarray,
    *,
    eps: float,
) -> None:
    """y = (x - mean) / sqrt(variance + eps) * scale + shift, in each map.

    x                             (N, H, W, D)   float32 or float64, in
    mean, variance, scale, shift  (D,)           same dtype, in
    y                             (N, H, W, D)   same dtype, out; may be x
    """
    values, target = (array.reshape(-1, x.shape[-1]) for array in (x, y))
    factor = scale / np.sqrt(variance + eps)

    def one(block: slice, worker: int) -> None:
        with np.errstate(invalid="ignore", over="ignore"):
            out = np.subtract(values[block], mean, out=target[block])
            np.multiply(out, factor, out=out)
            np.add(out, shift, out=out)

    share(_blocks(values), one)


def batch_norm_backward_sums(
    dy: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    dscale: np.ndarray,
    dshift: np.ndarray,
    partials: np.ndarray,
    *,
    block_rows: int,
    eps: float,
) -> None:
    """dshift = sum of dy, dscale = sum of dy times the normalized x, of each map over all images and positions.

    dy, x           (N, H, W, D)      float32 or float64, in
    mean, variance  (D,)              same dtype, in: those of batch_norm_statistics
    dscale, dshift  (D,)              same dtype, out
    partials        (>= 2*parts, D)   same dtype, scratch; parts = ceil(N*H*W / block_rows)
    Each part of block_rows rows gives its sums, which are then added; all in pairs: always in the same order.
    """
    gradients, values = (array.reshape(-1, x.shape[-1]) for array in (dy, x))
    parts = -(-len(values) // block_rows)
    inverse = 1 / np.sqrt(variance + eps)

    def one(part: int, worker: int) -> None:
        block = slice(part * block_rows, (part + 1) * block_rows)
        with np.errstate(invalid="ignore", over="ignore"):
            partials[part] = added_in_pairs(gradients[block])
            product = np.subtract(values[block], mean)
            np.multiply(product, gradients[block], out=product)
            np.multiply(sum_in_pairs(product), inverse, out=partials[parts + part])

    share(range(parts), one)
    np.copyto(dshift, sum_in_pairs(partials[:parts]))
    np.copyto(dscale, sum_in_pairs(partials[parts : 2 * parts]))


def batch_norm_backward(
    dy: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    scale: np.ndarray,
    dscale: np.ndarray,
    dshift: np.ndarray,
    dx: np.ndarray,
    *,
    eps: float,
) -> None:
    """dx = scale/deviation * (dy - (dshift + dscale * normalized x) / (N*H*W)); deviation = sqrt(variance + eps).

    dy, x           (N, H, W, D)   float32 or float64, in
    mean, variance  (D,)           same dtype, in: those of batch_norm_statistics
    scale           (D,)           same dtype, in
    dscale, dshift  (D,)           same dtype, in: those of batch_norm_backward_sums
    dx              (N, H, W, D)   same dtype, out; may be dy or x
    Every value moves the mean and the deviation of its map, which is what is taken off dy.
    """
    gradients, values, target = (array.reshape(-1, x.shape[-1]) for array in (dy, x, dx))
    inverse = 1 / np.sqrt(variance + eps)
    slope, level, factor = dscale * inverse * (1 / len(values)), dshift * (1 / len(values)), scale * inverse

    def one(block: slice, worker: int) -> None:
        with np.errstate(invalid="ignore", over="ignore"):
            common = np.subtract(values[block], mean)
            np.multiply(common, slope, out=common)
            np.add(common, level, out=common)
            np.subtract(gradients[block], common, out=target[block])
            np.multiply(target[block], factor, out=target[block])

    share(_blocks(values), one)


def batch_norm_backward_frozen(
    dy: np.ndarray, variance: np.ndarray, scale: np.ndarray, dx: np.ndarray, *, eps: float
) -> None:
    """dx = dy * scale / sqrt(variance + eps): mean and variance are numbers that x does not move.

    dy               (N, H, W, D)   float32 or float64, in
    variance, scale  (D,)           same dtype, in
    dx               (N, H, W, D)   same dtype, out; may be dy
    """
    gradients, target = (array.reshape(-1, dy.shape[-1]) for array in (dy, dx))
    factor = scale / np.sqrt(variance + eps)
    share(_blocks(gradients), lambda block, worker: np.multiply(gradients[block], factor, out=target[block]))


def batch_norm_update(
    mean: np.ndarray,
    variance: np.ndarray,
    loss: np.ndarray,
    running_mean: np.ndarray,
    running_variance: np.ndarray,
    *,
    momentum: float,
    images: int,
    positions: int,
) -> None:
    """running = (1 - momentum) * running + momentum * that of the batch.

    mean, variance                  (D,)   float32 or float64, in: those of batch_norm_statistics
    loss                            (1,)   same dtype, in: where it is infinite or NaN, nothing is written
    running_mean, running_variance  (D,)   same dtype, in and out
    images, positions               of the batch, and of a map; 2 or more in all

    The running variance is an unbiased one, as PyTorch's: that of the batch times n/(n - 1), n = images * positions.
    """
    if not np.isfinite(loss[0]):
        return
    rows = images * positions
    unbiased = (rows / (rows - 1)) * variance
    for running, new in ((running_mean, mean), (running_variance, unbiased)):
        np.multiply(running, 1 - momentum, out=running)
        np.add(running, momentum * new, out=running)


def _blocks(rows: np.ndarray) -> Iterator[slice]:
    """Rows of about BLOCK values at a time."""
    step = max(1, BLOCK // rows.shape[1])
    return (slice(first, first + step) for first in range(0, len(rows), step))
