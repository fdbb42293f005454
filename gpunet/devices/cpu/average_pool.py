"""Average pooling on the CPU: one pass for each position in a window, as max pooling.

Source: CS231n "Pooling Layer", "General pooling".
"""

import numpy as np

from gpunet.devices.cpu.halves import by_image
from gpunet.devices.cpu.threads import share
from gpunet.devices.cpu.window import NOTHING, Around, Axes, Chunk, blocks, counts, each_position, gather

__all__ = ["average_pool_backward", "average_pool_forward"]


@by_image("y")
def average_pool_forward(x: np.ndarray, y: np.ndarray, *, F: int, S: int, P: int) -> None:
    """Average over each F x F window at stride S, P rows and columns around x, of the values of x that it sees.

    x   (N, H, W, D)    float32 or float64, in
    y   (N, H2, W2, D)  same dtype, out; any H2, W2 such that every window sees something
    The divisor is how many positions of x the window sees: neither padding nor what hangs over an edge counts. That is
    PyTorch's count_include_pad=False. PyTorch's default and Caffe count padding, but not what lies beyond it.
    Sums run in row-major order; NaN anywhere in a window is its average.
    Source: CS231n "Pooling Layer".
    """
    average_forward(x, y, (F, F), (S, S), (P, P))


@by_image("dx")
def average_pool_backward(dy: np.ndarray, dx: np.ndarray, *, F: int, S: int, P: int) -> None:
    """Each value of dx is the sum, over the windows that see it, of dy / (how many positions the window sees).

    dy  (N, H2, W2, D)  float32 or float64, in
    dx  (N, H, W, D)    same dtype, out; exactly 0 where no window looks
    Sums run over the windows in row-major order.
    Source: CS231n "Pooling Layer", "Backpropagation".
    """
    average_backward(dy, dx, (F, F), (S, S), (P, P))


def average_forward(x: np.ndarray, y: np.ndarray, F: Axes, S: Axes, P: Axes, around: Around = NOTHING) -> None:
    """As average_pool_forward says, F, S and P for rows and for columns; `around` counts in divisors too."""
    seen_by = counts(x, y, F, S, P, around)

    def one(chunk: Chunk, worker: int) -> None:
        image0, image1, row0, row1 = chunk
        sums = y[image0:image1, row0:row1]
        sums[...] = 0
        with np.errstate(invalid="ignore", over="ignore"):  # of infinities
            for _, rows, columns, seen in each_position(x, chunk, y.shape[2], F, S, P):
                np.add(sums[:, rows, columns], seen, out=sums[:, rows, columns])
            np.divide(sums, seen_by[row0:row1], out=sums)

    share(blocks(y), one)


def average_backward(dy: np.ndarray, dx: np.ndarray, F: Axes, S: Axes, P: Axes, around: Around = NOTHING) -> None:
    """As average_pool_backward says, F, S and P for rows and for columns; `around` counts in divisors too."""
    seen_by = counts(dx, dy, F, S, P, around)

    def add(chunk: Chunk) -> None:
        image0, image1, row0, row1 = chunk
        with np.errstate(invalid="ignore", over="ignore"):
            shares = dy[image0:image1, row0:row1] / seen_by[row0:row1]
            for _, down, across, target in each_position(dx, chunk, dy.shape[2], F, S, P, backwards=True):
                np.add(target, shares[:, down, across], out=target)

    gather(dy, dx, add)
