"""Winograd's convolution on the CPU: tiles of the input and the filters change to their values at points, one BLAS
product for each of the (m + 2)^2 points adds up over the maps, and what changes back are tiles of the output.

All of it happens in pieces within the scratch that the plan gave. Source: see `gpunet.program.winograd`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gpunet.devices.cpu.threads import in_parts, share, thread_count
from gpunet.devices.cpu.window import Chunk
from gpunet.devices.cpu.winograd_scratch import WIDTH, Pieces, pieces_of, sizes_of
from gpunet.devices.cpu.winograd_tiles import (
    Form,
    Inputs,
    Outputs,
    change,
    change_filters,
    cut,
    form_of,
    multiply,
    shares,
    slices,
    tiles_in,
)
from gpunet.program.algorithm import AlgorithmName, Pass
from gpunet.program.chunks import chunks
from gpunet.program.filters import ConvShape
from gpunet.program.winograd import WINOGRAD, suits, tiles

__all__: tuple[str, ...] = ()  # no ops here


class _Side(NamedTuple):
    """What becomes of x: planes (n, n, tiles, D) = matrix tile matrix^T; a tile is as large as the matrix is wide."""

    x: Inputs
    planes: np.ndarray
    padding: tuple[int, int]
    matrix: np.ndarray

    def tiles_at_a_time(self, across: int) -> int:
        """Whole rows of tiles, as many as stay in a core's own cache."""
        D: int = self.x.shape[3]
        return max(across, WIDTH // D)


@dataclass(frozen=True, slots=True)
class Winograd:
    """One pass of a convolution by F(m x m, 3 x 3) in the scratch that there is."""

    form: Form
    shape: ConvShape
    pieces: Pieces
    scratch: np.ndarray

    @classmethod
    def of(
        cls, pass_: Pass, shape: ConvShape, algorithm: AlgorithmName | str, workspace: np.ndarray | None
    ) -> "Winograd | None":
        """None where the algorithm is another one, the convolution does not suit it, or the workspace is too small."""
        m = next((m for name, m in WINOGRAD.items() if name == algorithm), None)
        if m is None or workspace is None or not suits(shape):
            return None
        pieces = pieces_of(sizes_of(pass_, shape, m), workspace.size, thread_count())
        return pieces and cls(form_of(m, workspace.dtype.name), shape, pieces, workspace)

    def forward(self, x: Inputs, w: np.ndarray, y: Outputs) -> None:
        """As conv_forward. NaN and infinity in a tile of x are NaN in all the m x m outputs that are made of it."""
        F = self.shape.filters
        self._convolve(x, w.transpose(1, 2, 3, 0), y, (F.P_top, F.P_left))

    def backward_input(self, dy: Inputs, w: np.ndarray, dx: np.ndarray) -> None:
        """As conv_backward_input: a convolution of dy with every filter turned round, K maps seen by D filters."""
        F = self.shape.filters
        self._convolve(dy, w[:, ::-1, ::-1].transpose(1, 2, 0, 3), Outputs(dx, None), (2 - F.P_top, 2 - F.P_left))

    def backward_weights(self, x: Inputs, dy: Inputs, dw: np.ndarray, *, accumulate: int) -> None:
        """As conv_backward_weights, the adjoint of `forward` in the filters: dw = G^T ((B^T x B) * (A dy A^T)) G.

        The tiles of a piece are summed in one product, pieces one after the other; where each worker has tiles of its
        own, then what they found, in their order.
        """
        if self.pieces.resident:
            self._with_own_sums(x, dy, dw, accumulate=bool(accumulate))
            return
        form, F = self.form, self.shape.filters
        D, K = x.shape[3], dy.shape[3]
        down, across = tiles(dy.shape[1], dy.shape[2], form.m)
        for number, chunk in enumerate(chunks(x.shape[0], down, across, self.pieces.tiles)):
            size = tiles_in(chunk, across)
            seen, rest = cut(self.scratch, form.n, form.n, size, D)
            above, rest = cut(rest, form.n, form.n, size, K)
            own = shares(rest, self.pieces.workers)
            of_x = _Side(x, seen, (F.P_top, F.P_left), form.B_T)
            self._change_tiles([of_x, _Side(dy, above, (0, 0), form.A_T.T)], chunk, own)
            self._multiply_gradients(seen, above, dw, own, adds=bool(accumulate) or number > 0)

    def _with_own_sums(self, x: Inputs, dy: Inputs, dw: np.ndarray, *, accumulate: bool) -> None:
        """Few maps: each worker takes its part of the pieces all the way, and adds them up by itself."""
        form, F, workers = self.form, self.shape.filters, self.pieces.workers
        n, (D, K) = form.n, (x.shape[3], dy.shape[3])
        down, across = tiles(dy.shape[1], dy.shape[2], form.m)
        pieces = list(chunks(x.shape[0], down, across, self.pieces.tiles))
        parts = in_parts(pieces, workers)
        own = shares(self.scratch, workers)

        def one(number: int, worker: int) -> None:
            total, rest = cut(own[number], *dw.shape)
            for chunk in parts[number]:
                size = tiles_in(chunk, across)
                seen, left = cut(rest, n, n, size, D)
                above, left = cut(left, n, n, size, K)
                products, between = cut(left, n, n, K, D)
                x.gather(seen, chunk, form.m, (F.P_top, F.P_left), n)
                change(form.B_T, seen, between=left)
                dy.gather(above, chunk, form.m, (0, 0), form.m)
                change(form.A_T.T, above, between=left)
                multiply(_points(above).transpose(0, 2, 1), _points(seen), _points(products))
                self._put_gradients(products, total, between, adds=chunk is not parts[number][0])

        share(range(len(parts)), one, workers)
        for number in range(len(parts)):
            total, _ = cut(own[number], *dw.shape)
            if accumulate or number:
                np.add(dw, total, out=dw)
            else:
                np.copyto(dw, total)

    # -- the products ------------------------------------------------------------------------------

    def _convolve(self, x: Inputs, filters: np.ndarray, y: Outputs, padding: tuple[int, int]) -> None:
        """y[n, i, j, k] = b[k] + sum of filters[r, c, d, k] * x[n, i - P_top + r, j - P_left + c, d].

        filters  (3, 3, D, K), of any strides
        padding  (P_top, P_left), which may be below 0
        """
        if self.pieces.resident:
            self._with_all_filters(x, filters, y, padding)
            return
        form = self.form
        down, across = tiles(*y.size, form.m)
        for chunk in chunks(x.shape[0], down, across, self.pieces.tiles):
            seen, rest = cut(self.scratch, form.n, form.n, tiles_in(chunk, across), x.shape[3])
            own = shares(rest, self.pieces.workers)
            self._change_tiles([_Side(x, seen, padding, form.B_T)], chunk, own)
            self._with_all_tiles(seen, filters, y, chunk, own)

    def _with_all_filters(self, x: Inputs, filters: np.ndarray, y: Outputs, padding: tuple[int, int]) -> None:
        """Few maps: the filters are changed once; each worker takes some tiles at a time all the way."""
        form, workers = self.form, self.pieces.workers
        n, (D, K) = form.n, filters.shape[2:]
        down, across = tiles(*y.size, form.m)
        values, rest = cut(self.scratch, n, n, D, K)
        own = shares(rest, workers)

        def of_filters(maps: slice, worker: int) -> None:
            change_filters(filters[:, :, maps], values[:, :, maps], form, own[worker])

        def of_tiles(chunk: Chunk, worker: int) -> None:
            size = tiles_in(chunk, across)
            seen, left = cut(own[worker], n, n, size, D)
            products, between = cut(left, n, n, size, K)
            x.gather(seen, chunk, form.m, padding, n)
            change(form.B_T, seen, between=left)
            multiply(_points(seen), _points(values), _points(products))
            change(form.A_T, products, max(between, own[worker][: seen.size], key=len))  # the tiles have been used
            y.scatter(products, chunk, form.m)

        share(slices(D, max(1, WIDTH // K)), of_filters, workers)
        share(chunks(x.shape[0], down, across, self.pieces.tiles), of_tiles, workers)

    def _with_all_tiles(
        self,
        seen: np.ndarray,
        filters: np.ndarray,
        y: Outputs,
        chunk: Chunk,
        own: list[np.ndarray],
    ) -> None:
        """Many maps: all share `seen`, the tiles of a chunk; each worker has some filters at a time."""
        form = self.form
        n, _, size, D = seen.shape

        def of_filters(some: slice, worker: int) -> None:
            count = some.stop - some.start
            values, left = cut(own[worker], n, n, D, count)
            products, between = cut(left, n, n, size, count)
            change_filters(filters[..., some], values, form, between)
            multiply(_points(seen), _points(values), _points(products))
            change(form.A_T, products, between)
            y.of(some).scatter(products, chunk, form.m)

        share(slices(filters.shape[3], self.pieces.maps), of_filters, len(own))

    def _multiply_gradients(
        self, seen: np.ndarray, above: np.ndarray, dw: np.ndarray, own: list[np.ndarray], *, adds: bool
    ) -> None:
        """The part of dw that the tiles `seen` (n, n, tiles, D) of x and `above` (n, n, tiles, K) of dy give."""
        n, D = self.form.n, seen.shape[3]
        of_tiles, of_gradients = _points(seen), _points(above).transpose(0, 2, 1)

        def of_filters(some: slice, worker: int) -> None:
            products, between = cut(own[worker], n, n, some.stop - some.start, D)
            multiply(of_gradients[:, some], of_tiles, _points(products))
            self._put_gradients(products, dw[some], between, adds=adds)

        filters = list(slices(len(dw), self.pieces.maps))
        if len(filters) >= len(own):
            share(filters, of_filters, len(own))
            return
        for some in filters:  # too few for all workers, who share the points instead
            products, between = cut(own[0], n, n, some.stop - some.start, D)
            left, out = of_gradients[:, some], _points(products)

            def of_points(those: slice, worker: int, left: np.ndarray = left, out: np.ndarray = out) -> None:
                np.matmul(left[those], of_tiles[those], out=out[those])

            share(slices(n * n, -(-n * n // len(own))), of_points, len(own))
            self._put_gradients(products, dw[some], between, adds=adds)

    def _put_gradients(self, products: np.ndarray, dw: np.ndarray, between: np.ndarray, *, adds: bool) -> None:
        """What the products at the points (n, n, filters, D) come back to is written to dw, or added to it."""
        change(self.form.G.T, products, between)
        target = dw.transpose(1, 2, 0, 3)
        if adds:
            np.add(target, products[:3, :3], out=target)
        else:
            np.copyto(target, products[:3, :3])

    def _change_tiles(self, sides: Sequence[_Side], chunk: Chunk, own: list[np.ndarray]) -> None:
        """The tiles of a chunk on each of the sides, by all workers, some rows of tiles at a time."""
        image0, image1, row0, row1 = chunk
        images, rows = image1 - image0, row1 - row0
        across = sides[0].planes.shape[2] // (images * rows)
        parts = ((side, part) for side in sides for part in chunks(images, rows, across, side.tiles_at_a_time(across)))

        def one(item: tuple[_Side, Chunk], worker: int) -> None:
            side, part = item
            first = (part[0] * rows + part[2]) * across
            some = side.planes[:, :, first : first + tiles_in(part, across)]
            there = part[0] + image0, part[1] + image0, part[2] + row0, part[3] + row0
            side.x.gather(some, there, self.form.m, side.padding, side.matrix.shape[1])
            change(side.matrix, some, own[worker])

        share(parts, one, len(own))


def _points(planes: np.ndarray) -> np.ndarray:
    """(n, n, rows, columns) as a stack of n*n matrices, one for each point."""
    n, _, rows, columns = planes.shape
    return planes.reshape(n * n, rows, columns)
