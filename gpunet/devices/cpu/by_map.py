"""Numbers for each map on the CPU: PReLU, and scales and shifts. Sources: He et al. 2015; Caffe's Scale layer."""

from collections.abc import Callable

import numpy as np

from gpunet.devices.cpu.bias import sum_in_pairs
from gpunet.devices.cpu.halves import as_wide, by_position
from gpunet.devices.cpu.threads import BLOCK, share_blocks

__all__ = [
    "prelu_backward",
    "prelu_backward_slopes",
    "prelu_forward",
    "scale_backward",
    "scale_backward_weights",
    "scale_forward",
]


@by_position("y")
def prelu_forward(x: np.ndarray, a: np.ndarray, y: np.ndarray) -> None:
    """y = x where x > 0, else a * x.

    x   (N, H, W, D)   float32 or float64, in
    a   (D,) or (1,)   same dtype, in: the slope of each map, or of all
    y   (N, H, W, D)   same dtype, out; may be x
    NaN stays NaN.
    Source: He et al. 2015, "Delving deep into rectifiers".
    """

    def one(rows: slice) -> None:
        source = _rows(x)[rows]
        _rows(y)[rows] = np.where(source > 0, source, source * a)

    _each(x, one)


@by_position("dx")
def prelu_backward(dy: np.ndarray, x: np.ndarray, a: np.ndarray, dx: np.ndarray) -> None:
    """dx = dy where x > 0, else a * dy.

    dy  (N, H, W, D)   float32 or float64, in
    x   (N, H, W, D)   same dtype, in: what prelu_forward read
    a   (D,) or (1,)   same dtype, in
    dx  (N, H, W, D)   same dtype, out; may be dy or x
    """

    def one(rows: slice) -> None:
        above = _rows(dy)[rows]
        _rows(dx)[rows] = np.where(_rows(x)[rows] > 0, above, above * a)

    _each(x, one)


def prelu_backward_slopes(
    dy: np.ndarray, x: np.ndarray, da: np.ndarray, partials: np.ndarray, *, block_rows: int, accumulate: int = 0
) -> None:
    """da = sum of dy * x over the positions where x is not above 0, of each map, or of all maps.

    dy        (N, H, W, D)       float32 or float64, in
    x         (N, H, W, D)       same dtype, in: what prelu_forward read
    da        (D,) or (1,)       same dtype, out; where accumulate is 1, in and out: the sum is added to it
    partials  (>= blocks + 1, D) same dtype, scratch; blocks = ceil(rows / block_rows), each the sum of block_rows rows
    Then the blocks are added in pairs, then, where there is one slope, the maps. Where x is NaN, so is the sum.
    """
    _sum(dy, x, da, partials, block_rows, accumulate, lambda dy, x: np.where(x > 0, 0, dy * x))


@by_position("y")
def scale_forward(x: np.ndarray, scale: np.ndarray, shift: np.ndarray | None, y: np.ndarray) -> None:
    """y = x * scale + shift, map by map.

    x      (N, H, W, D)   float32 or float64, in
    scale  (D,)           same dtype, in
    shift  (D,)           same dtype, in; None: 0
    y      (N, H, W, D)   same dtype, out; may be x
    Source: Caffe's Scale layer.
    """

    def one(rows: slice) -> None:
        np.multiply(_rows(x)[rows], scale, out=_rows(y)[rows])
        if shift is not None:
            np.add(_rows(y)[rows], shift, out=_rows(y)[rows])

    _each(x, one)


@by_position("dx")
def scale_backward(dy: np.ndarray, scale: np.ndarray, dx: np.ndarray) -> None:
    """dx = dy * scale, map by map.

    dy     (N, H, W, D)   float32 or float64, in
    scale  (D,)           same dtype, in
    dx     (N, H, W, D)   same dtype, out; may be dy
    """
    _each(dy, lambda rows: np.multiply(_rows(dy)[rows], scale, out=_rows(dx)[rows]))


def scale_backward_weights(
    dy: np.ndarray, x: np.ndarray, dscale: np.ndarray, partials: np.ndarray, *, block_rows: int, accumulate: int = 0
) -> None:
    """dscale = sum of dy * x over all positions, of each map.

    dy        (N, H, W, D)       float32 or float64, in
    x         (N, H, W, D)       same dtype, in: what scale_forward read
    dscale    (D,)               same dtype, out; where accumulate is 1, in and out: the sum is added to it
    partials  (>= blocks + 1, D) same dtype, scratch, as prelu_backward_slopes has it
    """
    _sum(dy, x, dscale, partials, block_rows, accumulate, np.multiply)


def _rows(array: np.ndarray) -> np.ndarray:
    """A row for each position."""
    return array.reshape(-1, array.shape[-1])


def _each(x: np.ndarray, one: Callable[[slice], object]) -> None:
    """Call one(rows) for all positions of x, some at a time."""
    share_blocks(x.size // x.shape[-1], lambda rows, worker: one(rows), max(1, BLOCK // x.shape[-1]))


def _sum(
    dy: np.ndarray,
    x: np.ndarray,
    sums: np.ndarray,
    partials: np.ndarray,
    block_rows: int,
    accumulate: int,
    product: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> None:
    """sums = the sums of products over positions, and over maps where there is one sum."""
    above, values = _rows(dy), _rows(x)
    blocks = -(-len(values) // block_rows)

    def one(rows: slice, worker: int) -> None:
        np.add.reduce(
            product(as_wide(above[rows]), as_wide(values[rows])), axis=0, out=partials[rows.start // block_rows]
        )

    share_blocks(len(values), one, block_rows)
    total = sum_in_pairs(partials[:blocks])
    if len(sums) < len(total):
        total = sum_in_pairs(total.reshape(-1, 1))
    if accumulate:
        np.add(sums, total, out=sums)
    else:
        sums[...] = total
