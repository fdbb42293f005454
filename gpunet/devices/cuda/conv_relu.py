"""Convolution with ReLU behind it on CUDA: one kernel where the algorithm is "implicit" or "winograd2"."""

from gpunet.devices.cuda import direct
from gpunet.devices.cuda.arrays import DeviceArray, Maps
from gpunet.devices.cuda.conv import conv_forward, shape_of
from gpunet.devices.cuda.relu import relu_forward

__all__ = ["conv_relu_forward"]


def conv_relu_forward(
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
    """y = max(0, columns @ w.T + b); see gpunet.devices.cpu.conv_relu."""
    shape = shape_of(x, w, y.shape[1:3], S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns)
    if direct.forward(algorithm, x, w, b, y, workspace, shape, tile, slices, relu=1):
        return
    numbers = {
        "S_rows": S_rows,
        "S_columns": S_columns,
        "P_top": P_top,
        "P_left": P_left,
        "dilation_rows": dilation_rows,
        "dilation_columns": dilation_columns,
    }
    conv_forward(x, w, b, y, columns, workspace, **numbers, algorithm=algorithm, tile=tile, slices=slices)
    assert isinstance(y, DeviceArray)  # as conv_forward has it
    relu_forward(y, y)
