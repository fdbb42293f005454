"""Convolution on CUDA: im2col and its inverse from cuda/conv.cu, matrix products from cuBLAS, chunk by chunk."""

from collections.abc import Iterator
from dataclasses import dataclass

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.bias import add_bias
from gpunet.devices.cuda.gemm import matmul
from gpunet.devices.cuda.launch import launch
from gpunet.program.chunks import chunks

__all__ = ["conv_backward_input", "conv_backward_weights", "conv_forward"]


def conv_forward(
    x: DeviceArray,
    w: DeviceArray,
    b: DeviceArray,
    y: DeviceArray,
    columns: DeviceArray,
    workspace: DeviceArray | None,
    *,
    F: int,
    S: int,
    P: int,
) -> None:
    """y = columns @ w.T + b; see gpunet.devices.cpu.conv."""
    filters = w.reshape(w.shape[0], -1)
    for chunk in _chunks(x, y, columns, F, S, P):
        chunk.im2col(x)
        part = chunk.rows_of(y)
        matmul(chunk.columns, filters, part, transpose_b=True, workspace=workspace)
        add_bias(b, part)


def conv_backward_weights(
    x: DeviceArray,
    dy: DeviceArray,
    dw: DeviceArray,
    columns: DeviceArray,
    workspace: DeviceArray | None,
    *,
    F: int,
    S: int,
    P: int,
    accumulate: int = 0,
) -> None:
    """dw = dy.T @ columns, summed over the chunks in order; see gpunet.devices.cpu.conv."""
    gradient = dw.reshape(dw.shape[0], -1)
    for index, chunk in enumerate(_chunks(x, dy, columns, F, S, P)):
        chunk.im2col(x)
        part = chunk.rows_of(dy)
        add = bool(accumulate) or index > 0
        matmul(part, chunk.columns, gradient, transpose_a=True, accumulate=add, workspace=workspace)


def conv_backward_input(
    dy: DeviceArray,
    w: DeviceArray,
    dx: DeviceArray,
    columns: DeviceArray,
    workspace: DeviceArray | None,
    *,
    F: int,
    S: int,
    P: int,
) -> None:
    """d(columns) = dy @ w, each value then added to where im2col took it from; see gpunet.devices.cpu.conv."""
    filters = w.reshape(w.shape[0], -1)
    for chunk in _chunks(dx, dy, columns, F, S, P):
        matmul(chunk.rows_of(dy), filters, chunk.columns, workspace=workspace)
        chunk.col2im(dx)


@dataclass(frozen=True)
class _Chunk:
    """Output rows [row0, row1) of images [image0, image1), and the part of the im2col matrix that holds them."""

    columns: DeviceArray
    image0: int
    image1: int
    row0: int
    row1: int
    H: int
    H2: int
    W2: int
    F: int
    S: int
    P: int

    def rows_of(self, y: DeviceArray) -> DeviceArray:
        """The positions of this chunk in y (N, H2, W2, K), a row of K values for each."""
        first = (self.image0 * self.H2 + self.row0) * self.W2
        return y.reshape(-1, y.shape[3]).rows(first, first + self.columns.shape[0])

    def im2col(self, x: DeviceArray) -> None:
        """Fill the columns with the windows of x (N, H, W, D)."""
        launch("conv", "im2col", self.columns.size, x, self.columns, *self._numbers(x))

    def col2im(self, dx: DeviceArray) -> None:
        """Add the columns to where their windows stand in dx (N, H, W, D); overwrite what no earlier chunk wrote."""
        first = self._edge(self.row0 * self.S) if self.row0 else 0
        fresh, last = self._written(self.row0), self._written(self.row1)
        values = (self.image1 - self.image0) * (last - first) * dx.shape[2] * dx.shape[3]
        launch("conv", "col2im", values, self.columns, dx, *self._numbers(dx), first, fresh, last)

    def _numbers(self, x: DeviceArray) -> tuple[int, ...]:
        images, rows = self.image1 - self.image0, self.row1 - self.row0
        return (*x.shape[1:], self.W2, self.F, self.S, self.P, self.image0, images, self.row0, rows)

    def _written(self, row: int) -> int:
        """Input rows of an image that are written once the output rows before `row` are done.

        Rows between two windows count to the upper one, rows behind the last window to it.
        """
        if row in (0, self.H2):
            return self.H if row else 0
        return self._edge(max((row - 1) * self.S + self.F, row * self.S))

    def _edge(self, padded: int) -> int:
        """The input row that stands at this row of the padded input, or the nearest one."""
        return min(max(padded - self.P, 0), self.H)


def _chunks(x: DeviceArray, y: DeviceArray, columns: DeviceArray, F: int, S: int, P: int) -> Iterator[_Chunk]:
    """The chunks of this batch, in order, each with as many rows of the im2col matrix as it needs."""
    N, H2, W2, _ = y.shape
    for image0, image1, row0, row1 in chunks(N, H2, W2, columns.shape[0]):
        part = columns.rows(0, (image1 - image0) * (row1 - row0) * W2)
        yield _Chunk(part, image0, image1, row0, row1, x.shape[1], H2, W2, F, S, P)
