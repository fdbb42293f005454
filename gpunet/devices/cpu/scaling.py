"""Loss scaling on the CPU: see gpunet.layers.scaling.

Source: Micikevicius et al. 2018, "Mixed precision training", section 3.2.
"""

import numpy as np

from gpunet.devices.cpu.threads import share_blocks

__all__ = ["scale_gradient", "settle_scaling", "unscale"]

LEAST, MOST = 1.0, 2.0**24
"""Between these the scale stays."""


def scale_gradient(dx: np.ndarray, scaling: np.ndarray, y: np.ndarray) -> None:
    """y = dx * scale.

    dx       (N, H, W, D)   float32 or float64, in
    scaling  (2,)           same dtype, in: the scale, a power of two, and the steps since it changed
    y        (N, H, W, D)   same dtype, out; may be dx
    """
    source, target, scale = dx.reshape(-1), y.reshape(-1), scaling[0]

    def one(block: slice, worker: int) -> None:
        np.multiply(source[block], scale, out=target[block])

    share_blocks(source.size, one)


def unscale(scaling: np.ndarray, dw: np.ndarray) -> None:
    """dw /= scale; what is infinite or NaN stays so.

    scaling  (2,)    float32 or float64, in
    dw       (...)   same dtype, in and out
    """
    values, inverse = dw.reshape(-1), 1 / scaling[0]  # exact, as the scale is a power of two

    def one(block: slice, worker: int) -> None:
        np.multiply(values[block], inverse, out=values[block])

    share_blocks(values.size, one)


def settle_scaling(
    loss: np.ndarray, square_sum: np.ndarray, scaling: np.ndarray, settled: np.ndarray, *, patience: int
) -> None:
    """What becomes of the scale, and whether anything is learnt in this step.

    loss        (1,)   float32 or float64, in
    square_sum  (1,)   same dtype, in: of the squares of all gradients; infinite or NaN where one of them is
    scaling     (2,)   same dtype, in and out: where the sum is finite, the steps since the scale changed are one more,
                       and after `patience` of them it doubles; else it halves. It stays from 1 to 2**24
    settled     (1,)   same dtype, out: the loss, which updates look at, or NaN where the sum is not finite
    A loss that is infinite or NaN leaves the scale as it is: that is no fault of the scale.
    """
    fine = bool(np.isfinite(square_sum[0]))
    settled[0] = loss[0] if fine else np.nan
    if not np.isfinite(loss[0]):
        return
    scale, steps = float(scaling[0]), float(scaling[1]) + 1
    if not fine:
        scale, steps = max(scale / 2, LEAST), 0.0
    elif steps >= patience:
        scale, steps = min(scale * 2, MOST), 0.0
    scaling[:] = scale, steps
