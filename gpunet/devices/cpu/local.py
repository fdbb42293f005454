"""Convolution without sharing on the CPU: each position gathers its windows into scratch and is one BLAS product.

Source: CS231n "Convolutional Layer", on locally-connected layers.
"""

from collections.abc import Iterator

import numpy as np

from gpunet.devices.cpu.halves import as_wide, by_image
from gpunet.devices.cpu.threads import share, thread_count

__all__ = ["local_backward_input", "local_backward_weights", "local_forward"]


@by_image("y", whole=("w", "b", "columns"))
def local_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    y: np.ndarray,
    columns: np.ndarray,
    *,
    F: int,
    S: int,
    P: int,
) -> None:
    """Each position has its own filters: y[n, i, j, k] = b[i, j, k] + sum of w[i, j, k] * x[n, i*S - P : .. + F, ..].

    x        (N, H, W, D)          float32 or float64, in
    w        (H2, W2, K, F, F, D)  same dtype, in
    b        (H2, W2, K)           same dtype, in
    y        (N, H2, W2, K)        same dtype, out; any H2, W2: positions outside x read zeros
    columns  (rows, F*F*D)         same dtype, scratch for windows of one position, a row for an image; rows >= 1. More
                                   rows are more images in one product, on more threads. None on CUDA.
    No output may alias an input. NaN and infinity go where the sums take them.
    Source: CS231n "Convolutional Layer": "Locally-Connected Layer".
    """
    N, H2, W2, _ = y.shape
    tiles = _tiles(columns, N)

    def one(position: tuple[int, ...], worker: int) -> None:
        i, j = position
        filters = _matrix(w[i, j])
        for image, last in _groups(N, len(tiles[worker])):
            windows = tiles[worker][: last - image]
            out = y[image:last, i, j]
            _gather(x[image:last], windows, i * S - P, j * S - P, F)
            np.matmul(windows, filters.T, out=out)
            np.add(out, b[i, j], out=out)

    share(np.ndindex(H2, W2), one, len(tiles))


def local_backward_weights(
    x: np.ndarray,
    dy: np.ndarray,
    dw: np.ndarray,
    columns: np.ndarray,
    *,
    F: int,
    S: int,
    P: int,
    accumulate: int = 0,
) -> None:
    """The gradient of the filters: dw[i, j, k] = sum over n of dy[n, i, j, k] * x[n, i*S - P : .. + F, ..].

    x        (N, H, W, D)          float32 or float64, in
    dy       (N, H2, W2, K)        same dtype, in
    dw       (H2, W2, K, F, F, D)  same dtype, out; where accumulate is 1, in and out: the sum is added to it
    columns  (rows, F*F*D)         same dtype, scratch for windows, and for products that are added to dw; rows >= 2.
                                   None on CUDA.
    No output may alias an input. The same scratch and as many threads give the same bits.
    Source: CS231n "Backpropagation, gradients for vectorized operations".
    """
    N, H2, W2, K = dy.shape
    tiles = _tiles(columns, N + K, least=2)
    images, filters = _halves(len(tiles[0]), N, K, bool(accumulate))

    def one(position: tuple[int, ...], worker: int) -> None:
        i, j = position
        windows, products = np.split(tiles[worker], [images])
        total = _matrix(dw[i, j])
        for image, last in _groups(N, images):
            seen, above = windows[: last - image], as_wide(dy[image:last, i, j]).T
            _gather(x[image:last], seen, i * S - P, j * S - P, F)
            if image == 0 and not accumulate:
                np.matmul(above, seen, out=total)
                continue
            for k, end in _groups(K, filters):
                product = products[: end - k]
                np.matmul(above[k:end], seen, out=product)
                np.add(total[k:end], product, out=total[k:end])

    share(np.ndindex(H2, W2), one, len(tiles))


@by_image("dx", whole=("w", "columns"))
def local_backward_input(
    dy: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray,
    columns: np.ndarray,
    *,
    F: int,
    S: int,
    P: int,
) -> None:
    """The gradient of the volume: each value of x gathers w * dy from every window that saw it.

    dy       (N, H2, W2, K)        float32 or float64, in
    w        (H2, W2, K, F, F, D)  same dtype, in
    dx       (N, H, W, D)          same dtype, out; exactly 0 where no window looked
    columns  (rows, F*F*D)         same dtype, scratch for the gradients of windows, a row for an image; rows >= 1.
                                   None on CUDA.
    No output may alias an input. Windows are added up in row-major order.
    Source: CS231n "Convolutional Layer", "Backpropagation".
    """
    N, H2, W2, _ = dy.shape
    tiles = _tiles(columns, -(-N // thread_count()))

    def one(images: tuple[int, int], worker: int) -> None:
        image, last = images
        target, windows = dx[image:last], tiles[worker][: last - image]
        target[...] = 0
        for i, j in np.ndindex(H2, W2):
            np.matmul(dy[image:last, i, j], _matrix(w[i, j]), out=windows)
            _scatter(windows, target, i * S - P, j * S - P, F)

    share(_groups(N, len(tiles[0])), one, len(tiles))


def _matrix(filters: np.ndarray) -> np.ndarray:
    """The filters of one position, a row for each."""
    return filters.reshape(len(filters), -1)


def _tiles(columns: np.ndarray, wanted: int, least: int = 1) -> list[np.ndarray]:
    """The scratch cut into one tile for each worker, of `wanted` rows where there is room, of `least` at least."""
    workers = max(1, min(thread_count(), len(columns) // least))
    rows = min(len(columns) // workers, wanted)
    return [columns[worker * rows : (worker + 1) * rows] for worker in range(workers)]


def _halves(rows: int, N: int, K: int, accumulate: bool) -> tuple[int, int]:
    """How many rows of a tile hold windows, and how many a product that is added to dw, where one ever is."""
    if rows >= N and not accumulate:
        return N, 0
    filters = min(K, rows // 2)
    return min(N, rows - filters), filters


def _groups(count: int, most: int) -> Iterator[tuple[int, int]]:
    """The range 0..count as half-open pairs of at most so many."""
    return ((first, min(first + most, count)) for first in range(0, count, most))


def _gather(x: np.ndarray, windows: np.ndarray, top: int, left: int, F: int) -> None:
    """windows (images, F*F*D) = the F x F window of each image of x that begins at (top, left); zeros outside."""
    _, H, W, D = x.shape
    (down, rows), (across, places) = _inside(top, F, H), _inside(left, F, W)
    parts = windows.reshape(len(x), F, F, D)
    whole = down.stop - down.start == across.stop - across.start == F
    if not whole:
        windows[...] = 0
    parts[:, down, across] = x[:, rows, places]


def _scatter(windows: np.ndarray, dx: np.ndarray, top: int, left: int, F: int) -> None:
    """Add windows (images, F*F*D) to where `_gather` would take them from."""
    _, H, W, D = dx.shape
    (down, rows), (across, places) = _inside(top, F, H), _inside(left, F, W)
    target = dx[:, rows, places]
    np.add(target, windows.reshape(len(dx), F, F, D)[:, down, across], out=target)


def _inside(start: int, F: int, size: int) -> tuple[slice, slice]:
    """Which part of a window that begins at `start` lies inside an axis: counted in the window, and on the axis."""
    first = min(max(start, 0), size)
    last = max(first, min(start + F, size))
    return slice(first - start, last - start), slice(first, last)
