"""Convolution with max pooling, and ReLU, behind it, on the CPU: the volume before the pool is made strip by strip, and
used while it is in the cache; it is nowhere as a whole, nor is its gradient.

A strip is some chunks of the im2col matrix that end where a window of the pool ends. Every product is the one that
`gpunet.devices.cpu.conv` makes, so no bit depends on whether the two are one op.
"""

from functools import partial

import numpy as np

from gpunet.devices.cpu.bias import column_sums, sum_in_pairs
from gpunet.devices.cpu.conv import add_gradient, matrix_of_a_row, multiply, parts_of, spread, tiles
from gpunet.devices.cpu.half_products import convolving
from gpunet.devices.cpu.halves import as_wide
from gpunet.devices.cpu.pool import relu_of_maxima, take_maxima
from gpunet.devices.cpu.switches import room, together
from gpunet.devices.cpu.threads import share
from gpunet.devices.cpu.unpool import positions_of, rows_of_piece, unpool, unpool_together
from gpunet.devices.cpu.window import Chunk, blocks
from gpunet.devices.cpu.winograd import Winograd
from gpunet.devices.cpu.winograd_pool import PooledInputs, PooledOutputs
from gpunet.devices.cpu.winograd_tiles import Inputs
from gpunet.program.chunks import chunks, strip_rows, strips
from gpunet.program.filters import ConvShape, Filters

__all__ = ["conv_pool_backward_bias", "conv_pool_backward_input", "conv_pool_backward_weights", "conv_pool_forward"]


@convolving
def conv_pool_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    switches: np.ndarray | None,
    columns: np.ndarray | None,
    workspace: np.ndarray | None,
    strip: np.ndarray | None,
    *,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
    dilation_rows: int,
    dilation_columns: int,
    H2: int,
    W2: int,
    F: int,
    S: int,
    relu: int,
    algorithm: str = "im2col",
    tile: int = 0,
    slices: int = 1,
) -> None:
    """Maximum over each F x F window, stride S >= F, of the (N, H2, W2, K) that conv_forward gives; then ReLU.

    x, w, b    as in conv_forward, in
    y          (N, H3, W3, K)   same dtype, out; any H3, W3: windows may hang over the lower and the right edge
    switches   (N, H3, W3, ceil(K/2))  uint8, out, where F <= 3, else (N, H3, W3, K), F <= 15: row*F + column inside the
                                window, as max_pool_forward has it, or, where ReLU gives 0, F*F: no position, which
                                gets no gradient. None: not wanted
    columns, workspace          as in conv_forward
    strip      (rows, K)        same dtype, scratch of "im2col": what a pool sees of S times as many output positions as
                                columns has, or of all. None for all other algorithms
    H2, W2     of the volume before the pool
    relu       1 or 0
    algorithm, tile, slices     as in conv_forward
    Bit for bit what conv_forward, max_pool_forward and relu_forward give. No output may alias an input.
    Source: CS231n "Convolutional Layer" and "Pooling Layer".
    """
    N, H3, _, K = y.shape
    window = Filters(w.shape[1], w.shape[2], S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns)
    shape = ConvShape.seen(x.shape, w.shape, (N, H2, W2, K), window)
    winograd = Winograd.of("forward", shape, algorithm, workspace)
    if winograd is not None and _in_twos(F, S, (H2, W2), y):
        winograd.forward(Inputs(x), w, PooledOutputs(y, switches, b, bool(relu), (H2, W2)))
        return
    if columns is None:
        columns = matrix_of_a_row(w, W2)
    matrices, most = tiles(columns, N, H2, W2)
    rows = len(matrices[0])
    size = strip_rows(H2, W2, rows, S)
    if strip is None:
        strip = np.empty((most * size, K), x.dtype)
    workers = max(1, min(most, len(strip) // size))

    def one(some: list[Chunk], worker: int) -> None:
        (image0, image1, row0, _), row1 = some[0], some[-1][3]
        down0, down1 = row0 // S, min(-(-row1 // S), H3)
        if down0 >= down1:
            return  # rows that no window sees
        before = strip[worker * size :][: (image1 - image0) * (row1 - row0) * W2]
        for chunk in some:
            first = (chunk[2] - row0) * W2
            positions = (image1 - image0) * (chunk[3] - chunk[2]) * W2
            multiply(x, w, b, before[first : first + positions], matrices[worker], chunk, W2, window)
        best = y[image0:image1, down0:down1]
        where = None if switches is None else switches[image0:image1, down0:down1]
        _pool(before.reshape(image1 - image0, row1 - row0, W2, K), best, where, F, S, relu)

    share(strips(N, H2, W2, rows, S), one, workers)


@convolving
def conv_pool_backward_weights(
    x: np.ndarray,
    dy: np.ndarray,
    switches: np.ndarray,
    dw: np.ndarray,
    columns: np.ndarray | None,
    workspace: np.ndarray | None,
    strip: np.ndarray | None,
    *,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
    dilation_rows: int,
    dilation_columns: int,
    H2: int,
    W2: int,
    F: int,
    S: int,
    algorithm: str = "im2col",
    tile: int = 0,
    slices: int = 1,
    accumulate: int = 0,
) -> None:
    """The gradient of the filters, of dy behind the pool: what conv_backward_weights gives of max_pool_backward's.

    x          (N, H, W, D)            float32 or float64, in
    dy         (N, H3, W3, K)          same dtype, in
    switches   (N, H3, W3, ceil(K/2))  uint8, or (N, H3, W3, K), in: what conv_pool_forward wrote
    dw         (K, FH, FW, D/groups)   same dtype, out; where accumulate is 1, in and out
    columns, workspace                 as in conv_backward_weights
    strip      (rows, K)               same dtype, scratch of "im2col", with as many rows as columns. None for others
    H2, W2, F, S                       as in conv_pool_forward
    algorithm, tile, slices            as in conv_forward
    No output may alias an input.
    """
    window = Filters(dw.shape[1], dw.shape[2], S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns)
    shape = ConvShape.seen(x.shape, dw.shape, (len(x), H2, W2, len(dw)), window)
    winograd = Winograd.of("backward_weights", shape, algorithm, workspace)
    if winograd is not None and _in_twos(F, S, (H2, W2), dy):
        winograd.backward_weights(Inputs(x), PooledInputs(dy, switches, (H2, W2)), dw, accumulate=accumulate)
        return
    if columns is None:
        columns, workspace = matrix_of_a_row(dw, W2), np.empty_like(dw).reshape(-1)
    scratch = _strip_like(columns, dy) if strip is None else strip
    for number, chunk in enumerate(chunks(len(x), H2, W2, len(columns))):
        unpool_together(dy, switches, scratch, chunk, W2, F, S)
        above, add = positions_of(scratch, chunk, W2), bool(accumulate) or number > 0
        each = partial(add_gradient, x, above, dw, columns, workspace, chunk, W2, window, add)
        share(parts_of(dw), each)


@convolving
def conv_pool_backward_input(
    dy: np.ndarray,
    switches: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray,
    columns: np.ndarray | None,
    workspace: np.ndarray | None,
    strip: np.ndarray | None,
    *,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
    dilation_rows: int,
    dilation_columns: int,
    H2: int,
    W2: int,
    F: int,
    S: int,
    algorithm: str = "im2col",
    tile: int = 0,
    slices: int = 1,
) -> None:
    """The gradient of the volume, of dy behind the pool: what conv_backward_input gives of max_pool_backward's.

    dy, switches  as in conv_pool_backward_weights, in
    w             (K, FH, FW, D/groups)   same dtype, in
    dx            (N, H, W, D)            same dtype, out; exactly 0 where no window looked
    columns, workspace                    as in conv_backward_input
    strip, H2, W2, F, S                   as in conv_pool_backward_weights
    algorithm, tile, slices               as in conv_forward
    No output may alias an input.
    """
    window = Filters(w.shape[1], w.shape[2], S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns)
    shape = ConvShape.seen(dx.shape, w.shape, (len(dx), H2, W2, len(w)), window)
    winograd = Winograd.of("backward_input", shape, algorithm, workspace)
    if winograd is not None and _in_twos(F, S, (H2, W2), dy):
        winograd.backward_input(PooledInputs(dy, switches, (H2, W2)), w, dx)
        return
    if columns is None:
        columns = matrix_of_a_row(w, W2)
    scratch = _strip_like(columns, dy) if strip is None else strip
    matrices, _ = tiles(columns, len(dx), H2, W2)
    rows = len(matrices[0])

    def above(chunk: Chunk, worker: int) -> np.ndarray:
        out = positions_of(scratch[worker * rows :], chunk, W2)
        unpool(dy, switches, out, chunk, W2, F, S)
        return out

    spread(above, w, dx, columns, (H2, W2), window)


def conv_pool_backward_bias(
    dy: np.ndarray,
    switches: np.ndarray,
    db: np.ndarray,
    partials: np.ndarray,
    *,
    H2: int,
    W2: int,
    F: int,
    S: int,
    block_rows: int,
    accumulate: int = 0,
) -> None:
    """The gradient of the bias, of dy behind the pool: bit for bit what bias_backward gives of max_pool_backward's.

    dy, switches  as in conv_pool_backward_weights, in
    db            (K,)             same dtype, out; where accumulate is 1, in and out: the sum is added to it
    partials      (>= blocks, K)   same dtype, scratch; blocks = ceil(N*H2*W2 / block_rows)
    H2, W2, F, S                   as in conv_pool_forward
    """
    rows = len(dy) * H2 * W2
    count = -(-rows // block_rows)
    many = block_rows >= H2 * W2  # then a block has several images, which are taken as one piece

    def one(block: int, worker: int) -> None:
        first, last = block * block_rows, min((block + 1) * block_rows, rows)
        image0, image1 = first // (H2 * W2), -(-last // (H2 * W2))
        pieces = [(image0, image1)] if many else [(image, image + 1) for image in range(image0, image1)]
        found = [rows_of_piece(dy, switches, piece, (first, last), (H2, W2), F, S) for piece in pieces]
        values = found[0] if len(found) == 1 else np.concatenate(found)
        partials[block] = column_sums(as_wide(values))

    share(range(count), one)
    total = sum_in_pairs(partials[:count])
    if accumulate:
        np.add(db, total, out=db)
    else:
        db[...] = total


def _in_twos(F: int, S: int, output: tuple[int, int], y: np.ndarray) -> bool:
    """Whether windows of a pool are 2 x 2 at stride 2, all within the output: then Winograd's tiles hold whole ones."""
    return F == S == 2 and all(2 * windows <= size for windows, size in zip(y.shape[1:3], output, strict=True))


def _pool(before: np.ndarray, y: np.ndarray, switches: np.ndarray | None, F: int, S: int, relu: int) -> None:
    """The maxima of a strip, and where they were, then ReLU, in blocks."""
    for block in blocks(y):
        image0, image1, row0, row1 = block
        best = y[image0:image1, row0:row1]
        kept = None if switches is None else switches[image0:image1, row0:row1]
        where = None if kept is None else room(kept, y.shape[3])
        if where is not None:
            where[...] = 0
        take_maxima(before, best, where, block, (F, F), (S, S), (0, 0))
        if relu:
            relu_of_maxima(best, where, F * F)
        if where is not None and kept is not None:
            together(where, kept)


def _strip_like(columns: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """A strip of its own for an algorithm that needs none."""
    return np.empty((len(columns), dy.shape[3]), dy.dtype)
