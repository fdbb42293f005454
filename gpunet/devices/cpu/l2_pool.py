"""L2-norm pooling on the CPU: one pass for each position in a window, as max pooling.

Source: CS231n "Pooling Layer", "General pooling".
"""

import numpy as np

from gpunet.devices.cpu.halves import by_image
from gpunet.devices.cpu.threads import share
from gpunet.devices.cpu.window import Axes, Chunk, blocks, each_position, gather

__all__ = ["l2_pool_backward", "l2_pool_forward"]


@by_image("y")
def l2_pool_forward(x: np.ndarray, y: np.ndarray, *, F: int, S: int, P: int) -> None:
    """y = sqrt(sum of x*x) over each F x F window at stride S, with P zeros around x.

    x   (N, H, W, D)    float32 or float64, in
    y   (N, H2, W2, D)  same dtype, out; any H2, W2: windows may hang over the edges
    Sums run in row-major order; NaN anywhere in a window is its length. Squares may overflow: a value beyond the root
    of the largest number (1.8e19 in float32) gives infinity.
    Source: CS231n "Pooling Layer"; torch.nn.LPPool2d with norm_type=2.
    """
    l2_forward(x, y, (F, F), (S, S), (P, P))


@by_image("dx")
def l2_pool_backward(dy: np.ndarray, x: np.ndarray, y: np.ndarray, dx: np.ndarray, *, F: int, S: int, P: int) -> None:
    """Each value of dx is the sum of dy * (x / y) over the windows that see it; one whose y is 0 adds exactly 0.

    dy  (N, H2, W2, D)  float32 or float64, in
    x   (N, H, W, D)    same dtype, in
    y   (N, H2, W2, D)  same dtype, in: what l2_pool_forward wrote
    dx  (N, H, W, D)    same dtype, out; exactly 0 where no window looks
    A length has no slope at 0; 0 is the one nearest to the slopes around it. (PyTorch gives NaN there.)
    Sums run over the windows in row-major order.
    """
    l2_backward(dy, x, y, dx, (F, F), (S, S), (P, P))


def l2_forward(x: np.ndarray, y: np.ndarray, F: Axes, S: Axes, P: Axes) -> None:
    """As l2_pool_forward says, F, S and P for rows and for columns."""

    def one(chunk: Chunk, worker: int) -> None:
        image0, image1, row0, row1 = chunk
        sums = y[image0:image1, row0:row1]
        sums[...] = 0
        with np.errstate(over="ignore"):
            for _, rows, columns, seen in each_position(x, chunk, y.shape[2], F, S, P):
                np.add(sums[:, rows, columns], seen * seen, out=sums[:, rows, columns])
        np.sqrt(sums, out=sums)

    share(blocks(y), one)


def l2_backward(dy: np.ndarray, x: np.ndarray, y: np.ndarray, dx: np.ndarray, F: Axes, S: Axes, P: Axes) -> None:
    """As l2_pool_backward says, F, S and P for rows and for columns."""

    def add(chunk: Chunk) -> None:
        image0, image1, row0, row1 = chunk
        above, lengths = dy[image0:image1, row0:row1], y[image0:image1, row0:row1]
        places = each_position(dx, chunk, dy.shape[2], F, S, P, backwards=True)
        sources = each_position(x, chunk, dy.shape[2], F, S, P, backwards=True)
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            for (_, down, across, target), (_, _, _, values) in zip(places, sources, strict=True):
                length = lengths[:, down, across]
                slopes = np.divide(values, length)
                np.multiply(slopes, above[:, down, across], out=slopes)
                np.copyto(slopes, 0, where=length == 0)
                np.add(target, slopes, out=target)

    gather(dy, dx, add)
