"""Merges on the CPU: sums, concatenation along depth, products and maxima. Sources: see gpunet.layers.merge."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from gpunet.devices.cpu.halves import by_image, by_position
from gpunet.devices.cpu.select import select
from gpunet.devices.cpu.threads import share, share_blocks, share_values

__all__ = [
    "add",
    "add_scaled",
    "concat_backward",
    "concat_forward",
    "maximum",
    "maximum_backward",
    "multiply",
    "multiply_backward_gate",
    "scaled",
]


@by_position("y")
def add(a: np.ndarray, b: np.ndarray, y: np.ndarray) -> None:
    """y = a + b, elementwise.

    a   (N, H, W, D)   float32 or float64, in; may be maps of a wider volume
    b   (N, H, W, D)   same dtype, in; may be maps of a wider volume
    y   (N, H, W, D)   same dtype, out; may be a or b
    """
    share_values(lambda left, right, target: np.add(left, right, out=target), a, b, y)


@by_position("y")
def add_scaled(a: np.ndarray, b: np.ndarray, y: np.ndarray, *, of_a: float, of_b: float) -> None:
    """y = of_a * a + of_b * b, elementwise.

    a   (N, H, W, D)   float32 or float64, in
    b   (N, H, W, D)   same dtype, in
    y   (N, H, W, D)   same dtype, out; may be a or b
    """
    left, right, target = a.reshape(-1), b.reshape(-1), y.reshape(-1)

    def one(block: slice, worker: int) -> None:
        np.add(of_a * left[block], of_b * right[block], out=target[block])

    share_blocks(left.size, one)


@by_position("y")
def scaled(x: np.ndarray, y: np.ndarray, *, factor: float) -> None:
    """y = factor * x, elementwise.

    x   (N, H, W, D)   float32 or float64, in
    y   (N, H, W, D)   same dtype, out; may be x
    """
    source, target = x.reshape(-1), y.reshape(-1)

    def one(block: slice, worker: int) -> None:
        np.multiply(source[block], factor, out=target[block])

    share_blocks(source.size, one)


@by_image("y")
def multiply(a: np.ndarray, b: np.ndarray, y: np.ndarray) -> None:
    """y = a * b, elementwise; a b of one position an image stands for all of a's.

    a   (N, H, W, D)                    float32 or float64, in
    b   (N, H, W, D) or (N, 1, 1, D)    same dtype, in
    y   (N, H, W, D)                    same dtype, out; may be a, or a b of a's shape
    """
    share(range(len(a)), lambda n, worker: np.multiply(a[n], b[n], out=y[n]))


@by_image("db")
def multiply_backward_gate(dy: np.ndarray, a: np.ndarray, db: np.ndarray) -> None:
    """db = sum of dy * a over the positions of an image, of each map.

    dy  (N, H, W, D)   float32 or float64, in
    a   (N, H, W, D)   same dtype, in: what the gate stood beside
    db  (N, 1, 1, D)   same dtype, out
    Source: Hu et al. 2018, "Squeeze-and-excitation networks".
    """
    share(range(len(a)), lambda n, worker: np.add.reduce(dy[n] * a[n], axis=(0, 1), out=db[n, 0, 0]))


@by_position("y")
def maximum(a: np.ndarray, b: np.ndarray, y: np.ndarray) -> None:
    """y = the larger of a and b, elementwise.

    a   (N, H, W, D)   float32 or float64, in
    b   (N, H, W, D)   same dtype, in
    y   (N, H, W, D)   same dtype, out; may be a or b
    NaN in either is the maximum.
    """
    left, right, target = a.reshape(-1), b.reshape(-1), y.reshape(-1)

    def one(block: slice, worker: int) -> None:
        np.maximum(left[block], right[block], out=target[block])

    share_blocks(left.size, one)


@by_position("da", "db")
def maximum_backward(dy: np.ndarray, a: np.ndarray, b: np.ndarray, da: np.ndarray, db: np.ndarray) -> None:
    """dy goes to where the maximum was: to a where a >= b or a is NaN, else to b; the other gets exactly 0.

    dy      (N, H, W, D)   float32 or float64, in
    a, b    (N, H, W, D)   same dtype, in: what maximum read
    da, db  (N, H, W, D)   same dtype, out; each may be dy, a or b
    """
    above, left, right = (values.reshape(-1) for values in (dy, a, b))
    to_left, to_right = da.reshape(-1), db.reshape(-1)

    def one(block: slice, worker: int) -> None:
        wins = (left[block] >= right[block]) | (left[block] != left[block])
        gradients = above[block].copy()  # da may be dy
        select(gradients, wins, to_left[block])
        select(gradients, ~wins, to_right[block])

    share_blocks(left.size, one)


def concat_forward(*arrays: np.ndarray) -> None:
    """The maps of x1, then those of x2, and so on.

    x1, x2, ...  (N, H, W, D1), (N, H, W, D2), ...   float32 or float64, in
    y            (N, H, W, D1 + D2 + ...)            same dtype, out; the last one
    All may be maps of wider volumes. An input that is those maps of y where it goes is not copied.
    """
    *xs, y = arrays
    _copy([(x, place) for x, place in zip(xs, _places(y, xs), strict=True)])


def concat_backward(*arrays: np.ndarray) -> None:
    """Each input of a concatenation gets the gradient of its maps.

    dy             (N, H, W, D1 + D2 + ...)            float32 or float64, in; the first one
    dx1, dx2, ...  (N, H, W, D1), (N, H, W, D2), ...   same dtype, out
    All may be maps of wider volumes. An output that is those maps of dy where it comes from is not copied.
    """
    dy, *dxs = arrays
    _copy([(place, dx) for dx, place in zip(dxs, _places(dy, dxs), strict=True)])


def _places(whole: np.ndarray, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The maps of a volume that belong to each of its parts."""
    begins = accumulate((part.shape[3] for part in parts), initial=0)
    return [whole[..., first : first + part.shape[3]] for first, part in zip(begins, parts, strict=False)]


def _copy(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """Each first one to the second, but where they are the same."""
    moved = [(x, y) for x, y in pairs if (x.ctypes.data, x.strides) != (y.ctypes.data, y.strides)]

    def one(n: int, worker: int) -> None:
        for x, y in moved:
            np.copyto(y[n], x[n])

    share(range(len(pairs[0][0]) if moved else 0), one)
