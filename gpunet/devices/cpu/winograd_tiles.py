"""What Winograd's convolution on the CPU does to tiles: fetch them, change them to their values at points and back, and
put them where they belong.

Tiles lie as planes, (n, n, tiles, maps): all values of one place in a tile side by side. So a change is two products
with a small matrix, and what is multiplied at a point is one matrix of tiles and maps.
"""

from collections.abc import Callable, Iterator
from functools import cache
from math import prod
from threading import local
from typing import NamedTuple

import numpy as np

from gpunet.devices.cpu.threads import spare
from gpunet.devices.cpu.window import Chunk
from gpunet.devices.cpu.winograd_scratch import LEAST_TILES, SMALL
from gpunet.program.chunks import chunk_rows, chunks
from gpunet.program.winograd import winograd

__all__: tuple[str, ...] = ()  # no ops here

COPIED = 262144
"""Values of the input that are copied with zeros around them at a time: they stay in a core's own cache."""


class Form(NamedTuple):
    """F(m x m, 3 x 3) in a dtype: n = m + 2, and the matrices of `gpunet.program.winograd.Winograd`."""

    m: int
    n: int
    B_T: np.ndarray
    G: np.ndarray
    A_T: np.ndarray


@cache
def form_of(m: int, dtype: str) -> Form:
    """F(m x m, 3 x 3) in this dtype."""
    found = winograd(m)
    return Form(m, found.n, *(np.array(matrix, dtype) for matrix in (found.B_T, found.G, found.A_T)))


def change(matrix: np.ndarray, planes: np.ndarray, between: np.ndarray) -> None:
    """planes[:a, :a] = matrix planes[:b, :b] matrix^T over the first two axes.

    matrix   (a, b)                in
    planes   (n, n, rows, values)  same dtype, in and out; a plane is contiguous
    between  flat, same dtype, scratch: what it has room for is changed at a time, in as few calls of NumPy as can be,
             as at each of them threads wait for each other
    """
    a, b = matrix.shape
    n, _, rows, values = planes.shape
    whole = planes.reshape(n, n, rows * values)
    before, behind = whole[:b, :b].transpose(1, 0, 2), whole[:a, :a]
    for some in slices(rows * values, len(between) // (a * b)):
        half, _ = cut(between, b, a, some.stop - some.start)
        np.matmul(matrix, before[..., some], out=half)
        np.matmul(matrix, half.transpose(1, 0, 2), out=behind[..., some])


def multiply(left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
    """out = left right, of stacks of matrices, some rows of `left` at a time where that makes products SMALL."""
    rows, columns = left.shape[1], right.shape[1] * right.shape[2]
    most = max(LEAST_TILES, SMALL // columns)
    for some in slices(rows, -(-rows // -(-rows // most))):
        np.matmul(left[:, some], right, out=out[:, some])


def change_filters(filters: np.ndarray, planes: np.ndarray, form: Form, between: np.ndarray) -> None:
    """planes (n, n, D, K) = G filters G^T; filters (3, 3, D, K), of any strides."""
    np.copyto(planes[:3, :3], filters)
    change(form.G, planes, between)


class Inputs:
    """Where tiles come from: a volume (N, H, W, D) and zeros around it."""

    def __init__(self, x: np.ndarray) -> None:
        self._x = x

    @property
    def shape(self) -> tuple[int, ...]:
        """N, H, W, D."""
        return self._x.shape

    def gather(self, planes: np.ndarray, chunk: Chunk, m: int, padding: tuple[int, int], extent: int) -> None:
        """See the function of that name."""
        gather(self._x, planes, chunk, m, padding, extent)


class Outputs:
    """Where tiles go: the outputs y (N, H2, W2, K), plus a bias (K,) or None, and not below 0 where `relu`."""

    def __init__(self, y: np.ndarray, b: np.ndarray | None, relu: bool = False) -> None:
        self._y, self._b, self._relu = y, b, relu

    @property
    def size(self) -> tuple[int, int]:
        """H2, W2."""
        _, H2, W2, _ = self._y.shape
        return H2, W2

    def of(self, maps: slice) -> "Outputs":
        """Those of some filters."""
        return Outputs(self._y[..., maps], None if self._b is None else self._b[maps], self._relu)

    def scatter(self, planes: np.ndarray, chunk: Chunk, m: int) -> None:
        """See the function of that name; then ReLU."""
        scatter(planes, self._y, self._b, chunk, m)
        if self._relu:
            image0, image1, row0, row1 = chunk
            made = self._y[image0:image1, row0 * m : row1 * m]
            np.maximum(made, 0, out=made)


Write = Callable[[np.ndarray, np.ndarray], None]
"""Called with some values of x, (images, rows, columns, maps), and room for what becomes of them."""


def gather(
    x: np.ndarray,
    planes: np.ndarray,
    chunk: Chunk,
    m: int,
    padding: tuple[int, int],
    extent: int,
    write: Write | None = None,
) -> None:
    """planes[r, c] = what x has at row r, column c of each tile of a chunk, r and c below `extent`; zeros outside x.

    A tile begins m rows or columns behind the one before it, the first `padding` above and left of x. With `write` it
    is what that makes of x.
    """
    images, down = chunk[1] - chunk[0], chunk[3] - chunk[2]
    across = planes.shape[2] // (images * down)
    target = _positions(planes[:extent, :extent]).reshape(extent, extent, images, down, across)
    at_a_time = chunk_rows(images, down, across, COPIED // (m * m * x.shape[3]))
    for image0, image1, row0, row1 in chunks(images, down, across, at_a_time):
        corner = (chunk[2] + row0) * m - padding[0], -padding[1]
        size = (row1 - row0 - 1) * m + extent, (across - 1) * m + extent
        whole = _seen(x[chunk[0] + image0 : chunk[0] + image1], corner, size, write)
        image, row, column = whole.strides
        shape, strides = (extent, extent, len(whole), row1 - row0, across), (row, column, image, m * row, m * column)
        target[:, :, image0:image1, row0:row1] = np.ndarray(shape, whole.dtype, whole, 0, strides)


def _seen(x: np.ndarray, first: tuple[int, int], size: tuple[int, int], write: Write | None) -> np.ndarray:
    """So many positions of x from `first` on, which may lie in front of it; where x has none, zeros in a copy of it."""
    N, H, W, D = x.shape
    (top, left), (bottom, right) = first, (first[0] + size[0], first[1] + size[1])
    if write is None and min(first) >= 0 and bottom <= H and right <= W:
        return _positions(x[:, top:bottom, left:right])
    rows, columns = _inside(top, bottom, H), _inside(left, right, W)
    copy = _zeros_around((N, *size, D), x.dtype, rows, columns)
    seen = x[:, rows.start + top : rows.stop + top, columns.start + left : columns.stop + left]
    if write is None:
        _positions(copy)[:, rows, columns] = _positions(seen)
    else:
        write(seen, copy[:, rows, columns])
    return _positions(copy)


def _inside(first: int, last: int, size: int) -> slice:
    """Those of the positions first:last, counted from the first of them, that an axis of `size` has."""
    begin = min(max(first, 0), last)
    return slice(begin - first, max(begin, min(last, size)) - first)


_rooms = local()
"""What each thread copied to last: `wanted`, and the `copy`."""


def _zeros_around(shape: tuple[int, ...], dtype: np.dtype, rows: slice, columns: slice) -> np.ndarray:
    """Room of this thread's own, (images, rows, columns, maps), with zeros outside of these rows and columns.

    They are still there where the same was wanted the time before, so mostly nothing is left to do.
    """
    wanted = shape, dtype, rows.start, rows.stop, columns.start, columns.stop
    if getattr(_rooms, "wanted", None) != wanted:
        copy = spare("around", shape, dtype)
        copy[...] = 0
        _rooms.wanted, _rooms.copy = wanted, copy
    found: np.ndarray = _rooms.copy
    return found


def scatter(planes: np.ndarray, y: np.ndarray, b: np.ndarray | None, chunk: Chunk, m: int) -> None:
    """y, at row r, column c of each tile of a chunk, = planes[r, c] + b; what hangs over y is dropped.

    Tiles that do not hang over go in one call, as Python's time counts here, and so do those at an edge.
    """
    image0, image1, row0, row1 = chunk
    if b is None:
        planes, y = _positions(planes), _positions(y)
    images, down = image1 - image0, row1 - row0
    across = planes.shape[2] // (images * down)
    tiles = planes[:m, :m].reshape(m, m, images, down, across, *planes.shape[3:])
    part = y[image0:image1, row0 * m : row1 * m]
    for rows, height in _whole_and_cut(down, part.shape[1], m):
        for columns, width in _whole_and_cut(across, part.shape[2], m):
            target = part[:, rows.start * m : rows.start * m + (rows.stop - rows.start) * height]
            target = target[:, :, columns.start * m : columns.start * m + (columns.stop - columns.start) * width]
            shape = images, rows.stop - rows.start, height, columns.stop - columns.start, width, *part.shape[3:]
            _put(tiles[:height, :width, :, rows, columns], b, np.moveaxis(target.reshape(shape), (2, 4), (0, 1)))


def _whole_and_cut(tiles: int, size: int, m: int) -> Iterator[tuple[slice, int]]:
    """Tiles along an axis of `size`, and how many of their m positions it has: the whole ones, and the one cut off."""
    whole = min(tiles, size // m)
    if whole:
        yield slice(0, whole), m
    if whole < tiles:
        yield slice(whole, whole + 1), size - whole * m


def _put(values: np.ndarray, b: np.ndarray | None, target: np.ndarray) -> None:
    """target = values, plus b where there is one."""
    if b is None:
        np.copyto(target, values)
    else:
        np.add(values, b, out=target)


def _positions(x: np.ndarray) -> np.ndarray:
    """A view without the last axis: all maps of a position are one element, which NumPy copies at once."""
    position: np.ndarray = x.view(np.dtype((np.void, x.shape[-1] * x.itemsize)))[..., 0]
    return position


def tiles_in(chunk: Chunk, across: int) -> int:
    """Tiles of a chunk with `across` in a row."""
    image0, image1, row0, row1 = chunk
    return (image1 - image0) * (row1 - row0) * across


def slices(length: int, step: int) -> Iterator[slice]:
    """The range 0..length in slices of `step`."""
    return (slice(first, min(first + step, length)) for first in range(0, length, step))


def cut(scratch: np.ndarray, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """An array of this shape off the front of flat scratch, and the rest."""
    size = prod(shape)
    return scratch[:size].reshape(shape), scratch[size:]


def shares(scratch: np.ndarray, workers: int) -> list[np.ndarray]:
    """Flat scratch in equal parts, one for each worker."""
    size = len(scratch) // workers
    return [scratch[worker * size : (worker + 1) * size] for worker in range(workers)]
