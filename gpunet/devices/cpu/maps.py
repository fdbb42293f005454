"""Slices and shuffles of maps on the CPU. Sources: Caffe's Slice layer; Zhang et al. 2018, "ShuffleNet"."""

import numpy as np

from gpunet.devices.cpu.threads import share

__all__ = ["shuffle", "slice_backward", "slice_forward"]


def slice_forward(x: np.ndarray, y: np.ndarray, *, first: int) -> None:
    """The maps of x from `first` on, as many as y has.

    x   (N, H, W, D)    float32 or float64, in
    y   (N, H, W, D2)   same dtype, out; not x; first + D2 <= D
    """
    share(range(len(x)), lambda n, worker: np.copyto(y[n], x[n, :, :, first : first + y.shape[3]]))


def slice_backward(dy: np.ndarray, dx: np.ndarray, *, first: int) -> None:
    """dx = dy in the maps from `first` on, exactly 0 in all others.

    dy  (N, H, W, D2)   float32 or float64, in
    dx  (N, H, W, D)    same dtype, out; not dy; first + D2 <= D
    """

    def one(n: int, worker: int) -> None:
        dx[n] = 0
        dx[n, :, :, first : first + dy.shape[3]] = dy[n]

    share(range(len(dx)), one)


def shuffle(x: np.ndarray, y: np.ndarray, *, groups: int) -> None:
    """Map i of group g of x becomes map i*groups + g of y; backward is the shuffle of D / groups groups.

    x   (N, H, W, D)   float32 or float64, in; groups of D / groups maps
    y   (N, H, W, D)   same dtype, out; not x
    Source: Zhang et al. 2018, "ShuffleNet".
    """
    H, W, D = x.shape[1:]

    def one(n: int, worker: int) -> None:
        dealt = y[n].reshape(H, W, D // groups, groups)
        np.copyto(dealt, x[n].reshape(H, W, groups, D // groups).swapaxes(2, 3))

    share(range(len(x)), one)
