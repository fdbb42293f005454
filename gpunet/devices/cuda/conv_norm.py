"""Convolution with normalization in front of it on CUDA: no pass of its own where the algorithm is "implicit",
"winograd2" or one of tensor cores."""

from math import inf

from gpunet.devices.cuda import implicit, tensor_cores, winograd
from gpunet.devices.cuda.arrays import DeviceArray, Maps
from gpunet.devices.cuda.launch import launch
from gpunet.devices.cuda.tensor_tiles import FILES
from gpunet.program.filters import ConvShape, Filters

__all__ = ["conv_norm_backward_weights", "conv_norm_forward", "norm_table"]


def norm_table(
    mean: DeviceArray, variance: DeviceArray, scale: DeviceArray, shift: DeviceArray, table: DeviceArray, *, eps: float
) -> None:
    """The numbers with which maps are normalized; see gpunet.devices.cpu.conv_norm."""
    D = mean.size
    launch("conv_norm", "norm_table", D, mean, variance, scale, shift, table, D, float(eps))


def conv_norm_forward(
    x: DeviceArray | Maps,
    w: DeviceArray,
    b: DeviceArray | None,
    table: DeviceArray,
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
    relu: int,
    algorithm: str = "implicit",
    tile: int = 0,
    slices: int = 1,
) -> None:
    """conv_forward of the normalized x; see gpunet.devices.cpu.conv_norm."""
    filters = Filters(w.shape[1], w.shape[2], S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns)
    shape = ConvShape.seen(x.shape, w.shape, y.shape, filters)
    if algorithm == "winograd2":
        assert isinstance(x, DeviceArray) and workspace is not None  # so it is planned
        winograd.norm_forward(x, table, w, b, y, workspace, shape, _least(relu))
    elif algorithm in FILES:
        tensor_cores.norm_forward(algorithm, x, table, w, b, y, workspace, shape, tile, slices, _least(relu))
    else:
        _check(algorithm)
        implicit.norm_forward(x, table, w, b, y, workspace, shape, tile, slices, _least(relu))


def conv_norm_backward_weights(
    x: DeviceArray | Maps,
    dy: DeviceArray,
    table: DeviceArray,
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
    relu: int,
    algorithm: str = "implicit",
    tile: int = 0,
    slices: int = 1,
    accumulate: int = 0,
) -> None:
    """conv_backward_weights of the normalized x; see gpunet.devices.cpu.conv_norm."""
    filters = Filters(dw.shape[1], dw.shape[2], S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns)
    shape = ConvShape.seen(x.shape, dw.shape, dy.shape, filters)
    if algorithm == "winograd2":
        assert isinstance(x, DeviceArray) and workspace is not None  # so it is planned
        winograd.backward_weights(x, dy, dw, workspace, shape, slices, accumulate, table=table, norm_least=_least(relu))
    elif algorithm in FILES:
        tensor_cores.norm_backward_weights(
            algorithm, x, table, dy, dw, workspace, shape, tile, slices, accumulate, _least(relu)
        )
    else:
        _check(algorithm)
        implicit.norm_backward_weights(x, table, dy, dw, workspace, shape, tile, slices, accumulate, _least(relu))


def _least(relu: int) -> float:
    return 0.0 if relu else -inf


def _check(algorithm: str) -> None:
    if algorithm != "implicit":
        raise TypeError(f"no kernel normalizes what {algorithm} reads: no plan for CUDA asks for that")
