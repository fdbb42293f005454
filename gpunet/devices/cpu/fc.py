"""Fully connected layers on the CPU: three BLAS products, each worker making a part of the result.

Source: CS231n "Fully-connected layer"; "Backpropagation, gradients for vectorized operations".
"""

import numpy as np

from gpunet.devices.cpu.half_products import connecting
from gpunet.devices.cpu.threads import share, split

__all__ = ["fc_backward_input", "fc_backward_weights", "fc_forward"]

FEW_IMAGES, MANY_WEIGHTS = 8, 2**22
"""Up to so many images, and from so many weights on, a product takes less time an image at a time."""

CACHED = 200_000
"""Weights that stay in a core's own cache."""


@connecting
def fc_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    workspace: np.ndarray | None,
    *,
    algorithm: str = "library",
    tile: int = 0,
    slices: int = 1,
) -> None:
    """Every output sees every input: y[n, 0, 0, k] = b[k] + sum of w[k] * x[n].

    x          (N, H, W, D)   float32 or float64, in; flattened H, W, D
    w          (K, inputs)    same dtype, in; inputs = H*W*D
    b          (K,)           same dtype, in; None: 0
    y          (N, 1, 1, K)   same dtype, out
    workspace  unused on the CPU
    algorithm, tile, slices  how a GPU multiplies; unused on the CPU
    Source: CS231n "Fully-connected layer".
    """
    inputs, scores = _rows(x), _rows(y)
    few = len(inputs) <= FEW_IMAGES and w.size >= MANY_WEIGHTS

    def one(part: slice, worker: int) -> None:
        if few:
            _multiply_few(inputs, w[part], scores[:, part])
        else:
            np.matmul(inputs, w[part].T, out=scores[:, part])
        if b is not None:
            np.add(scores[:, part], b[part], out=scores[:, part])

    share(split(len(w)), one)


def _multiply_few(inputs: np.ndarray, w: np.ndarray, scores: np.ndarray) -> None:
    """scores (N, K) = inputs (N, L) times the transpose of w (K, L), an image and some filters at a time.

    BLAS would put all of w into another order first, which takes longer than to multiply it by few images. Here some of
    it is read into the cache once, for all images.
    """
    step = max(1, CACHED // w.shape[1])
    for first in range(0, len(w), step):
        for image, values in enumerate(inputs):
            np.matmul(w[first : first + step], values, out=scores[image, first : first + step])


@connecting
def fc_backward_weights(
    x: np.ndarray,
    dy: np.ndarray,
    dw: np.ndarray,
    workspace: np.ndarray | None,
    *,
    algorithm: str = "library",
    tile: int = 0,
    slices: int = 1,
    accumulate: int = 0,
) -> None:
    """dw[k] = sum over n of dy[n, 0, 0, k] * x[n].

    x          (N, H, W, D)   float32 or float64, in; flattened H, W, D
    dy         (N, 1, 1, K)   same dtype, in
    dw         (K, inputs)    same dtype, out; inputs = H*W*D; where accumulate is 1, in and out: the sum is added to it
    workspace  (>= K*inputs,) same dtype, scratch for the sum where accumulate is 1; else unused on the CPU
    algorithm, tile, slices  as in fc_forward
    Source: CS231n "Backpropagation, gradients for vectorized operations".
    """
    inputs, above = _rows(x), _rows(dy).T

    def one(part: slice, worker: int) -> None:
        if not accumulate:
            np.matmul(above, inputs[:, part], out=dw[:, part])
            return
        assert workspace is not None  # the plan gives it wherever gradients are added up
        K, (first, last, _) = len(dw), part.indices(dw.shape[1])
        product = workspace[K * first : K * last].reshape(K, last - first)
        np.matmul(above, inputs[:, part], out=product)
        np.add(dw[:, part], product, out=dw[:, part])

    share(split(inputs.shape[1]), one)


@connecting
def fc_backward_input(
    dy: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
    *,
    algorithm: str = "library",
    tile: int = 0,
    slices: int = 1,
) -> None:
    """dx[n] = sum over k of dy[n, 0, 0, k] * w[k].

    dy         (N, 1, 1, K)   float32 or float64, in
    w          (K, inputs)    same dtype, in; inputs = H*W*D
    dx         (N, H, W, D)   same dtype, out; flattened H, W, D
    workspace  unused on the CPU
    algorithm, tile, slices  as in fc_forward
    Source: CS231n "Backpropagation, gradients for vectorized operations".
    """
    above, gradients = _rows(dy), _rows(dx)

    def one(part: slice, worker: int) -> None:
        np.matmul(above, w[:, part], out=gradients[:, part])

    share(split(gradients.shape[1]), one)


def _rows(array: np.ndarray) -> np.ndarray:
    """A view with one row for each image."""
    return array.reshape(len(array), -1)
