"""Convolution on the CPU: im2col into the scratch that the plan gave, a chunk at a time, and one BLAS product a chunk.

Source: CS231n "Convolutional Layer" and "Implementation as Matrix Multiplication"; the chunks stay near the caches.
"""

from collections.abc import Iterator

import numpy as np

from gpunet.devices.cpu.threads import share, thread_count
from gpunet.devices.cpu.window import positions
from gpunet.program.chunks import chunks

__all__ = ["conv_backward_input", "conv_backward_weights", "conv_forward"]

Chunk = tuple[int, int, int, int]
"""Images image0:image1, output rows row0:row1, as `gpunet.program.chunks.chunks` cuts them."""


def conv_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    y: np.ndarray,
    columns: np.ndarray,
    workspace: np.ndarray | None,
    *,
    F: int,
    S: int,
    P: int,
) -> None:
    """K filters slide over the volume: y[n, i, j, k] = b[k] + sum of w[k] * x[n, i*S - P : .. + F, j*S - P : .. + F].

    x          (N, H, W, D)        float32 or float64, in
    w          (K, F, F, D)        same dtype, in
    b          (K,)                same dtype, in
    y          (N, H2, W2, K)      same dtype, out; any H2, W2: positions outside x read zeros, rows behind the last
                                   window are not seen
    columns    (rows, F*F*D)       same dtype, scratch; at least one output row, rows >= W2
    workspace  unused on the CPU
    No output may alias an input. NaN and infinity go where the sums take them.
    Source: CS231n "Convolutional Layer".
    """
    N, H2, W2, K = y.shape
    weights = w.reshape(K, -1).T
    tiles, workers = _tiles(columns, N, H2, W2)

    def one(chunk: Chunk, worker: int) -> None:
        image0, image1, row0, row1 = chunk
        out = y[image0:image1, row0:row1].reshape(-1, K)
        matrix = tiles[worker][: len(out)]
        _im2col(x, matrix, chunk, W2, 0, matrix.shape[1], F, S, P)
        np.matmul(matrix, weights, out=out)
        np.add(out, b, out=out)

    share(chunks(N, H2, W2, len(tiles[0])), one, workers)


def conv_backward_weights(
    x: np.ndarray,
    dy: np.ndarray,
    dw: np.ndarray,
    columns: np.ndarray,
    workspace: np.ndarray | None,
    *,
    F: int,
    S: int,
    P: int,
    accumulate: int = 0,
) -> None:
    """The gradient of the filters: dw = sum over chunks, in order, of dy^T times im2col(x).

    x          (N, H, W, D)        float32 or float64, in
    dy         (N, H2, W2, K)      same dtype, in
    dw         (K, F, F, D)        same dtype, out; where accumulate is 1, in and out: the chunks are added to it
    columns    (rows, F*F*D)       same dtype, scratch; cut as `gpunet.program.chunks.chunks` says
    workspace  (>= K*F*F*D,)       same dtype, scratch for a product that is added to dw; None where one chunk is all
                                   and nothing is accumulated
    No output may alias an input. The same chunks on as many threads give the same bits.
    Source: CS231n "Implementation as Matrix Multiplication".
    """
    N, H2, W2, K = dy.shape
    length = columns.shape[1]
    gradient = dw.reshape(K, length)
    rows = len(columns)

    def one(part: tuple[int, int], worker: int) -> None:
        first, last = part
        tile = columns.reshape(-1)[rows * first : rows * last].reshape(rows, last - first)
        total = gradient[:, first:last]
        for number, chunk in enumerate(chunks(N, H2, W2, rows)):
            image0, image1, row0, row1 = chunk
            out = dy[image0:image1, row0:row1].reshape(-1, K)
            matrix = tile[: len(out)]
            _im2col(x, matrix, chunk, W2, first, last, F, S, P)
            if number == 0 and not accumulate:
                np.matmul(out.T, matrix, out=total)
                continue
            assert workspace is not None  # the plan gives it wherever something is added up
            product = workspace[K * first : K * last].reshape(K, last - first)
            np.matmul(out.T, matrix, out=product)
            np.add(total, product, out=total)

    share(_parts(length), one)


def conv_backward_input(
    dy: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray,
    columns: np.ndarray,
    workspace: np.ndarray | None,
    *,
    F: int,
    S: int,
    P: int,
) -> None:
    """The gradient of the volume: each value of x gathers w * dy from every window that saw it.

    dy         (N, H2, W2, K)      float32 or float64, in
    w          (K, F, F, D)        same dtype, in
    dx         (N, H, W, D)        same dtype, out; exactly 0 where no window looked
    columns    (rows, F*F*D)       same dtype, scratch: the gradient of the im2col matrix of a chunk
    workspace  unused on the CPU
    No output may alias an input. The same scratch and as many threads give the same bits.
    Source: CS231n "Convolutional Layer"; the adjoint of im2col.
    """
    N, H2, W2, K = dy.shape
    weights = w.reshape(K, -1)
    tiles, workers = _tiles(columns, N, H2, W2)

    def one(images: tuple[int, int], worker: int) -> None:
        image0, image1 = images
        target = dx[image0:image1]
        target[...] = 0
        for _, _, row0, row1 in chunks(1, H2, W2, len(tiles[worker])):
            out = dy[image0:image1, row0:row1].reshape(-1, K)
            matrix = tiles[worker][: len(out)]
            np.matmul(out, weights, out=matrix)
            _add_columns(matrix, target, row0, row1, W2, F, S, P)

    share(_image_groups(N, H2, W2, len(tiles[0])), one, workers)


def _tiles(columns: np.ndarray, N: int, H2: int, W2: int) -> tuple[list[np.ndarray], int]:
    """The im2col scratch cut into one tile for each worker, and how many workers that makes.

    A tile is so large that all tiles together come out even over the workers; never less than one output row.
    """
    workers = max(1, min(thread_count(), len(columns) // W2))
    rows = min(len(columns) // workers, -(-N * H2 // workers) * W2)
    images = rows // (H2 * W2)
    if images:
        rounds = -(-N // (images * workers))
        rows = -(-N // (rounds * workers)) * H2 * W2
    else:
        rows = rows // W2 * W2
    return [columns[worker * rows : (worker + 1) * rows] for worker in range(workers)], workers


def _image_groups(N: int, H2: int, W2: int, rows: int) -> Iterator[tuple[int, int]]:
    """The images that a tile of `rows` rows holds, at least one."""
    images = max(1, rows // (H2 * W2))
    return ((image, min(image + images, N)) for image in range(0, N, images))


def _parts(length: int) -> list[tuple[int, int]]:
    """The columns of an im2col matrix cut into one part for each worker, at multiples of 16: whole vectors of BLAS."""
    size = -(-length // (16 * thread_count())) * 16
    return [(first, min(first + size, length)) for first in range(0, length, size)]


def _im2col(
    x: np.ndarray, matrix: np.ndarray, chunk: Chunk, W2: int, first: int, last: int, F: int, S: int, P: int
) -> None:
    """Columns first:last of the im2col matrix of a chunk: the values under each window, in the order (row, column, d).

    A row of a window is one run of F*D values of x, so it is copied as one; windows that hang over the left or right
    edge, few, are clipped one output column at a time.
    """
    image0, image1, row0, row1 = chunk
    H, W, D = x.shape[1:]
    run = F * D
    windows = matrix.reshape(image1 - image0, row1 - row0, W2, last - first)
    inner0 = min(-(-P // S), W2)
    inner1 = max(inner0, min((W - F + P) // S + 1, W2))
    for i in range(first // run, (last - 1) // run + 1):
        a, b = max(first - i * run, 0), min(last - i * run, run)
        part = windows[..., i * run + a - first : i * run + b - first]
        seen0, seen1 = positions(H, row0, row1, i, S, P)
        part[:, : seen0 - row0] = 0
        part[:, seen1 - row0 :] = 0
        part = part[:, seen0 - row0 : seen1 - row0]
        top = seen0 * S - P + i
        if part.size and inner1 > inner0:
            part[:, :, inner0:inner1] = _runs(
                x, image0, top, inner0 * S - P, a, (*part.shape[:2], inner1 - inner0, b - a), S
            )
        for j in (*range(inner0), *range(inner1, W2)) if part.size else ():
            left = j * S - P
            c = min(max(a, -left * D), b)
            d = max(c, min(b, (W - left) * D))
            part[:, :, j, : c - a] = 0
            part[:, :, j, d - a :] = 0
            if d > c:
                part[:, :, j, c - a : d - a] = _runs(x, image0, top, left, c, (*part.shape[:2], 1, d - c), S)[:, :, 0]


def _runs(
    x: np.ndarray, image: int, top: int, left: int, start: int, shape: tuple[int, int, int, int], S: int
) -> np.ndarray:
    """Overlapping runs of x as a view (images, windows down, windows across, values).

    The first window begins at row `top`, column `left` (which may be negative) of `image`; a run begins `start` values
    further. NumPy refuses a view that would leave x.
    """
    _, H, W, D = x.shape
    offset = (((image * H + top) * W + left) * D + start) * x.itemsize
    strides = (H * W * D, S * W * D, S * D, 1)
    return np.ndarray(shape, x.dtype, x, offset, tuple(stride * x.itemsize for stride in strides))


def _add_columns(matrix: np.ndarray, dx: np.ndarray, row0: int, row1: int, W2: int, F: int, S: int, P: int) -> None:
    """Add the gradient of an im2col matrix, output rows row0:row1 of all images of dx, to what it was copied from."""
    N, H, W, D = dx.shape
    windows = matrix.reshape(N, row1 - row0, W2, F, F, D)
    for i in range(F):
        down0, down1 = positions(H, row0, row1, i, S, P)
        for j in range(F):
            right0, right1 = positions(W, 0, W2, j, S, P)
            if down1 > down0 and right1 > right0:
                top, left = down0 * S - P + i, right0 * S - P + j
                target = dx[:, top : top + (down1 - down0) * S : S, left : left + (right1 - right0) * S : S]
                np.add(target, windows[:, down0 - row0 : down1 - row0, right0:right1, i, j], out=target)
