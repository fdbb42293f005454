"""Leaky ReLU on the CPU. Source: CS231n "Commonly used activation functions"; Maas et al. 2013."""

import numpy as np

from gpunet.devices.cpu.halves import by_position
from gpunet.devices.cpu.threads import share_blocks

__all__ = ["leaky_relu_backward", "leaky_relu_forward"]


@by_position("y")
def leaky_relu_forward(x: np.ndarray, y: np.ndarray, *, alpha: float) -> None:
    """y = x where x > 0, else alpha * x, elementwise; 0 < alpha < 1.

    x   (N, H, W, D)   float32 or float64, in
    y   (N, H, W, D)   same dtype, out; may be x
    NaN stays NaN.
    """
    source, target = x.reshape(-1), y.reshape(-1)

    def one(block: slice, worker: int) -> None:
        np.maximum(source[block], source[block] * target.dtype.type(alpha), out=target[block])

    share_blocks(source.size, one)


@by_position("dx")
def leaky_relu_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray, *, alpha: float) -> None:
    """dx = dy where the output y was positive or NaN, else alpha * dy. As alpha > 0, y has the sign of x.

    dy  (N, H, W, D)   float32 or float64, in
    y   (N, H, W, D)   same dtype, in: what leaky_relu_forward wrote
    dx  (N, H, W, D)   same dtype, out; may be dy or y
    """
    above, output, target = dy.reshape(-1), y.reshape(-1), dx.reshape(-1)
    slopes = np.array([1, alpha], dx.dtype)

    def one(block: slice, worker: int) -> None:
        np.multiply(above[block], slopes[np.less_equal(output[block], 0).view(np.int8)], out=target[block])

    share_blocks(above.size, one)
