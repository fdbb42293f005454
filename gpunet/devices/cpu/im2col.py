"""The im2col matrix on the CPU, a chunk of it at a time, and its adjoint. Source: CS231n "Implementation as Matrix
Multiplication".

A row of the matrix holds the values under one window, in the order of the weights: (row in the window, column, map).
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gpunet.devices.cpu.window import Chunk, positions
from gpunet.program.filters import Filters, Group


class _Run(NamedTuple):
    """Values of a window in one piece, in x as in the matrix: those of `width` positions of the volume.

    `at`      where in a row of the matrix it begins
    `length`  how many values it has
    `row, column`  of the input, counted from the first position of the window
    """

    at: int
    length: int
    row: int
    column: int
    width: int


def im2col(
    x: np.ndarray, matrix: np.ndarray, chunk: Chunk, W2: int, along: tuple[int, int], window: Filters, group: Group
) -> None:
    """Columns along[0]:along[1] of the im2col matrix of a chunk: what the windows see of the maps of one group."""
    first, last = along
    image0, image1, row0, row1 = chunk
    windows = matrix.reshape(image1 - image0, row1 - row0, W2, last - first)
    for run in _runs(window, group, x.shape[3]):
        begin, end = max(first - run.at, 0), min(last - run.at, run.length)
        if begin < end:
            part = windows[..., run.at + begin - first : run.at + end - first]
            _copy(x, part, chunk, W2, run, (begin, end), window, group.map0)


def _runs(window: Filters, group: Group, D: int) -> Iterator[_Run]:
    """A dense row of a window over all maps is one run of F_columns * D values; else each position is a run."""
    maps = group.map1 - group.map0
    whole = maps == D and (window.dilation_columns == 1 or window.F_columns == 1)
    width = window.F_columns if whole else 1
    for row in range(window.F_rows):
        for column in range(0, window.F_columns, width):
            at = (row * window.F_columns + column) * maps
            yield _Run(at, width * maps, row * window.dilation_rows, column * window.dilation_columns, width)


def _copy(
    x: np.ndarray,
    part: np.ndarray,
    chunk: Chunk,
    W2: int,
    run: _Run,
    within: tuple[int, int],
    window: Filters,
    map0: int,
) -> None:
    """Fill `part` (images, rows, W2, values) with the values within[0]:within[1] of a run of each window.

    Windows that hang over the left or right edge, few, are clipped one output column at a time.
    """
    image0, _, row0, row1 = chunk
    H, W, D = x.shape[1:]
    S, begin, end = window.S_columns, *within
    seen0, seen1 = positions(H, row0, row1, run.row, window.S_rows, window.P_top)
    part[:, : seen0 - row0] = 0
    part[:, seen1 - row0 :] = 0
    part = part[:, seen0 - row0 : seen1 - row0]
    if not part.size:
        return
    top, left0 = seen0 * window.S_rows - window.P_top + run.row, run.column - window.P_left
    inner0 = min(max(0, -(left0 // S)), W2)
    inner1 = max(inner0, min((W - run.width - left0) // S + 1, W2))
    images, rows, _, values = part.shape
    if inner1 > inner0:
        shape = images, rows, inner1 - inner0, values
        part[:, :, inner0:inner1] = _view(x, image0, top, inner0 * S + left0, map0 + begin, shape, window)
    if run.width == 1:  # a window sees its position or nothing
        part[:, :, :inner0] = 0
        part[:, :, inner1:] = 0
        return
    for j in (*range(inner0), *range(inner1, W2)):
        left = j * S + left0
        c = min(max(begin, -left * D), end)
        d = max(c, min(end, (W - left) * D))
        part[:, :, j, : c - begin] = 0
        part[:, :, j, d - begin :] = 0
        if d > c:
            shape = images, rows, 1, d - c
            part[:, :, j, c - begin : d - begin] = _view(x, image0, top, left, c, shape, window)[:, :, 0]


def _view(
    x: np.ndarray, image: int, top: int, left: int, start: int, shape: tuple[int, int, int, int], window: Filters
) -> np.ndarray:
    """Overlapping runs of x as a view (images, windows down, windows across, values).

    The first window begins at row `top`, column `left` (which may be negative) of `image`; a run begins `start` values
    further. NumPy refuses a view that would leave x.
    """
    _, H, W, D = x.shape
    offset = (((image * H + top) * W + left) * D + start) * x.itemsize
    strides = (H * W * D, window.S_rows * W * D, window.S_columns * D, 1)
    return np.ndarray(shape, x.dtype, x, offset, tuple(stride * x.itemsize for stride in strides))


def add_columns(
    matrix: np.ndarray, dx: np.ndarray, rows: tuple[int, int], W2: int, window: Filters, group: Group
) -> None:
    """Add the gradient of an im2col matrix, output rows rows[0]:rows[1] of all images of dx, to where it is from."""
    N, H, W, _ = dx.shape
    row0, row1 = rows
    F_rows, F_columns, S_rows, S_columns = window.F_rows, window.F_columns, window.S_rows, window.S_columns
    windows = matrix.reshape(N, row1 - row0, W2, F_rows, F_columns, group.map1 - group.map0)
    maps = dx[..., group.map0 : group.map1]
    for i in range(F_rows):
        down0, down1 = positions(H, row0, row1, i * window.dilation_rows, S_rows, window.P_top)
        for j in range(F_columns):
            right0, right1 = positions(W, 0, W2, j * window.dilation_columns, S_columns, window.P_left)
            if down1 > down0 and right1 > right0:
                top = down0 * S_rows - window.P_top + i * window.dilation_rows
                left = right0 * S_columns - window.P_left + j * window.dilation_columns
                bottom, right = top + (down1 - down0) * S_rows, left + (right1 - right0) * S_columns
                target = maps[:, top:bottom:S_rows, left:right:S_columns]
                np.add(target, windows[:, down0 - row0 : down1 - row0, right0:right1, i, j], out=target)
