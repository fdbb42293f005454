"""Winograd's convolution on the CPU: tiles of the input and the filters go to values at points, one BLAS product for
each of the (m + 2)^2 points adds up over the maps, and what comes back are tiles of the output.

All of it happens in pieces within the scratch that the plan gave. Every change of place is two products with a small
matrix (`_sandwich`), on blocks that stay in a core's cache. Source: `gpunet.program.winograd`.
"""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from gpunet.devices.cpu.threads import share, thread_count
from gpunet.devices.cpu.window import Chunk, positions
from gpunet.devices.cpu.winograd_scratch import WIDTH, Pieces, pieces_of, sizes_of
from gpunet.program.algorithm import Pass
from gpunet.program.chunks import chunks
from gpunet.program.filters import ConvShape
from gpunet.program.winograd import WINOGRAD, suits, tiles, winograd

__all__: tuple[str, ...] = ()  # no ops here


class _Matrices(NamedTuple):
    """Those of `gpunet.program.winograd.Winograd` as arrays of a dtype."""

    B_T: np.ndarray
    G: np.ndarray
    A_T: np.ndarray


@cache
def _matrices(m: int, dtype: str) -> _Matrices:
    form = winograd(m)
    return _Matrices(*(np.array(matrix, dtype) for matrix in (form.B_T, form.G, form.A_T)))


def winograd_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    workspace: np.ndarray | None,
    algorithm: str,
    shape: ConvShape,
) -> bool:
    """conv_forward of a shape that suits; False, and nothing is done, where the workspace is too small for it."""
    m, F = WINOGRAD.get(algorithm, 0), shape.filters
    if (pieces := _pieces("forward", shape, m, workspace)) is None:
        return False
    _convolve(x, w.transpose(1, 2, 3, 0), b, y, workspace, m, (F.P_top, F.P_left), pieces)
    return True


def winograd_backward_input(
    dy: np.ndarray, w: np.ndarray, dx: np.ndarray, workspace: np.ndarray | None, algorithm: str, shape: ConvShape
) -> bool:
    """conv_backward_input likewise: a convolution of dy with each filter turned round, and as much padding as keeps
    dx where x was."""
    m, F = WINOGRAD.get(algorithm, 0), shape.filters
    if (pieces := _pieces("backward_input", shape, m, workspace)) is None:
        return False
    turned = w[:, ::-1, ::-1].transpose(1, 2, 0, 3)
    _convolve(dy, turned, None, dx, workspace, m, (2 - F.P_top, 2 - F.P_left), pieces)
    return True


def winograd_backward_weights(
    x: np.ndarray,
    dy: np.ndarray,
    dw: np.ndarray,
    workspace: np.ndarray | None,
    algorithm: str,
    shape: ConvShape,
    accumulate: int,
) -> bool:
    """conv_backward_weights likewise."""
    m, F = WINOGRAD.get(algorithm, 0), shape.filters
    if (pieces := _pieces("backward_weights", shape, m, workspace)) is None:
        return False
    _filter_gradient(x, dy, dw, workspace, m, (F.P_top, F.P_left), pieces, bool(accumulate))
    return True


def _pieces(pass_: Pass, shape: ConvShape, m: int, workspace: np.ndarray | None) -> Pieces | None:
    """The pieces in which F(m x m, 3 x 3) makes this; None where it cannot, or has no room."""
    if not m or workspace is None or not suits(shape):
        return None
    return pieces_of(sizes_of(pass_, shape, m), workspace.size, thread_count())


def _convolve(
    x: np.ndarray,
    filters: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    scratch: np.ndarray,
    m: int,
    padding: tuple[int, int],
    pieces: Pieces,
) -> None:
    """y[n, i, j, k] = b[k] + sum over r, c and d of filters[r, c, d, k] * x[n, i - P_top + r, j - P_left + c, d].

    x        (N, H, W, D)    float32 or float64, in; zeros around it
    filters  (3, 3, D, K)    same dtype, in; any strides
    b        (K,)            same dtype, in; None: no bias
    y        (N, H2, W2, K)  same dtype, out
    scratch  flat, same dtype; as large as `pieces` say
    padding  (P_top, P_left), also below 0
    A NaN or infinity in a tile of x is NaN in all of the m x m outputs made of it.
    """
    if pieces.resident:
        _with_resident_filters(x, filters, b, y, scratch, m, padding, pieces)
    else:
        _with_resident_tiles(x, filters, b, y, scratch, m, padding, pieces)


def _with_resident_filters(
    x: np.ndarray,
    filters: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    scratch: np.ndarray,
    m: int,
    padding: tuple[int, int],
    pieces: Pieces,
) -> None:
    """Few maps: the filters are transformed once, and each worker takes pieces of the tiles through all the steps."""
    form, n = _matrices(m, x.dtype.name), m + 2
    D, K = filters.shape[2:]
    down, across = tiles(*y.shape[1:3], m)
    values, rest = _cut(scratch, n, n, D, K)
    own = _shares(rest, pieces.workers)

    def of_filters(maps: slice, worker: int) -> None:
        _transform_filters(filters[:, :, maps], values[:, :, maps], form, own[worker])

    step = max(1, WIDTH // K)
    share((slice(d, d + step) for d in range(0, D, step)), of_filters, pieces.workers)

    def one(chunk: Chunk, worker: int) -> None:
        size = _size(chunk, across)
        inputs, left = _cut(own[worker], n, n, size, D)
        _transform_tiles(x, inputs, chunk, m, padding, form.B_T, left)
        products, between = _cut(left, n, n, size, K)
        np.matmul(inputs.reshape(n * n, size, D), values.reshape(n * n, D, K), out=products.reshape(n * n, size, K))
        _sandwich(form.A_T, products, between)
        _scatter(products, y, b, chunk, m)

    share(chunks(len(x), down, across, pieces.tiles), one, pieces.workers)


def _with_resident_tiles(
    x: np.ndarray,
    filters: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    scratch: np.ndarray,
    m: int,
    padding: tuple[int, int],
    pieces: Pieces,
) -> None:
    """Many maps: all workers transform a piece of the tiles, then each takes some filters at a time and multiplies."""
    form, n = _matrices(m, x.dtype.name), m + 2
    D, K = filters.shape[2:]
    down, across = tiles(*y.shape[1:3], m)
    for chunk in chunks(len(x), down, across, pieces.tiles):
        size = _size(chunk, across)
        inputs, rest = _cut(scratch, n, n, size, D)
        own = _shares(rest, pieces.workers)
        _share_tiles(x, inputs, chunk, m, padding, form.B_T, own)

        def one(some: slice, worker: int, chunk: Chunk = chunk, size: int = size) -> None:
            inputs, _ = _cut(scratch, n, n, size, D)
            count = len(range(K)[some])
            values, left = _cut(own[worker], n, n, D, count)  # noqa: B023
            products, between = _cut(left, n, n, size, count)
            _transform_filters(filters[..., some], values, form, between)
            np.matmul(
                inputs.reshape(n * n, size, D),
                values.reshape(n * n, D, count),
                out=products.reshape(n * n, size, count),
            )
            _sandwich(form.A_T, products, between)
            _scatter(products, y[..., some], None if b is None else b[some], chunk, m)

        share(_slices(K, pieces.maps), one, pieces.workers)


def _filter_gradient(
    x: np.ndarray,
    dy: np.ndarray,
    dw: np.ndarray,
    scratch: np.ndarray,
    m: int,
    padding: tuple[int, int],
    pieces: Pieces,
    accumulate: bool,
) -> None:
    """dw[k, r, c, d] = sum over n, i and j of dy[n, i, j, k] * x[n, i - P_top + r, j - P_left + c, d].

    x        (N, H, W, D)    float32 or float64, in; zeros around it
    dy       (N, H2, W2, K)  same dtype, in
    dw       (K, 3, 3, D)    same dtype, out; where `accumulate`, in and out: the sum is added to it
    scratch  flat, same dtype; as large as `pieces` say
    The adjoint of `_convolve` in the filters: dw = G^T ((B^T x B) * (A dy A^T)) G, summed over the tiles of a piece in
    one product, then piece by piece.
    """
    form, n = _matrices(m, x.dtype.name), m + 2
    D, K = x.shape[3], dy.shape[3]
    down, across = tiles(*dy.shape[1:3], m)
    for number, chunk in enumerate(chunks(len(x), down, across, pieces.tiles)):
        size = _size(chunk, across)
        inputs, rest = _cut(scratch, n, n, size, D)
        above, rest = _cut(rest, n, n, size, K)
        own = _shares(rest, pieces.workers)
        _share_tiles(x, inputs, chunk, m, padding, form.B_T, own)
        _share_tiles(dy, above, chunk, m, (0, 0), form.A_T.T, own)
        adds = accumulate or number > 0

        def one(some: slice, worker: int, adds: bool = adds) -> None:
            target = dw[some].transpose(1, 2, 0, 3)
            products, between = _cut(own[worker], n, n, target.shape[2], D)  # noqa: B023
            left = above.reshape(n * n, -1, K)[:, :, some].transpose(0, 2, 1)  # noqa: B023
            np.matmul(left, inputs.reshape(n * n, -1, D), out=products.reshape(n * n, -1, D))  # noqa: B023
            _sandwich(form.G.T, products, between)
            if adds:
                np.add(target, products[:3, :3], out=target)
            else:
                np.copyto(target, products[:3, :3])

        share(_slices(K, pieces.maps), one, pieces.workers)


# -- there and back ------------------------------------------------------------------------------------


def _sandwich(matrix: np.ndarray, planes: np.ndarray, between: np.ndarray) -> None:
    """planes[:a, :a] = matrix planes[:b, :b] matrix^T over the first two axes; matrix (a, b).

    planes   (n, n, rows, values)  in and out; rows and values together contiguous
    between  flat scratch for a*b*WIDTH values
    """
    a, b = matrix.shape
    n, _, rows, values = planes.shape
    whole = planes.reshape(n, n, rows * values)
    for first in range(0, rows * values, WIDTH):
        block = whole[:, :, first : first + WIDTH]
        half, _ = _cut(between, b, a, block.shape[2])
        np.matmul(matrix, block[:b, :b].transpose(1, 0, 2), out=half)
        np.matmul(matrix, half.transpose(1, 0, 2), out=block[:a, :a])


def _transform_filters(filters: np.ndarray, values: np.ndarray, form: _Matrices, between: np.ndarray) -> None:
    """values (n, n, D, K) = G filters G^T; filters (3, 3, D, K)."""
    np.copyto(values[:3, :3], filters)
    _sandwich(form.G, values, between)


def _transform_tiles(
    x: np.ndarray,
    planes: np.ndarray,
    chunk: Chunk,
    m: int,
    padding: tuple[int, int],
    matrix: np.ndarray,
    between: np.ndarray,
) -> None:
    """planes (n, n, tiles, D) = matrix tile matrix^T of each tile of the chunk; a tile has as many rows as the matrix
    has columns, and begins m behind the one before it."""
    _gather(x, planes, chunk, m, padding, matrix.shape[1])
    _sandwich(matrix, planes, between)


def _share_tiles(
    x: np.ndarray,
    planes: np.ndarray,
    chunk: Chunk,
    m: int,
    padding: tuple[int, int],
    matrix: np.ndarray,
    own: list[np.ndarray],
) -> None:
    """As `_transform_tiles`, by all workers, some rows of tiles at a time."""
    image0, image1, row0, row1 = chunk
    _, _, size, D = planes.shape
    rows = row1 - row0
    across = size // ((image1 - image0) * rows)

    def one(part: Chunk, worker: int) -> None:
        first = (part[0] * rows + part[2]) * across
        some = planes[:, :, first : first + _size(part, across)]
        there = part[0] + image0, part[1] + image0, part[2] + row0, part[3] + row0
        _transform_tiles(x, some, there, m, padding, matrix, own[worker])

    share(chunks(image1 - image0, rows, across, max(across, WIDTH // D)), one, len(own))


def _gather(x: np.ndarray, planes: np.ndarray, chunk: Chunk, m: int, padding: tuple[int, int], extent: int) -> None:
    """planes[r, c] = what x has at row r, column c of each tile of the chunk; zeros outside x."""
    image0, image1, row0, row1 = chunk
    H, W, D = x.shape[1:]
    across = planes.shape[2] // ((image1 - image0) * (row1 - row0))
    columns = [positions(W, 0, across, c, m, padding[1]) for c in range(extent)]
    for r in range(extent):
        down0, down1 = positions(H, row0, row1, r, m, padding[0])
        top = down0 * m - padding[0] + r
        for c, (right0, right1) in enumerate(columns):
            part = planes[r, c].reshape(image1 - image0, row1 - row0, across, D)
            left = right0 * m - padding[1] + c
            if (down0, down1, right0, right1) != (row0, row1, 0, across):
                part[...] = 0
            part[:, down0 - row0 : down1 - row0, right0:right1] = x[
                image0:image1, top : top + (down1 - down0) * m : m, left : left + (right1 - right0) * m : m
            ]


def _scatter(planes: np.ndarray, y: np.ndarray, b: np.ndarray | None, chunk: Chunk, m: int) -> None:
    """y, at row r, column c of each tile of the chunk, = planes[r, c] + b; what hangs over y is dropped."""
    image0, image1, row0, row1 = chunk
    K = planes.shape[3]
    for r in range(m):
        for c in range(m):
            target = y[image0:image1, row0 * m + r : row1 * m : m, c::m]
            tiles = planes[r, c].reshape(image1 - image0, row1 - row0, -1, K)
            seen = tiles[:, : target.shape[1], : target.shape[2]]
            if b is None:
                np.copyto(target, seen)
            else:
                np.add(seen, b, out=target)


# -- pieces --------------------------------------------------------------------------------------------


def _size(chunk: Chunk, across: int) -> int:
    """Tiles in a chunk, `across` in a row."""
    image0, image1, row0, row1 = chunk
    return (image1 - image0) * (row1 - row0) * across


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(first, min(first + step, length)) for first in range(0, length, step))


def _cut(scratch: np.ndarray, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """An array of this shape off the front of flat scratch, and the rest."""
    size = int(np.prod(shape))
    return scratch[:size].reshape(shape), scratch[size:]


def _shares(scratch: np.ndarray, workers: int) -> list[np.ndarray]:
    """Flat scratch in equal parts, one for each worker."""
    size = len(scratch) // workers
    return [scratch[worker * size : (worker + 1) * size] for worker in range(workers)]
