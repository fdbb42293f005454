"""Sigmoid and tanh on the CPU. Source: CS231n "Commonly used activation functions"."""

from collections.abc import Callable

import numpy as np

from gpunet.devices.cpu.halves import by_position
from gpunet.devices.cpu.threads import share_blocks

__all__ = ["sigmoid_backward", "sigmoid_forward", "tanh_backward", "tanh_forward"]


@by_position("y")
def sigmoid_forward(x: np.ndarray, y: np.ndarray) -> None:
    """y = 1 / (1 + exp(-x)), elementwise.

    x   (N, H, W, D)   float32 or float64, in
    y   (N, H, W, D)   same dtype, out; may be x
    NaN stays NaN. Only exp(-|x|) is taken, which never overflows: left of 0, y = exp(x) / (1 + exp(x)), right to the
    last digit down to the smallest numbers; -inf gives 0, +inf gives 1.
    """
    source, target = x.reshape(-1), y.reshape(-1)

    def one(block: slice, worker: int) -> None:
        exponents = np.exp(-np.abs(source[block]))
        above = np.where(source[block] >= 0, source.dtype.type(1), exponents)
        np.divide(above, 1 + exponents, out=target[block])

    share_blocks(source.size, one)


@by_position("dx")
def sigmoid_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    """dx = dy * (y * (1 - y)).

    dy  (N, H, W, D)   float32 or float64, in
    y   (N, H, W, D)   same dtype, in: what sigmoid_forward wrote
    dx  (N, H, W, D)   same dtype, out; may be dy or y
    Where y is 0 or 1 the slope is 0, and an infinite dy gives NaN.
    """
    _backward(dy, y, dx, lambda y: y * (1 - y))


@by_position("y")
def tanh_forward(x: np.ndarray, y: np.ndarray) -> None:
    """y = tanh(x), elementwise.

    x   (N, H, W, D)   float32 or float64, in
    y   (N, H, W, D)   same dtype, out; may be x
    NaN stays NaN.
    """
    source, target = x.reshape(-1), y.reshape(-1)

    def one(block: slice, worker: int) -> None:
        np.tanh(source[block], out=target[block])

    share_blocks(source.size, one)


@by_position("dx")
def tanh_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    """dx = dy * ((1 - y) * (1 + y)), which near y = 1 and -1 is more exact than 1 - y*y.

    dy  (N, H, W, D)   float32 or float64, in
    y   (N, H, W, D)   same dtype, in: what tanh_forward wrote
    dx  (N, H, W, D)   same dtype, out; may be dy or y
    Where y is 1 or -1 the slope is 0, and an infinite dy gives NaN.
    """
    _backward(dy, y, dx, lambda y: (1 - y) * (1 + y))


def _backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray, slope: Callable[[np.ndarray], np.ndarray]) -> None:
    """dx = dy * slope(y), block by block."""
    above, output, target = dy.reshape(-1), y.reshape(-1), dx.reshape(-1)

    def one(block: slice, worker: int) -> None:
        with np.errstate(invalid="ignore"):  # infinity times 0
            np.multiply(above[block], slope(output[block]), out=target[block])

    share_blocks(above.size, one)
