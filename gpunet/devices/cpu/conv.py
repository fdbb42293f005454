"""Convolution on the CPU: im2col into the scratch that the plan gave, a chunk at a time, and one BLAS product a chunk.

Filters of 1 x 1 at stride 1 need no such matrix: x is it. Source: CS231n "Convolutional Layer" and "Implementation as
Matrix Multiplication"; the chunks stay near the caches.
"""

from collections.abc import Callable, Iterator

import numpy as np

from gpunet.devices.cpu.half_products import convolving
from gpunet.devices.cpu.im2col import add_columns, im2col
from gpunet.devices.cpu.threads import BLOCK, share, split, thread_count
from gpunet.devices.cpu.window import Chunk
from gpunet.devices.cpu.winograd import Winograd
from gpunet.devices.cpu.winograd_tiles import Inputs, Outputs
from gpunet.program.chunks import chunks
from gpunet.program.filters import ConvShape, Filters, groups

__all__ = ["conv_backward_input", "conv_backward_weights", "conv_forward"]

FEW = 64
"""Weights of a filter that are not divided among threads."""


@convolving
def conv_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    columns: np.ndarray | None,
    workspace: np.ndarray | None,
    *,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
    dilation_rows: int,
    dilation_columns: int,
    algorithm: str = "im2col",
    tile: int = 0,
    slices: int = 1,
) -> None:
    """K filters slide over the volume: y[n, i, j, k] = b[k] + sum over r, c and d of

    w[k, r, c, d] * x[n, i*S_rows - P_top + r*dilation_rows, j*S_columns - P_left + c*dilation_columns, d].

    x          (N, H, W, D)            float32 or float64, in
    w          (K, FH, FW, D/groups)   same dtype, in; the first K/groups filters see the first D/groups maps, and so on
    b          (K,)                    same dtype, in; None: no bias
    y          (N, H2, W2, K)          same dtype, out; any H2, W2: positions outside x read zeros, rows behind the last
                                       window are not seen; may be maps of a wider volume
    columns    (rows, FH*FW*D/groups)  same dtype, scratch of "im2col"; at least one output row, rows >= W2. None where
                                       filters of 1 x 1 see all of x at stride 1, and for all other algorithms
    workspace  flat scratch of the others; None where they need none
    algorithm  which way; all give this sum, each in an order of its own. "im2col" a product over the matrix of windows;
               "implicit" without that matrix; "depthwise" that of groups of one map; "winograd2", "winograd4"
    tile       which tile of results a block of a GPU makes; no bit depends on it
    slices     parts into which a sum is cut, which are added in order
    No output may alias an input. NaN and infinity go where the sums take them; with Winograd's, both are NaN in every
    output of an m x m tile one of whose inputs they are. Errors of float32, of the largest value: "im2col" 1e-6,
    "winograd2" 1.5e-6, "winograd4" 6e-6 at most in float32's tests; where it has too little workspace, as im2col.
    Source: CS231n "Convolutional Layer"; groups: Krizhevsky et al. 2012; dilation: Yu & Koltun 2016.
    """
    window = Filters(w.shape[1], w.shape[2], S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns)
    convolve(x, w, b, y, columns, workspace, window, algorithm)


def convolve(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    columns: np.ndarray | None,
    workspace: np.ndarray | None,
    window: Filters,
    algorithm: str,
    relu: bool = False,
) -> None:
    """As conv_forward; where `relu`, y is max(0, y), made while it is in the cache."""
    winograd = Winograd.of("forward", ConvShape.seen(x.shape, w.shape, y.shape, window), algorithm, workspace)
    if winograd is not None:
        winograd.forward(Inputs(x), w, Outputs(y, b, relu))
        return
    if columns is None and algorithm != "im2col":
        columns = matrix_of_a_row(w, y.shape[2])
    if columns is None:
        pixels, scores = _pixels(x), _pixels(y)

        def of_pixels(rows: slice, worker: int) -> None:
            for part in groups(x.shape[3], w.shape):
                filters = w[part.filter0 : part.filter1, 0, 0]
                out = scores[rows, part.filter0 : part.filter1]
                np.matmul(pixels[rows, part.map0 : part.map1], filters.T, out=out)
            _finish(scores[rows], b, relu)

        share(_blocks(len(pixels), x.shape[3] + y.shape[3]), of_pixels)
        return
    N, H2, W2, K = y.shape
    matrices, workers = tiles(columns, N, H2, W2)

    def one(chunk: Chunk, worker: int) -> None:
        image0, image1, row0, row1 = chunk
        out = y[image0:image1, row0:row1].reshape(-1, K)
        multiply(x, w, b, out, matrices[worker], chunk, W2, window, relu)

    share(chunks(N, H2, W2, len(matrices[0])), one, workers)


def multiply(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    out: np.ndarray,
    matrix: np.ndarray,
    chunk: Chunk,
    W2: int,
    window: Filters,
    relu: bool = False,
) -> None:
    """out (positions, K) = the outputs of a chunk, by way of `matrix`, which has at least as many rows; then ReLU."""
    rows = matrix[: len(out)]
    weights = w.reshape(len(w), -1).T
    for part in groups(x.shape[3], w.shape):
        im2col(x, rows, chunk, W2, (0, rows.shape[1]), window, part)
        filters = slice(part.filter0, part.filter1)
        np.matmul(rows, weights[:, filters], out=out[:, filters])
    _finish(out, b, relu)


@convolving
def conv_backward_weights(
    x: np.ndarray,
    dy: np.ndarray,
    dw: np.ndarray,
    columns: np.ndarray | None,
    workspace: np.ndarray | None,
    *,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
    dilation_rows: int,
    dilation_columns: int,
    algorithm: str = "im2col",
    tile: int = 0,
    slices: int = 1,
    accumulate: int = 0,
) -> None:
    """The gradient of the filters: dw = sum over chunks, in order, of dy^T times im2col(x).

    x          (N, H, W, D)            float32 or float64, in
    dy         (N, H2, W2, K)          same dtype, in
    dw         (K, FH, FW, D/groups)   same dtype, out; where accumulate is 1, in and out: the chunks are added to it
    columns    (rows, FH*FW*D/groups)  same dtype, scratch; cut as `gpunet.program.chunks.chunks` says. None as in
                                       conv_forward: x is one chunk
    workspace  (>= values of dw,)      same dtype, scratch of "im2col" for a product that is added to dw; None where one
                                       chunk is all and nothing is accumulated. Of the others as in conv_forward
    algorithm, tile, slices            as in conv_forward
    No output may alias an input. The same chunks on as many threads give the same bits.
    Source: CS231n "Implementation as Matrix Multiplication".
    """
    window = Filters(dw.shape[1], dw.shape[2], S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns)
    shape = ConvShape.seen(x.shape, dw.shape, dy.shape, window)
    winograd = Winograd.of("backward_weights", shape, algorithm, workspace)
    if winograd is not None:
        winograd.backward_weights(Inputs(x), Inputs(dy), dw, accumulate=accumulate)
        return
    if algorithm != "im2col":
        columns, workspace = matrix_of_a_row(dw, dy.shape[2]), np.empty_like(dw).reshape(-1)
    N, H2, W2, K = dy.shape
    rows = N * H2 * W2 if columns is None else len(columns)

    def one(along: tuple[int, int], worker: int) -> None:
        for number, chunk in enumerate(chunks(N, H2, W2, rows)):
            image0, image1, row0, row1 = chunk
            above = dy[image0:image1, row0:row1].reshape(-1, K)
            add = bool(accumulate) or number > 0
            add_gradient(x, above, dw, columns, workspace, chunk, W2, window, add, along)

    share(parts_of(dw), one)


def add_gradient(
    x: np.ndarray,
    above: np.ndarray,
    dw: np.ndarray,
    columns: np.ndarray | None,
    workspace: np.ndarray | None,
    chunk: Chunk,
    W2: int,
    window: Filters,
    add: bool,
    along: tuple[int, int],
    worker: int = 0,
) -> None:
    """What a chunk gives to the weights along[0]:along[1] of each filter, which it overwrites or, where `add`, is added
    to; above (positions, K) is the gradient of its outputs."""
    gradient = dw.reshape(len(dw), -1)
    first, last = along
    tile = None
    if columns is not None:
        rows = len(columns)
        tile = columns.reshape(-1)[rows * first : rows * last].reshape(rows, last - first)
    for part in groups(x.shape[3], dw.shape):
        if tile is None:
            matrix = _pixels(x)[:, part.map0 + first : part.map0 + last]
        else:
            matrix = tile[: len(above)]
            im2col(x, matrix, chunk, W2, along, window, part)
        total = gradient[part.filter0 : part.filter1, first:last]
        left = above[:, part.filter0 : part.filter1].T
        if not add:
            np.matmul(left, matrix, out=total)
            continue
        assert workspace is not None  # the plan gives it wherever something is added up
        product = workspace[len(dw) * first : len(dw) * first + total.size].reshape(total.shape)
        np.matmul(left, matrix, out=product)
        np.add(total, product, out=total)


@convolving
def conv_backward_input(
    dy: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray,
    columns: np.ndarray | None,
    workspace: np.ndarray | None,
    *,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
    dilation_rows: int,
    dilation_columns: int,
    algorithm: str = "im2col",
    tile: int = 0,
    slices: int = 1,
) -> None:
    """The gradient of the volume: each value of x gathers w * dy from every window that saw it.

    dy         (N, H2, W2, K)          float32 or float64, in
    w          (K, FH, FW, D/groups)   same dtype, in
    dx         (N, H, W, D)            same dtype, out; exactly 0 where no window looked
    columns    (rows, FH*FW*D/groups)  same dtype, scratch: the gradient of the im2col matrix of a chunk. None as in
                                       conv_forward
    workspace, algorithm, tile, slices  as in conv_forward; NaN and infinity too
    No output may alias an input. The same scratch and as many threads give the same bits.
    Source: CS231n "Convolutional Layer"; the adjoint of im2col.
    """
    window = Filters(w.shape[1], w.shape[2], S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns)
    shape = ConvShape.seen(dx.shape, w.shape, dy.shape, window)
    winograd = Winograd.of("backward_input", shape, algorithm, workspace)
    if winograd is not None:
        winograd.backward_input(Inputs(dy), w, dx)
        return
    if columns is None and algorithm != "im2col":
        columns = matrix_of_a_row(w, dy.shape[2])
    if columns is not None:

        def above(chunk: Chunk, worker: int) -> np.ndarray:
            image0, image1, row0, row1 = chunk
            return dy[image0:image1, row0:row1].reshape(-1, dy.shape[3])

        spread(above, w, dx, columns, dy.shape[1:3], window)
        return
    gradients, pixels = _pixels(dy), _pixels(dx)

    def of_pixels(rows: slice, worker: int) -> None:
        for part in groups(dx.shape[3], w.shape):
            filters = slice(part.filter0, part.filter1)
            np.matmul(gradients[rows, filters], w[filters, 0, 0], out=pixels[rows, part.map0 : part.map1])

    share(_blocks(len(pixels), dx.shape[3] + dy.shape[3]), of_pixels)


def spread(
    above: Callable[[Chunk, int], np.ndarray],
    w: np.ndarray,
    dx: np.ndarray,
    columns: np.ndarray,
    output: tuple[int, int],
    window: Filters,
) -> None:
    """As conv_backward_input, where above(chunk, worker) gives the gradient of a chunk's outputs, (positions, K).

    `output`  H2, W2
    """
    N, (H2, W2) = len(dx), output
    weights = w.reshape(len(w), -1)
    matrices, workers = tiles(columns, N, H2, W2)
    rows = len(matrices[0])

    def one(images: tuple[int, int], worker: int) -> None:
        target = dx[slice(*images)]
        target[...] = 0
        for _, _, row0, row1 in chunks(1, H2, W2, rows):
            out = above((*images, row0, row1), worker)
            matrix = matrices[worker][: len(out)]
            for part in groups(dx.shape[3], w.shape):
                filters = slice(part.filter0, part.filter1)
                np.matmul(out[:, filters], weights[filters], out=matrix)
                add_columns(matrix, target, (row0, row1), W2, window, part)

    share(_image_groups(N, H2, W2, rows), one, workers)


def matrix_of_a_row(w: np.ndarray, W2: int) -> np.ndarray:
    """Room for the windows of one output row for each worker: what an algorithm without a matrix does is specified by
    one that is small and of its own, whatever the batch."""
    return np.empty((thread_count() * W2, w[0].size), w.dtype)


def _finish(y: np.ndarray, b: np.ndarray | None, relu: bool = False) -> None:
    """y += b in every row; then, where `relu`, y = max(0, y)."""
    if b is not None:
        np.add(y, b, out=y)
    if relu:
        np.maximum(y, 0, out=y)


def _pixels(x: np.ndarray) -> np.ndarray:
    """A view with one row for each position of each image."""
    return x.reshape(-1, x.shape[3])


def _blocks(rows: int, values: int) -> Iterator[slice]:
    """The range 0..rows in slices for products that read and write so many `values` a row: enough for BLAS to work on,
    few enough to be in a cache still when the bias is added; at least one for each worker."""
    most = max(64, 16 * BLOCK // values)
    for part in split(rows):
        first, last, _ = part.indices(rows)
        yield from (slice(start, min(start + most, last)) for start in range(first, last, most))


def tiles(columns: np.ndarray, N: int, H2: int, W2: int) -> tuple[list[np.ndarray], int]:
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


def parts_of(dw: np.ndarray) -> list[tuple[int, int]]:
    """The weights of a filter cut into one part for each worker, at multiples of 16: whole vectors of BLAS. Where they
    are few there are fewer parts, as each has a call to NumPy for every chunk."""
    length = dw[0].size
    size = max(FEW, -(-length // (16 * thread_count())) * 16)
    return [(first, min(first + size, length)) for first in range(0, length, size)]
