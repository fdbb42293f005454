"""Merges on the CPU: sums and concatenation along depth. Source: He et al. 2015; Szegedy et al. 2014."""

import numpy as np

from gpunet.devices.cpu.threads import share, share_blocks

__all__ = ["add", "concat_backward", "concat_forward"]


def add(a: np.ndarray, b: np.ndarray, y: np.ndarray) -> None:
    """y = a + b, elementwise.

    a   (N, H, W, D)   float32 or float64, in
    b   (N, H, W, D)   same dtype, in
    y   (N, H, W, D)   same dtype, out; may be a or b
    """
    left, right, target = a.reshape(-1), b.reshape(-1), y.reshape(-1)

    def one(block: slice, worker: int) -> None:
        np.add(left[block], right[block], out=target[block])

    share_blocks(left.size, one)


def concat_forward(*arrays: np.ndarray) -> None:
    """The maps of x1, then those of x2, and so on.

    x1, x2, ...  (N, H, W, D1), (N, H, W, D2), ...   float32 or float64, in
    y            (N, H, W, D1 + D2 + ...)            same dtype, out; the last one; none of the others
    """
    *xs, y = arrays

    def one(n: int, worker: int) -> None:
        np.concatenate([x[n] for x in xs], axis=2, out=y[n])

    share(range(len(y)), one)


def concat_backward(*arrays: np.ndarray) -> None:
    """Each input of a concatenation gets the gradient of its maps.

    dy             (N, H, W, D1 + D2 + ...)            float32 or float64, in; the first one
    dx1, dx2, ...  (N, H, W, D1), (N, H, W, D2), ...   same dtype, out; none is dy
    """
    dy, *dxs = arrays

    def one(n: int, worker: int) -> None:
        first = 0
        for dx in dxs:
            dx[n] = dy[n, :, :, first : first + dx.shape[3]]
            first += dx.shape[3]

    share(range(len(dy)), one)
