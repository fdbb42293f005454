"""The gradient of a convolution's input with that of the ReLU that made this input on CUDA: where results are stored,
by the algorithms "implicit", "winograd2" and those of tensor cores."""

from gpunet.devices.cuda import direct
from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.conv import shape_of

__all__ = ["conv_pool_relu_backward_input", "conv_relu_backward_input"]


def conv_relu_backward_input(
    dy: DeviceArray,
    w: DeviceArray,
    x: DeviceArray,
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
    algorithm: str = "implicit",
    tile: int = 0,
    slices: int = 1,
) -> None:
    """dx of conv_backward_input where x is positive or NaN, else 0; see gpunet.devices.cpu.conv_relu_backward."""
    _check(algorithm)
    shape = shape_of(dx, w, dy.shape[1:3], S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns)
    direct.backward_input(algorithm, dy, w, dx, workspace, shape, tile, slices, below=x)


def conv_pool_relu_backward_input(
    dy: DeviceArray,
    switches: DeviceArray,
    w: DeviceArray,
    x: DeviceArray,
    dx: DeviceArray,
    columns: DeviceArray | None,
    workspace: DeviceArray | None,
    strip: DeviceArray | None,
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
    algorithm: str = "implicit",
    tile: int = 0,
    slices: int = 1,
) -> None:
    """The same of conv_pool_backward_input, by windows of 2 x 2."""
    _check(algorithm)
    shape = shape_of(dx, w, (H2, W2), S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns)
    direct.backward_input(algorithm, dy, w, dx, workspace, shape, tile, slices, switches, below=x)


def _check(algorithm: str) -> None:
    if algorithm not in direct.SLOPING:
        raise TypeError(f"no kernel knows the ReLU below what {algorithm} makes: no plan for CUDA asks for that")
