"""The units of later nets on the CPU: clip, hard sigmoid, ELU and softplus, SiLU, hard-swish and GELU.

Sources: see gpunet.layers.units.
"""

from collections.abc import Callable
from math import pi, sqrt

import numpy as np

from gpunet.devices.cpu.halves import by_position
from gpunet.devices.cpu.normal import normal_below, normal_density
from gpunet.devices.cpu.select import select
from gpunet.devices.cpu.threads import share_blocks

__all__ = [
    "clip_backward",
    "clip_forward",
    "elu_backward",
    "elu_forward",
    "gelu_backward",
    "gelu_forward",
    "hard_sigmoid_backward",
    "hard_sigmoid_forward",
    "hard_swish_backward",
    "hard_swish_forward",
    "silu_backward",
    "silu_forward",
    "softplus_backward",
    "softplus_forward",
]

SCALE, CUBIC = sqrt(2 / pi), 0.044715
"""Of GELU by tanh: tanh(SCALE * (x + CUBIC * x^3))."""


@by_position("y")
def clip_forward(x: np.ndarray, y: np.ndarray, *, low: float, high: float) -> None:
    """y = min(max(low, x), high), elementwise.

    x   (N, H, W, D)   float32 or float64, in
    y   (N, H, W, D)   same dtype, out; may be x
    NaN stays NaN.
    """
    _each(x, y, lambda x: np.clip(x, low, high))


@by_position("dx")
def clip_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray, *, low: float, high: float) -> None:
    """dx = dy where low < y < high or y is NaN, else exactly 0.

    dy  (N, H, W, D)   float32 or float64, in
    y   (N, H, W, D)   same dtype, in: what clip_forward wrote
    dx  (N, H, W, D)   same dtype, out; may be dy or y
    """
    _where(dy, y, dx, lambda y: ~((y <= low) | (y >= high)))


@by_position("y")
def hard_sigmoid_forward(x: np.ndarray, y: np.ndarray) -> None:
    """y = min(max(0, x + 3), 6) / 6, elementwise.

    x   (N, H, W, D)   float32 or float64, in
    y   (N, H, W, D)   same dtype, out; may be x
    NaN stays NaN.
    """
    _each(x, y, _gate)


@by_position("dx")
def hard_sigmoid_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    """dx = dy / 6 where 0 < y < 1 or y is NaN, else exactly 0.

    dy  (N, H, W, D)   float32 or float64, in
    y   (N, H, W, D)   same dtype, in: what hard_sigmoid_forward wrote
    dx  (N, H, W, D)   same dtype, out; may be dy or y
    """
    _where(dy, y, dx, lambda y: ~((y <= 0) | (y >= 1)), 6)


@by_position("y")
def elu_forward(x: np.ndarray, y: np.ndarray, *, alpha: float) -> None:
    """y = x where x > 0, else alpha * (exp(x) - 1).

    x   (N, H, W, D)   float32 or float64, in
    y   (N, H, W, D)   same dtype, out; may be x
    NaN stays NaN.
    """
    _each(x, y, lambda x: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))))


@by_position("dx")
def elu_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray, *, alpha: float) -> None:
    """dx = dy where y > 0, else dy * (y + alpha).

    dy  (N, H, W, D)   float32 or float64, in
    y   (N, H, W, D)   same dtype, in: what elu_forward wrote
    dx  (N, H, W, D)   same dtype, out; may be dy or y
    """
    _times(dy, y, dx, lambda y: np.where(y > 0, y.dtype.type(1), y + y.dtype.type(alpha)))


@by_position("y")
def softplus_forward(x: np.ndarray, y: np.ndarray) -> None:
    """y = log(1 + exp(x)), elementwise.

    x   (N, H, W, D)   float32 or float64, in
    y   (N, H, W, D)   same dtype, out; may be x
    NaN stays NaN. As max(x, 0) + log(1 + exp(-|x|)), which never overflows and keeps the digits of small results.
    """
    _each(x, y, lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


@by_position("dx")
def softplus_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    """dx = dy * (1 - exp(-y)), which is sigmoid(x).

    dy  (N, H, W, D)   float32 or float64, in
    y   (N, H, W, D)   same dtype, in: what softplus_forward wrote
    dx  (N, H, W, D)   same dtype, out; may be dy or y
    Where y is 0 the slope is 0, and an infinite dy gives NaN.
    """
    _times(dy, y, dx, lambda y: -np.expm1(-y))


@by_position("y")
def silu_forward(x: np.ndarray, y: np.ndarray) -> None:
    """y = x * sigmoid(x), elementwise.

    x   (N, H, W, D)   float32 or float64, in
    y   (N, H, W, D)   same dtype, out; may be x
    NaN stays NaN; -inf, times 0, gives NaN.
    """
    _each(x, y, lambda x: x * _sigmoid(x))


@by_position("dx")
def silu_backward(dy: np.ndarray, x: np.ndarray, dx: np.ndarray) -> None:
    """dx = dy * s * (1 + x * (1 - s)), s = sigmoid(x).

    dy  (N, H, W, D)   float32 or float64, in
    x   (N, H, W, D)   same dtype, in: what silu_forward read
    dx  (N, H, W, D)   same dtype, out; may be dy or x
    An infinite x gives NaN.
    """
    _times(dy, x, dx, lambda x: _sigmoid(x) * (1 + x * _sigmoid(-x)))


@by_position("y")
def hard_swish_forward(x: np.ndarray, y: np.ndarray) -> None:
    """y = x * min(max(0, x + 3), 6) / 6, elementwise.

    x   (N, H, W, D)   float32 or float64, in
    y   (N, H, W, D)   same dtype, out; may be x
    NaN stays NaN; -inf, times 0, gives NaN.
    """
    _each(x, y, lambda x: x * _gate(x))


@by_position("dx")
def hard_swish_backward(dy: np.ndarray, x: np.ndarray, dx: np.ndarray) -> None:
    """dx = 0 where x <= -3, dy where x >= 3, else dy * (x/3 + 1/2).

    dy  (N, H, W, D)   float32 or float64, in
    x   (N, H, W, D)   same dtype, in: what hard_swish_forward read
    dx  (N, H, W, D)   same dtype, out; may be dy or x
    NaN for an x that is NaN. Where x <= -3, an infinite dy gives NaN.
    """
    _times(dy, x, dx, lambda x: np.where(x <= -3, 0, np.where(x >= 3, 1, x / 3 + x.dtype.type(0.5))))


@by_position("y")
def gelu_forward(x: np.ndarray, y: np.ndarray, *, by_tanh: int) -> None:
    """y = x * p(x), p the probability that a standard normal number is below x.

    x        (N, H, W, D)   float32 or float64, in
    y        (N, H, W, D)   same dtype, out; may be x
    by_tanh  1: p(x) = (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))) / 2
    NaN stays NaN; -inf, times 0, gives NaN.
    """
    _each(x, y, lambda x: x * ((1 + _bend(x)) / 2 if by_tanh else normal_below(x)))


@by_position("dx")
def gelu_backward(dy: np.ndarray, x: np.ndarray, dx: np.ndarray, *, by_tanh: int) -> None:
    """dx = dy * (p(x) + x * p'(x)), p as gelu_forward has it.

    dy  (N, H, W, D)   float32 or float64, in
    x   (N, H, W, D)   same dtype, in: what gelu_forward read
    dx  (N, H, W, D)   same dtype, out; may be dy or x
    An infinite x gives NaN.
    """

    def by_bend(x: np.ndarray) -> np.ndarray:
        bend = _bend(x)
        steepness = x.dtype.type(SCALE) * (1 + x.dtype.type(3 * CUBIC) * x * x)
        slope: np.ndarray = (1 + bend) / 2 * (1 + x * (1 - bend) * steepness)
        return slope

    _times(dy, x, dx, by_bend if by_tanh else lambda x: normal_below(x) + x * normal_density(x))


def _gate(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(x + 3, 0, 6) / 6)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    exponents = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, x.dtype.type(1), exponents) / (1 + exponents))


def _bend(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.tanh(x.dtype.type(SCALE) * (x + x.dtype.type(CUBIC) * x * x * x)))


Rule = Callable[[np.ndarray], np.ndarray]


def _each(x: np.ndarray, y: np.ndarray, rule: Rule) -> None:
    """y = rule(x), block by block."""
    source, target = x.reshape(-1), y.reshape(-1)

    def one(block: slice, worker: int) -> None:
        target[block] = rule(source[block])

    share_blocks(source.size, one)


def _times(dy: np.ndarray, seen: np.ndarray, dx: np.ndarray, slope: Rule) -> None:
    """dx = dy * slope(seen), block by block."""
    above, known, target = dy.reshape(-1), seen.reshape(-1), dx.reshape(-1)

    def one(block: slice, worker: int) -> None:
        np.multiply(above[block], slope(known[block]), out=target[block])

    share_blocks(above.size, one)


def _where(dy: np.ndarray, seen: np.ndarray, dx: np.ndarray, rises: Rule, parts: int = 1) -> None:
    """dx = dy / parts where the function rises, else exactly 0, block by block."""
    above, known, target = dy.reshape(-1), seen.reshape(-1), dx.reshape(-1)

    def one(block: slice, worker: int) -> None:
        select(above[block] / parts, rises(known[block]), target[block])

    share_blocks(above.size, one)
