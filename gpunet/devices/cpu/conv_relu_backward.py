"""The gradient of a convolution's input with that of the ReLU that made this input, on the CPU: the specification."""

import numpy as np

from gpunet.devices.cpu.conv import conv_backward_input
from gpunet.devices.cpu.conv_pool import conv_pool_backward_input
from gpunet.devices.cpu.half_products import convolving

__all__ = ["conv_pool_relu_backward_input", "conv_relu_backward_input"]


@convolving
def conv_relu_backward_input(
    dy: np.ndarray,
    w: np.ndarray,
    x: np.ndarray,
    dx: np.ndarray,
    columns: np.ndarray | None,
    workspace: np.ndarray | None,
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
    """dx of conv_backward_input where x is positive or NaN, else exactly 0: bit for bit what relu_backward makes of it.

    x  (N, H, W, D)  as dx, in: what the convolution read, the output of a ReLU. dx may lie in its place
    All other arguments are those of conv_backward_input.
    Source: CS231n "Layers used to build ConvNets".
    """
    cut = x <= 0
    conv_backward_input(
        dy,
        w,
        dx,
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
    np.copyto(dx, 0, where=cut)


@convolving
def conv_pool_relu_backward_input(
    dy: np.ndarray,
    switches: np.ndarray,
    w: np.ndarray,
    x: np.ndarray,
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
    algorithm: str = "implicit",
    tile: int = 0,
    slices: int = 1,
) -> None:
    """The same of conv_pool_backward_input, whose other arguments these are."""
    cut = x <= 0
    conv_pool_backward_input(
        dy,
        switches,
        w,
        dx,
        columns,
        workspace,
        strip,
        S_rows=S_rows,
        S_columns=S_columns,
        P_top=P_top,
        P_left=P_left,
        dilation_rows=dilation_rows,
        dilation_columns=dilation_columns,
        H2=H2,
        W2=W2,
        F=F,
        S=S,
        algorithm=algorithm,
        tile=tile,
        slices=slices,
    )
    np.copyto(dx, 0, where=cut)
