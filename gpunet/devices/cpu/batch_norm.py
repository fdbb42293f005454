"""Batch normalization on the CPU. Source: Ioffe & Szegedy 2015, algorithm 1."""

from collections.abc import Callable, Iterator, Sequence
from math import gcd

import numpy as np

from gpunet.devices.cpu.bias import column_sums, sum_in_pairs
from gpunet.devices.cpu.halves import as_wide, by_position, store
from gpunet.devices.cpu.threads import BLOCK, share, spare, thread_count

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

WIDE = 512
"""Values that a row should have, as NumPy is slow with short ones: rows of few maps are taken several side by side."""


def batch_norm_statistics(
    x: np.ndarray,
    running_mean: np.ndarray,
    running_variance: np.ndarray,
    counters: np.ndarray | None,
    mean: np.ndarray,
    variance: np.ndarray,
    partials: np.ndarray,
    *,
    block_rows: int,
    training: int,
) -> None:
    """Mean and variance of each map over all images and positions; where not training, the running ones.

    x                               (N, H, W, D)      float32 or float64, in; its rows are the N*H*W positions; may be
                                                      maps of a wider volume
    running_mean, running_variance  (D,)              same dtype, in
    counters                        (>= D/8,)         int32 zeros, with which blocks of a GPU find out which is the last
    mean, variance                  (D,)              same dtype, out; the variance is over N*H*W and never below 0
    partials                        (>= 2*parts, D)   same dtype, scratch; parts = ceil(N*H*W / block_rows)
    training                        1 or 0

    x is read once, in parts of block_rows rows, which are put together as in Chan, Golub & LeVeque 1983, "Algorithms
    for computing the sample variance". What is summed are differences, in a part from its first row or its mean, of the
    parts from the mean of the first (their shifted data), so that a mean that is large beside the deviation takes no
    digits from it. Parts are added in pairs, always in the same order. A NaN or infinite value leaves its map without a
    variance: NaN.
    """
    if not training:
        np.copyto(mean, running_mean)
        np.copyto(variance, running_variance)
        return
    rows = x.reshape(-1, x.shape[-1])
    parts = -(-len(rows) // block_rows)
    totals, squares = partials[:parts], partials[parts : 2 * parts]

    def one(some: slice, worker: int) -> None:
        blocks = stack(rows, some, block_rows)
        difference = spare("difference", blocks.shape, blocks.dtype)
        by_map(np.subtract, blocks, blocks[:, 0], difference)
        totals[some] = column_sums(difference)
        by_map(np.subtract, difference, totals[some] / blocks.shape[1], difference)
        np.multiply(difference, difference, out=difference)
        squares[some] = column_sums(difference)

    share(_parts(rows, block_rows), one)
    with np.errstate(invalid="ignore", over="ignore"):
        _put_together(rows, totals, squares, mean, variance, block_rows)


def _put_together(
    rows: np.ndarray, totals: np.ndarray, squares: np.ndarray, mean: np.ndarray, variance: np.ndarray, block_rows: int
) -> None:
    """Mean and variance of all rows from what their parts of block_rows gave, which is scratch afterwards."""
    first_row, firsts, full = as_wide(rows[0]), rows[::block_rows], len(totals) - 1
    above = totals[0] / min(block_rows, len(rows))
    blocks = [(slice(first, min(first + PARTS, full)), block_rows) for first in range(0, full, PARTS)]
    for block, count in [*blocks, (slice(full, full + 1), len(rows) - full * block_rows)]:
        difference = as_wide(firsts[block]) - first_row + (totals[block] / count - above)
        np.multiply(difference, count, out=totals[block])
        np.add(squares[block], totals[block] * difference, out=squares[block])
    total = sum_in_pairs(totals)
    further = total / len(rows)
    np.add(first_row, above + further, out=mean)
    np.subtract(sum_in_pairs(squares), total * further, out=variance)
    np.divide(np.maximum(variance, 0, out=variance), len(rows), out=variance)


@by_position("y")
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
    x and y may each be maps of a wider volume.
    """
    values, target = side_by_side(x, y)
    numbers = repeated(values, mean, scale / np.sqrt(variance + eps), shift)
    share(blocks_of(values), lambda block, worker: normalize(values[block], numbers, target[block]))


def batch_norm_backward_sums(
    dy: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    counters: np.ndarray | None,
    dscale: np.ndarray,
    dshift: np.ndarray,
    partials: np.ndarray,
    *,
    block_rows: int,
    eps: float,
) -> None:
    """dshift = sum of dy, dscale = sum of dy times the normalized x, of each map over all images and positions.

    dy, x           (N, H, W, D)      float32 or float64, in; each may be maps of a wider volume
    mean, variance  (D,)              same dtype, in: those of batch_norm_statistics
    counters        (>= D/8,)         int32 zeros, as in batch_norm_statistics
    dscale, dshift  (D,)              same dtype, out
    partials        (>= 2*parts, D)   same dtype, scratch; parts = ceil(N*H*W / block_rows)
    Each part of block_rows rows gives its sums, which are then added in pairs: always in the same order.
    """
    gradients = dy.reshape(-1, x.shape[-1])

    def above_of(some: slice, difference: np.ndarray) -> np.ndarray:
        return stack(gradients, some, block_rows)

    sum_gradients(above_of, x, mean, variance, dscale, dshift, partials, block_rows, eps)


def sum_gradients(
    above_of: Callable[[slice, np.ndarray], np.ndarray],
    x: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    dscale: np.ndarray,
    dshift: np.ndarray,
    partials: np.ndarray,
    block_rows: int,
    eps: float,
) -> None:
    """What batch_norm_backward_sums does; above_of(some, x - mean) gives dy of some parts, (parts, rows of each, D)."""
    values = x.reshape(-1, x.shape[-1])
    parts = -(-len(values) // block_rows)
    inverse = 1 / np.sqrt(variance + eps)

    def one(some: slice, worker: int) -> None:
        blocks = stack(values, some, block_rows)
        difference = spare("difference", blocks.shape, blocks.dtype)
        by_all_maps(np.subtract, blocks, mean, difference)
        above = np.ascontiguousarray(above_of(some, difference))
        partials[some] = column_sums(above)
        np.multiply(difference, above, out=difference)
        np.multiply(column_sums(difference), inverse, out=partials[parts:][some])

    share(_parts(values, block_rows), one)
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

    dy, x           (N, H, W, D)   float32 or float64, in; each may be maps of a wider volume
    mean, variance  (D,)           same dtype, in: those of batch_norm_statistics
    scale           (D,)           same dtype, in
    dscale, dshift  (D,)           same dtype, in: those of batch_norm_backward_sums
    dx              (N, H, W, D)   same dtype, out; may be dy or x
    Every value moves the mean and the deviation of its map, which is what is taken off dy.
    """
    gradients, values, target = side_by_side(dy, x, dx)
    pass_on(lambda block, common: gradients[block], values, mean, variance, scale, dscale, dshift, target, eps)


def pass_on(
    above_of: Callable[[slice, np.ndarray], np.ndarray],
    values: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    scale: np.ndarray,
    dscale: np.ndarray,
    dshift: np.ndarray,
    target: np.ndarray,
    eps: float,
) -> None:
    """What batch_norm_backward does, to x and dx in rows of `side_by_side`; above_of(some, x - mean) gives dy of some
    of them."""
    inverse, share_of_one = 1 / np.sqrt(variance + eps), 1 / (values.size // len(mean))
    slope, level, factor = dscale * inverse * share_of_one, dshift * share_of_one, scale * inverse
    mean, slope, level, factor = repeated(values, mean, slope, level, factor)

    def one(block: slice, worker: int) -> None:
        source = as_wide(values[block])
        common = np.subtract(source, mean, out=spare("common", source.shape, source.dtype))
        above = as_wide(above_of(block, common))
        np.multiply(common, slope, out=common)
        np.add(common, level, out=common)
        np.subtract(above, common, out=common)
        store(np.multiply(common, factor, out=common), target[block])

    share(blocks_of(values), one)


@by_position("dx")
def batch_norm_backward_frozen(
    dy: np.ndarray, variance: np.ndarray, scale: np.ndarray, dx: np.ndarray, *, eps: float
) -> None:
    """dx = dy * scale / sqrt(variance + eps): mean and variance are numbers that x does not move.

    dy               (N, H, W, D)   float32 or float64, in
    variance, scale  (D,)           same dtype, in
    dx               (N, H, W, D)   same dtype, out; may be dy
    """
    gradients, target = side_by_side(dy, dx)
    (factor,) = repeated(gradients, scale / np.sqrt(variance + eps))
    share(blocks_of(gradients), lambda block, worker: np.multiply(gradients[block], factor, out=target[block]))


def batch_norm_update(loss: np.ndarray, *arrays: np.ndarray, momentum: float, images: int, positions: int) -> None:
    """running = (1 - momentum) * running + momentum * that of the batch, of one layer or of several.

    loss                            (1,)   float32 or float64, in: where it is infinite or NaN, nothing is written
    arrays                          of each layer in turn the first two, then of each the other two:
      mean, variance                (D,)   same dtype, in: those of batch_norm_statistics
      running_mean, running_variance  (D,) same dtype, in and out
    images, positions               of the batch, and of a map; 2 or more in all

    The running variance is an unbiased one, as PyTorch's: that of the batch times n/(n - 1), n = images * positions.
    """
    if not np.isfinite(loss[0]):
        return
    rows, count = images * positions, len(arrays) // 2
    for at, (new, running) in enumerate(zip(arrays[:count], arrays[count:], strict=True)):
        factor = rows / (rows - 1) if at % 2 else 1  # of a variance
        np.multiply(running, 1 - momentum, out=running)
        np.add(running, momentum * (factor * new), out=running)


def normalize(values: np.ndarray, numbers: Sequence[np.ndarray], out: np.ndarray) -> np.ndarray:
    """out = (values - mean) * factor + shift for rows of `side_by_side`; `numbers`: these three, `repeated`."""
    mean, factor, shift = numbers
    np.subtract(values, mean, out=out)
    np.multiply(out, factor, out=out)
    np.add(out, shift, out=out)
    return out


def blocks_of(rows: np.ndarray) -> Iterator[slice]:
    """Rows of about BLOCK values at a time."""
    step = max(1, BLOCK // rows.shape[1])
    return (slice(first, first + step) for first in range(0, len(rows), step))


def _parts(rows: np.ndarray, block_rows: int) -> Iterator[slice]:
    """The parts of block_rows rows, several at a time where they are small; the last, perhaps of fewer, by itself."""
    full, left = divmod(len(rows), block_rows)
    step = max(1, min(2 * BLOCK // (block_rows * rows.shape[1]), -(-full // thread_count())))
    yield from (slice(first, min(first + step, full)) for first in range(0, full, step))
    if left:
        yield slice(full, full + 1)


def stack(rows: np.ndarray, parts: slice, block_rows: int) -> np.ndarray:
    """(parts, rows of each, D): a view of some parts of the rows, of halves a float32 copy."""
    some = rows[parts.start * block_rows : parts.stop * block_rows]
    return as_wide(some).reshape(parts.stop - parts.start, -1, rows.shape[1])


def by_map(operation: np.ufunc, blocks: np.ndarray, operand: np.ndarray, out: np.ndarray) -> None:
    """out = operation of each row of the blocks (parts, rows, D) and of the operand of its part, (parts, D)."""
    parts, rows, D = blocks.shape
    beside = gcd(rows, max(1, WIDE // D))
    shape = parts, rows // beside, beside * D
    operation(blocks.reshape(shape), operand[:, None].repeat(beside, 1).reshape(parts, 1, -1), out=out.reshape(shape))


def by_all_maps(operation: np.ufunc, blocks: np.ndarray, vector: np.ndarray, out: np.ndarray) -> None:
    """As `by_map`, of one vector (D,) for all parts."""
    rows, target = side_by_side(blocks, out)
    operation(rows, *repeated(rows, vector), out=target)


def side_by_side(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Views of arrays of one shape, with rows of one position of an image, or of several, about WIDE values.

    Where one of them lies among the maps of a wider volume, all have rows of one position.
    """
    positions, D = arrays[0].size // arrays[0].shape[-1], arrays[0].shape[-1]
    whole = all(array.flags.c_contiguous for array in arrays)
    beside = gcd(positions, max(1, WIDE // D)) if whole else 1
    return tuple(array.reshape(-1, beside * D) for array in arrays)


def repeated(rows: np.ndarray, *vectors: np.ndarray) -> tuple[np.ndarray, ...]:
    """Vectors with a value for each map, as often as a row of `side_by_side` has positions."""
    return tuple(np.tile(vector, rows.shape[1] // len(vector)) for vector in vectors)
