"""Batch normalization with ReLU behind it on the CPU, and a sum between: one pass over memory instead of several.

The bits are those of the separate ops one after the other. Backward makes the normalized values again, so neither they
nor what ReLU gave need be there. Sources: see gpunet.devices.cpu.batch_norm and relu.
"""

import numpy as np

from gpunet.devices.cpu.batch_norm import (
    blocks_of,
    by_all_maps,
    normalize,
    pass_on,
    repeated,
    side_by_side,
    stack,
    sum_gradients,
)
from gpunet.devices.cpu.halves import as_wide, by_position
from gpunet.devices.cpu.select import select_risen
from gpunet.devices.cpu.threads import share, spare

__all__ = ["batch_norm_relu_backward", "batch_norm_relu_backward_sums", "batch_norm_relu_forward"]


@by_position("y")
def batch_norm_relu_forward(
    x: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    z: np.ndarray | None,
    y: np.ndarray,
    *,
    eps: float,
) -> None:
    """y = max(0, (x - mean) / sqrt(variance + eps) * scale + shift + z), in each map; NaN stays NaN.

    x                             (N, H, W, D)   float32 or float64, in
    mean, variance, scale, shift  (D,)           same dtype, in
    z                             (N, H, W, D)   same dtype, in; None: nothing is added
    y                             (N, H, W, D)   same dtype, out; may be x or z
    x and y may each be maps of a wider volume.
    """
    values, target, *more = side_by_side(x, y) if z is None else side_by_side(x, y, z)
    added = more[0] if more else None
    numbers = repeated(values, mean, scale / np.sqrt(variance + eps), shift)

    def one(block: slice, worker: int) -> None:
        out = target[block]
        if added is None:
            normalize(values[block], numbers, out)
        else:
            np.add(normalize(values[block], numbers, spare("normal", out.shape, out.dtype)), added[block], out=out)
        np.maximum(out, 0, out=out)

    share(blocks_of(values), one)


def batch_norm_relu_backward_sums(
    dy: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    counters: np.ndarray | None,
    dscale: np.ndarray,
    dshift: np.ndarray,
    partials: np.ndarray,
    *,
    block_rows: int,
    eps: float,
) -> None:
    """As batch_norm_backward_sums of dy where ReLU let values pass, of 0 elsewhere.

    dy              (N, H, W, D)      float32 or float64, in: the gradient behind ReLU; may be maps of a wider volume
    x               (N, H, W, D)      same dtype, in; may be maps of a wider volume
    mean, variance  (D,)              same dtype, in: those of batch_norm_statistics
    scale, shift    (D,)              same dtype, in
    counters        (>= D/8,)         int32 zeros, as in batch_norm_statistics
    dscale, dshift  (D,)              same dtype, out
    partials        (>= 2*parts, D)   same dtype, scratch; parts = ceil(N*H*W / block_rows)
    """
    gradients = dy.reshape(-1, x.shape[-1])
    factor = scale / np.sqrt(variance + eps)

    def above_of(some: slice, difference: np.ndarray) -> np.ndarray:
        normal = spare("normal", difference.shape, difference.dtype)
        by_all_maps(np.multiply, difference, factor, normal)
        by_all_maps(np.add, normal, shift, normal)
        select_risen(stack(gradients, some, block_rows), normal, normal)
        return normal

    sum_gradients(above_of, x, mean, variance, dscale, dshift, partials, block_rows, eps)


def batch_norm_relu_backward(
    dy: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    dscale: np.ndarray,
    dshift: np.ndarray,
    dx: np.ndarray,
    *,
    eps: float,
) -> None:
    """As batch_norm_backward of dy where ReLU let values pass, of 0 elsewhere.

    dy, x                         (N, H, W, D)   float32 or float64, in; dy: the gradient behind ReLU; each may be maps
                                                 of a wider volume
    mean, variance, scale, shift  (D,)           same dtype, in
    dscale, dshift                (D,)           same dtype, in: those of batch_norm_relu_backward_sums
    dx                            (N, H, W, D)   same dtype, out; may be dy or x
    """
    gradients, values, target = side_by_side(dy, x, dx)
    factor, level = repeated(values, scale / np.sqrt(variance + eps), shift)

    def above_of(block: slice, common: np.ndarray) -> np.ndarray:
        normal = spare("normal", common.shape, common.dtype)
        np.multiply(common, factor, out=normal)
        np.add(normal, level, out=normal)
        select_risen(as_wide(gradients[block]), normal, normal)
        return normal

    pass_on(above_of, values, mean, variance, scale, dscale, dshift, target, eps)
