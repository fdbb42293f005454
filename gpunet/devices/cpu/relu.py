"""ReLU on the CPU. Source: CS231n "Layers used to build ConvNets"."""

import numpy as np

from gpunet.devices.cpu.select import select
from gpunet.devices.cpu.threads import share_blocks

__all__ = ["relu_backward", "relu_forward"]


def relu_forward(x: np.ndarray, y: np.ndarray) -> None:
    """y = max(0, x), elementwise.

    x   (N, H, W, D)   float32 or float64, in
    y   (N, H, W, D)   same dtype, out; may be x
    NaN stays NaN.
    Source: CS231n "Layers used to build ConvNets".
    """
    source, target = x.reshape(-1), y.reshape(-1)

    def one(block: slice, worker: int) -> None:
        np.maximum(source[block], 0, out=target[block])

    share_blocks(source.size, one)


def relu_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    """dx = dy where the output y was positive or NaN, else exactly 0.

    dy  (N, H, W, D)   float32 or float64, in
    y   (N, H, W, D)   same dtype, in: what relu_forward wrote
    dx  (N, H, W, D)   same dtype, out; may be dy or y
    Where y is 0, dx is +0 even if dy is NaN or infinite.
    Source: CS231n "Backpropagation": max routes the gradient.
    """
    above, output, target = dy.reshape(-1), y.reshape(-1), dx.reshape(-1)

    def one(block: slice, worker: int) -> None:
        passed = np.less_equal(output[block], 0)
        np.logical_not(passed, out=passed)  # so that a NaN passes
        select(above[block], passed, target[block])

    share_blocks(above.size, one)
