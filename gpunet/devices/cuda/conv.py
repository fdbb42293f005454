"""Convolution on CUDA, by the algorithm that the plan chose.

"implicit", "depthwise" and "winograd2" have kernels of their own. "im2col": im2col and its inverse from cuda/conv.cu,
products from cuBLAS, chunk by chunk; filters of 1 x 1 at stride 1 need no im2col matrix (`columns` is None): x is it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gpunet.devices.cuda import depthwise, direct
from gpunet.devices.cuda.arrays import DeviceArray, Maps, Matrix
from gpunet.devices.cuda.bias import add_bias
from gpunet.devices.cuda.gemm import matmul
from gpunet.devices.cuda.im2col import col2im_numbers, im2col_numbers
from gpunet.devices.cuda.launch import launch
from gpunet.program.chunks import chunks
from gpunet.program.filters import ConvShape, Filters, Group, groups

__all__ = ["conv_backward_input", "conv_backward_weights", "conv_forward"]


def conv_forward(
    x: DeviceArray,
    w: DeviceArray,
    b: DeviceArray | None,
    y: DeviceArray | Maps,
    columns: DeviceArray | None,
    workspace: DeviceArray | None,
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
    """y = columns @ w.T + b; see gpunet.devices.cpu.conv."""
    shape = shape_of(x, w, y.shape[1:3], S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns)
    if direct.forward(algorithm, x, w, b, y, workspace, shape, tile, slices):
        return
    assert isinstance(y, DeviceArray)  # the others write no maps of a wider volume, so no plan asks for that
    if algorithm == "depthwise":
        depthwise.forward(x, w, b, y, shape)
        return
    for chunk in im2col_chunks(columns, shape):
        part = chunk.rows_of(y)
        for group in groups(x.shape[3], w.shape):
            above = part.matrix(group.filter0, group.filter1)
            matmul(chunk.im2col(x, group), filters_of(w, group), above, transpose_b=True, workspace=workspace)
        if b is not None:
            add_bias(b, part)


def conv_backward_weights(
    x: DeviceArray,
    dy: DeviceArray,
    dw: DeviceArray,
    columns: DeviceArray | None,
    workspace: DeviceArray | None,
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
    """dw = dy.T @ columns, summed over the chunks in order; see gpunet.devices.cpu.conv."""
    shape = shape_of(x, dw, dy.shape[1:3], S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns)
    if direct.backward_weights(algorithm, x, dy, dw, workspace, shape, tile, slices, accumulate):
        return
    if algorithm == "depthwise":
        depthwise.backward_weights(x, dy, dw, workspace, shape, slices, accumulate)
        return
    for index, chunk in enumerate(im2col_chunks(columns, shape)):
        add = bool(accumulate) or index > 0
        for group in groups(x.shape[3], dw.shape):
            above = chunk.rows_of(dy).matrix(group.filter0, group.filter1)
            matrix, gradient = chunk.im2col(x, group), filters_of(dw, group)
            matmul(above, matrix, gradient, transpose_a=True, accumulate=add, workspace=workspace)


def conv_backward_input(
    dy: DeviceArray,
    w: DeviceArray,
    dx: DeviceArray,
    columns: DeviceArray | None,
    workspace: DeviceArray | None,
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
    """d(columns) = dy @ w, each value then added to where im2col took it from; see gpunet.devices.cpu.conv."""
    shape = shape_of(dx, w, dy.shape[1:3], S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns)
    if direct.backward_input(algorithm, dy, w, dx, workspace, shape, tile, slices):
        return
    if algorithm == "depthwise":
        depthwise.backward_input(dy, w, dx, shape)
        return
    for chunk in im2col_chunks(columns, shape):
        for group in groups(dx.shape[3], w.shape):
            above = chunk.rows_of(dy).matrix(group.filter0, group.filter1)
            matmul(above, filters_of(w, group), chunk.matrix(dx, group), workspace=workspace)
            chunk.col2im(dx, group)


def shape_of(
    x: DeviceArray,
    w: DeviceArray,
    output: tuple[int, ...],
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
    dilation_rows: int,
    dilation_columns: int,
) -> ConvShape:
    """The convolution of an op; `output`: H2 and W2."""
    filters = Filters(w.shape[1], w.shape[2], S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns)
    return ConvShape.seen(x.shape, w.shape, (x.shape[0], *output), filters)


def filters_of(w: DeviceArray, group: Group) -> DeviceArray:
    """The weights of one group, a row for each filter."""
    return w.reshape(w.shape[0], -1).rows(group.filter0, group.filter1)


@dataclass(frozen=True)
class Chunk:
    """Output rows [row0, row1) of images [image0, image1), and the part of the im2col scratch that holds them.

    `columns`  None where x itself is the matrix
    """

    columns: DeviceArray | None
    image0: int
    image1: int
    row0: int
    row1: int
    H: int
    H2: int
    W2: int
    window: Filters

    @property
    def positions(self) -> int:
        """Output positions, each a row of the matrix."""
        return (self.image1 - self.image0) * (self.row1 - self.row0) * self.W2

    def rows_of(self, y: DeviceArray) -> DeviceArray:
        """The positions of this chunk in y (N, H2, W2, K), a row of K values for each."""
        first = (self.image0 * self.H2 + self.row0) * self.W2
        return y.reshape(-1, y.shape[3]).rows(first, first + self.positions)

    def matrix(self, x: DeviceArray, group: Group) -> Matrix:
        """Where the im2col matrix of a group stands."""
        return x.matrix(group.map0, group.map1) if self.columns is None else self.columns.matrix()

    def im2col(self, x: DeviceArray, group: Group) -> Matrix:
        """The windows of a group's maps of x (N, H, W, D)."""
        if self.columns is not None:
            launch("conv", "im2col", self.columns.size, x, self.columns, *im2col_numbers(*self._numbers(x, group)))
        return self.matrix(x, group)

    def col2im(self, dx: DeviceArray, group: Group) -> None:
        """Add the matrix to where its windows stand in dx (N, H, W, D); overwrite what no earlier chunk wrote."""
        if self.columns is None:
            return
        first = self._edge(self.row0 * self.window.S_rows) if self.row0 else 0
        fresh, last = self._written(self.row0), self._written(self.row1)
        values = (self.image1 - self.image0) * (last - first) * dx.shape[2] * (group.map1 - group.map0)
        numbers = col2im_numbers(*self._numbers(dx, group), first, fresh, last)
        launch("conv", "col2im", values, self.columns, dx, *numbers)

    def _numbers(self, x: DeviceArray, group: Group) -> tuple[int, ...]:
        images, rows, window = self.image1 - self.image0, self.row1 - self.row0, self.window
        return (
            *x.shape[1:], self.W2, window.F_rows, window.F_columns, window.S_rows, window.S_columns,
            window.P_top, window.P_left, window.dilation_rows, window.dilation_columns,
            group.map0, group.map1 - group.map0, self.image0, images, self.row0, rows,
        )  # fmt: skip

    def _written(self, row: int) -> int:
        """Input rows of an image that are written once the output rows before `row` are done.

        Rows between two windows count to the upper one, rows behind the last window to it.
        """
        if row in (0, self.H2):
            return self.H if row else 0
        S = self.window.S_rows
        return self._edge(max((row - 1) * S + self.window.height, row * S))

    def _edge(self, padded: int) -> int:
        """The input row that stands at this row of the padded input, or the nearest one."""
        return min(max(padded - self.window.P_top, 0), self.H)


def im2col_chunks(columns: DeviceArray | None, shape: ConvShape) -> Iterator[Chunk]:
    """The chunks of this batch, in order, each with as many rows of the im2col matrix as it needs."""
    N, H, H2, W2, window = shape.N, shape.H, shape.H2, shape.W2, shape.filters
    if columns is None:
        if not shape.is_product:
            raise TypeError("a convolution by im2col needs the matrix; no other algorithm was meant that CUDA has")
        yield Chunk(None, 0, N, 0, H2, H, H2, W2, window)
        return
    for image0, image1, row0, row1 in chunks(N, H2, W2, columns.shape[0]):
        part = columns.rows(0, (image1 - image0) * (row1 - row0) * W2)
        yield Chunk(part, image0, image1, row0, row1, H, H2, W2, window)
