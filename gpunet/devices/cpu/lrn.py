"""Local response normalization on the CPU, an image at a time. Source: Krizhevsky et al. 2012, section 3.3."""

from collections.abc import Iterator

import numpy as np

from gpunet.devices.cpu.halves import by_image
from gpunet.devices.cpu.threads import share

__all__ = ["lrn_backward", "lrn_forward"]


@by_image("y")
def lrn_forward(x: np.ndarray, y: np.ndarray, *, F: int, maps: int, alpha: float, beta: float, k: float) -> None:
    """y = x * scale**-beta, scale = k + alpha * (sum of x*x over the box around x: F x F positions of `maps` maps).

    x   (N, H, W, D)   float32 or float64, in
    y   (N, H, W, D)   same dtype, out; not x
    F, maps  odd; the box ends at the edges of the volume
    Sums run in row-major order. NaN anywhere in a box makes y NaN; an infinite x too, as its scale is infinite.
    """

    def one(n: int, worker: int) -> None:
        with np.errstate(invalid="ignore", over="ignore"):
            scale = _scale(x[n], F, maps, alpha, k)
            np.multiply(x[n], np.power(scale, -beta, out=scale), out=y[n])

    share(range(len(x)), one)


@by_image("dx")
def lrn_backward(
    dy: np.ndarray, x: np.ndarray, dx: np.ndarray, *, F: int, maps: int, alpha: float, beta: float, k: float
) -> None:
    """dx = dy * scale**-beta - 2*alpha*beta * x * (sum of dy * x * scale**-beta / scale over the box around x).

    dy  (N, H, W, D)   float32 or float64, in
    x   (N, H, W, D)   same dtype, in
    dx  (N, H, W, D)   same dtype, out; neither of the others
    The scale of lrn_forward is made again, not kept. Boxes are symmetric: whom x sees sees x.
    """

    def one(n: int, worker: int) -> None:
        with np.errstate(invalid="ignore", over="ignore"):
            scale = _scale(x[n], F, maps, alpha, k)
            shrink = np.power(scale, -beta)
            pull = _box_sum(dy[n] * x[n] * shrink / scale, F, maps)
            np.multiply(dy[n], shrink, out=dx[n])
            np.subtract(dx[n], 2 * alpha * beta * x[n] * pull, out=dx[n])

    share(range(len(x)), one)


def _scale(image: np.ndarray, F: int, maps: int, alpha: float, k: float) -> np.ndarray:
    """(H, W, D): k + alpha * (sum of squares around each value)."""
    scale = _box_sum(image * image, F, maps)
    np.multiply(scale, alpha, out=scale)
    np.add(scale, k, out=scale)
    return scale


def _box_sum(image: np.ndarray, F: int, maps: int) -> np.ndarray:
    """(H, W, D): the sum of what the box around each value holds."""
    H, W, D = image.shape
    total = np.zeros_like(image)
    for row, above in _shifts(H, F):
        for column, left in _shifts(W, F):
            for d, before in _shifts(D, maps):
                here = total[row, column, d]
                np.add(here, image[above, left, before], out=here)
    return total


def _shifts(size: int, extent: int) -> Iterator[tuple[slice, slice]]:
    """(positions of an axis, their neighbours) for every distance that a box reaches, from the lowest up."""
    reach = min(extent // 2, size - 1)
    for shift in range(-reach, reach + 1):
        first, last = max(0, -shift), size - max(0, shift)
        yield slice(first, last), slice(first + shift, last + shift)
