"""Pooling on the CPU by windows that are not the same along rows and columns, and averages of parts of maps.

Square windows with equal sides have ops of their own. Sources: CS231n "Pooling Layer"; parts of a map: He et al. 2014,
"Spatial pyramid pooling in deep convolutional networks".
"""

from collections.abc import Iterator

import numpy as np

from gpunet.devices.cpu.average_pool import average_backward, average_forward
from gpunet.devices.cpu.halves import by_image
from gpunet.devices.cpu.l2_pool import l2_backward, l2_forward
from gpunet.devices.cpu.pool import max_backward, max_forward, max_infer
from gpunet.devices.cpu.threads import share

__all__ = [
    "adaptive_pool_backward",
    "adaptive_pool_forward",
    "average_pool_by_axis_backward",
    "average_pool_by_axis_forward",
    "l2_pool_by_axis_backward",
    "l2_pool_by_axis_forward",
    "max_pool_by_axis_backward",
    "max_pool_by_axis_forward",
    "max_pool_by_axis_infer",
]


@by_image("y")
def max_pool_by_axis_forward(
    x: np.ndarray,
    y: np.ndarray,
    switches: np.ndarray,
    *,
    F_rows: int,
    F_columns: int,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
) -> None:
    """Maximum over each window of F_rows x F_columns, as max_pool_forward has it, and where it was.

    x         (N, H, W, D)    float32 or float64, in
    y         (N, H2, W2, D)  same dtype, out; any H2, W2: windows may hang over the edges
    switches  (N, H2, W2, D)  uint8 (at most 256 places) or int32, out; row*F_columns + column inside the window; or, of
              at most 15 places, halves of bytes, as max_pool_forward has them
    Windows move S_rows and S_columns at a time, from P_top rows and P_left columns before x.
    Source: CS231n "Pooling Layer".
    """
    max_forward(x, y, switches, (F_rows, F_columns), (S_rows, S_columns), (P_top, P_left))


@by_image("y")
def max_pool_by_axis_infer(
    x: np.ndarray,
    y: np.ndarray,
    *,
    F_rows: int,
    F_columns: int,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
) -> None:
    """Maximum over each window, as max_pool_by_axis_forward, without remembering where it was.

    x   (N, H, W, D)    float32 or float64, in
    y   (N, H2, W2, D)  same dtype, out
    """
    max_infer(x, y, (F_rows, F_columns), (S_rows, S_columns), (P_top, P_left))


@by_image("dx")
def max_pool_by_axis_backward(
    dy: np.ndarray,
    switches: np.ndarray,
    dx: np.ndarray,
    *,
    F_rows: int,
    F_columns: int,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
) -> None:
    """Each value of dx is the sum of dy over the windows whose maximum it was, as max_pool_backward has it.

    dy        (N, H2, W2, D)  float32 or float64, in
    switches  (N, H2, W2, D)  uint8 or int32, or halves of bytes, in: what max_pool_by_axis_forward wrote
    dx        (N, H, W, D)    same dtype as dy, out; exactly 0 where no switch points
    """
    max_backward(dy, switches, dx, (F_rows, F_columns), (S_rows, S_columns), (P_top, P_left))


@by_image("y")
def average_pool_by_axis_forward(
    x: np.ndarray,
    y: np.ndarray,
    *,
    F_rows: int,
    F_columns: int,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
    top: int,
    bottom: int,
    left: int,
    right: int,
) -> None:
    """Sum over each window / how many positions it has within x and the top, bottom, left, right ones around it.

    x   (N, H, W, D)    float32 or float64, in
    y   (N, H2, W2, D)  same dtype, out; any H2, W2 such that every window sees something
    With all four 0, what is around x does not count; with the padding there, PyTorch's count_include_pad=True and
    Caffe's averages. What lies beyond the padding never counts.
    """
    average_forward(x, y, (F_rows, F_columns), (S_rows, S_columns), (P_top, P_left), (top, bottom, left, right))


@by_image("dx")
def average_pool_by_axis_backward(
    dy: np.ndarray,
    dx: np.ndarray,
    *,
    F_rows: int,
    F_columns: int,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
    top: int,
    bottom: int,
    left: int,
    right: int,
) -> None:
    """Each value of dx is the sum, over the windows that see it, of dy / (what forward divides by).

    dy  (N, H2, W2, D)  float32 or float64, in
    dx  (N, H, W, D)    same dtype, out; exactly 0 where no window looks
    """
    average_backward(dy, dx, (F_rows, F_columns), (S_rows, S_columns), (P_top, P_left), (top, bottom, left, right))


@by_image("y")
def l2_pool_by_axis_forward(
    x: np.ndarray,
    y: np.ndarray,
    *,
    F_rows: int,
    F_columns: int,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
) -> None:
    """y = sqrt(sum of x*x) over each window, as l2_pool_forward has it.

    x   (N, H, W, D)    float32 or float64, in
    y   (N, H2, W2, D)  same dtype, out
    """
    l2_forward(x, y, (F_rows, F_columns), (S_rows, S_columns), (P_top, P_left))


@by_image("dx")
def l2_pool_by_axis_backward(
    dy: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    dx: np.ndarray,
    *,
    F_rows: int,
    F_columns: int,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
) -> None:
    """Each value of dx is the sum of dy * (x / y) over the windows that see it, as l2_pool_backward has it.

    dy  (N, H2, W2, D)  float32 or float64, in
    x   (N, H, W, D)    same dtype, in
    y   (N, H2, W2, D)  same dtype, in: what l2_pool_by_axis_forward wrote
    dx  (N, H, W, D)    same dtype, out
    """
    l2_backward(dy, x, y, dx, (F_rows, F_columns), (S_rows, S_columns), (P_top, P_left))


@by_image("y")
def adaptive_pool_forward(x: np.ndarray, y: np.ndarray) -> None:
    """Averages of H2 x W2 parts of each map: part i of an axis is floor(i*H/H2) up to ceil((i + 1)*H/H2).

    x   (N, H, W, D)    float32 or float64, in
    y   (N, H2, W2, D)  same dtype, out; parts overlap where H/H2 is not whole
    Source: torch.nn.AdaptiveAvgPool2d; He et al. 2014.
    """

    def one(n: int, worker: int) -> None:
        for i, rows in _parts(x.shape[1], y.shape[1]):
            for j, columns in _parts(x.shape[2], y.shape[2]):
                np.mean(x[n, rows, columns], axis=(0, 1), out=y[n, i, j])

    share(range(len(x)), one)


@by_image("dx")
def adaptive_pool_backward(dy: np.ndarray, dx: np.ndarray) -> None:
    """Each value of dx is the sum, over the parts that hold it, of dy / (how many positions the part has).

    dy  (N, H2, W2, D)  float32 or float64, in
    dx  (N, H, W, D)    same dtype, out
    """

    def one(n: int, worker: int) -> None:
        dx[n] = 0
        for i, rows in _parts(dx.shape[1], dy.shape[1]):
            for j, columns in _parts(dx.shape[2], dy.shape[2]):
                part = dx[n, rows, columns]
                np.add(part, dy[n, i, j] / (part.shape[0] * part.shape[1]), out=part)

    share(range(len(dx)), one)


def _parts(size: int, count: int) -> Iterator[tuple[int, slice]]:
    """Each part of an axis: its number and its positions."""
    for i in range(count):
        yield i, slice(i * size // count, -(-(i + 1) * size // count))
