"""Convolution with normalization, and perhaps ReLU, in front of it on the CPU: Winograd's tiles are normalized where
they are gathered, so that the normalized volume is nowhere whole. Sources: see gpunet.devices.cpu.conv and batch_norm.
"""

import numpy as np

from gpunet.devices.cpu.batch_norm import blocks_of, normalize, repeated, side_by_side
from gpunet.devices.cpu.conv import conv_backward_weights, conv_forward
from gpunet.devices.cpu.halves import as_wide, store
from gpunet.devices.cpu.threads import share
from gpunet.devices.cpu.window import Chunk
from gpunet.devices.cpu.winograd import Winograd
from gpunet.devices.cpu.winograd_tiles import Inputs, Outputs, gather
from gpunet.program.filters import ConvShape, Filters
from gpunet.values.types import is_half

__all__ = ["conv_norm_backward_weights", "conv_norm_forward", "norm_table"]


def norm_table(
    mean: np.ndarray, variance: np.ndarray, scale: np.ndarray, shift: np.ndarray, table: np.ndarray, *, eps: float
) -> None:
    """The numbers with which maps are normalized, as batch_norm_forward works them out.

    mean, variance, scale, shift  (D,)     float32 or float64, in
    table                         (3, D)   same dtype, out: mean, scale / sqrt(variance + eps) and shift
    """
    np.copyto(table[0], mean)
    np.divide(scale, np.sqrt(variance + eps), out=table[1])
    np.copyto(table[2], shift)


def conv_norm_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    table: np.ndarray,
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
    relu: int,
    algorithm: str = "implicit",
    tile: int = 0,
    slices: int = 1,
) -> None:
    """What conv_forward makes of (x - table[0]) * table[1] + table[2], and where relu is 1 of max(0, that).

    x      (N, H, W, D)   any floating type, in; may be maps of a wider volume
    table  (3, D)         float32, of a float64 volume float64, in: what norm_table wrote
    All else as in conv_forward: zeros around the volume are no part of it, so they stay 0. The bits are those of
    batch_norm_forward or batch_norm_relu_forward and conv_forward one after the other. By "winograd2" and "winograd4"
    that volume is nowhere whole; by the others it is here, as the specification of kernels: no plan for the CPU asks
    for that.
    """
    window = Filters(w.shape[1], w.shape[2], S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns)
    winograd = Winograd.of("forward", ConvShape.seen(x.shape, w.shape, y.shape, window), algorithm, workspace)
    if winograd is not None:
        winograd.forward(NormalizedInputs(x, table, bool(relu)), w, Outputs(y, b))
        return
    conv_forward(
        _normalized(x, table, relu),
        w,
        b,
        y,
        columns,
        workspace,
        S_rows=S_rows,
        S_columns=S_columns,
        P_top=P_top,
        P_left=P_left,
        dilation_rows=dilation_rows,
        dilation_columns=dilation_columns,
        algorithm=algorithm,
        tile=tile,
        slices=slices,
    )


def conv_norm_backward_weights(
    x: np.ndarray,
    dy: np.ndarray,
    table: np.ndarray,
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
    relu: int,
    algorithm: str = "implicit",
    tile: int = 0,
    slices: int = 1,
    accumulate: int = 0,
) -> None:
    """The gradient of the filters of conv_norm_forward.

    x, table, relu  as there
    All else as in conv_backward_weights. The bits are those that it makes of the normalized volume.
    """
    window = Filters(dw.shape[1], dw.shape[2], S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns)
    shape = ConvShape.seen(x.shape, dw.shape, dy.shape, window)
    winograd = Winograd.of("backward_weights", shape, algorithm, workspace)
    if winograd is not None:
        seen = NormalizedInputs(x, table, bool(relu))
        winograd.backward_weights(seen, Inputs(dy), dw, accumulate=accumulate)
        return
    conv_backward_weights(
        _normalized(x, table, relu),
        dy,
        dw,
        columns,
        workspace,
        S_rows=S_rows,
        S_columns=S_columns,
        P_top=P_top,
        P_left=P_left,
        dilation_rows=dilation_rows,
        dilation_columns=dilation_columns,
        algorithm=algorithm,
        tile=tile,
        slices=slices,
        accumulate=accumulate,
    )


class NormalizedInputs(Inputs):
    """Tiles of a volume that is normalized; zeros around it stay zeros."""

    def __init__(self, x: np.ndarray, table: np.ndarray, relu: bool) -> None:
        super().__init__(x)
        self._table, self._relu = table, relu

    def gather(self, planes: np.ndarray, chunk: Chunk, m: int, padding: tuple[int, int], extent: int) -> None:
        gather(self._x, planes, chunk, m, padding, extent, self._write)

    def _write(self, values: np.ndarray, room: np.ndarray) -> None:
        """room = the normalized values, both (images, rows, columns, D)."""
        images, rows, columns, D = values.shape
        source, target = (array.reshape(images, rows, columns * D) for array in (values, room))
        normalize(source, repeated(source[0], *self._table), target)
        if self._relu:
            np.maximum(target, 0, out=target)


def _normalized(x: np.ndarray, table: np.ndarray, relu: int) -> np.ndarray:
    """The normalized volume, whole."""
    made = np.array(as_wide(x), order="C")
    rows = made.reshape(-1, x.shape[-1])
    share(blocks_of(rows), lambda some, worker: _change(rows[some], table, bool(relu)))
    if not is_half(x):
        return made
    rounded = np.empty_like(x)
    store(made, rounded)
    return rounded


def _change(values: np.ndarray, table: np.ndarray, relu: bool) -> None:
    """Normalize rows of maps where they are."""
    (rows,) = side_by_side(values)
    normalize(rows, repeated(rows, *table), rows)
    if relu:
        np.maximum(rows, 0, out=rows)
