"""Convolution with ReLU behind it in one pass on the CPU: each block of outputs is made positive while it is in the
cache."""

import numpy as np

from gpunet.devices.cpu.conv import convolve
from gpunet.devices.cpu.half_products import convolving
from gpunet.program.filters import Filters

__all__ = ["conv_relu_forward"]


@convolving
def conv_relu_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
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
    algorithm: str = "im2col",
    tile: int = 0,
    slices: int = 1,
) -> None:
    """y = max(0, what conv_forward gives): bit for bit what relu_forward makes of it; NaN stays NaN.

    All arguments are those of conv_forward.
    Source: CS231n "Layers used to build ConvNets".
    """
    window = Filters(w.shape[1], w.shape[2], S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns)
    convolve(x, w, b, y, columns, workspace, window, algorithm, relu=True)
