"""The gradient of a convolution's input with that of the ReLU that made this input, on the CPU: the specification."""

from typing import Any

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
    **numbers: Any,
) -> None:
    """dx of conv_backward_input where x is positive or NaN, else exactly 0: bit for bit what relu_backward makes of it.

    x  (N, H, W, D)  as dx, in: what the convolution read, the output of a ReLU. dx may lie in its place
    All other arguments are those of conv_backward_input.
    Source: CS231n "Layers used to build ConvNets".
    """
    cut = x <= 0
    conv_backward_input(dy, w, dx, columns, workspace, **numbers)
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
    **numbers: Any,
) -> None:
    """The same of conv_pool_backward_input, whose other arguments these are."""
    cut = x <= 0
    conv_pool_backward_input(dy, switches, w, dx, columns, workspace, strip, **numbers)
    np.copyto(dx, 0, where=cut)
