"""Winograd's convolution F(2x2, 3x3) on CUDA: cuda/winograd2.cu and cuda/winograd2_weights.cu.

One kernel makes outputs of inputs: values at the points stay in shared memory, but those of the filters, which fill
the workspace. So its scratch does not grow with the batch, and there are no pieces to work through. F(4x4, 3x3) has
fewer products, but 36 points of 32 x 32 results find no room in registers, and through memory its tiles move more than
they save; the filters of 512 maps alone would take 36 MiB.
"""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.division import by
from gpunet.devices.cuda.launch import BLOCK, launch, launch_blocks
from gpunet.devices.cuda.winograd_tiles import blocks, point_values, tile_count
from gpunet.program.algorithm import Pass
from gpunet.program.filters import ConvShape

__all__: tuple[str, ...] = ()  # no ops here


def forward(
    x: DeviceArray, w: DeviceArray, b: DeviceArray | None, y: DeviceArray, workspace: DeviceArray, shape: ConvShape
) -> None:
    """y of conv_forward; `workspace` has room for the `point_values`."""
    F = shape.filters
    _convolve("forward", x, w, b, y, workspace, shape, F.P_top, F.P_left)


def backward_input(dy: DeviceArray, w: DeviceArray, dx: DeviceArray, workspace: DeviceArray, shape: ConvShape) -> None:
    """dx of conv_backward_input: a convolution of dy with every filter turned round; `workspace` as in forward."""
    F = shape.filters
    _convolve("backward_input", dy, w, None, dx, workspace, shape, 2 - F.P_top, 2 - F.P_left)


def backward_weights(
    x: DeviceArray,
    dy: DeviceArray,
    dw: DeviceArray,
    workspace: DeviceArray,
    shape: ConvShape,
    slices: int,
    accumulate: int,
) -> None:
    """dw of conv_backward_weights; `workspace` has room for the `point_values` of every slice."""
    parts = workspace.rows(0, slices * point_values(shape))
    each = -(-tile_count("backward_weights", shape) // slices)
    F, count = shape.filters, shape.K * shape.D
    numbers = (*x.shape, *dy.shape[1:], F.P_top, F.P_left)
    grid = blocks("backward_weights", shape) * slices
    x.driver.launch("winograd2_weights", "sum_tiles", grid, BLOCK, x, dy, parts, *numbers, each, real=x.dtype)
    launch("winograd2_weights", "sums_to_weights", count, parts, dw, count, *by(shape.D), slices, accumulate)


def _convolve(
    pass_: Pass,
    x: DeviceArray,
    w: DeviceArray,
    b: DeviceArray | None,
    y: DeviceArray,
    workspace: DeviceArray,
    shape: ConvShape,
    P_top: int,
    P_left: int,
) -> None:
    """y[n, i, j] = sums of x[n, i - P_top + row, j - P_left + column] over the taps, as the pass has the filters."""
    values = workspace.rows(0, point_values(shape))
    K, turned = y.shape[3], int(pass_ == "backward_input")
    groups = -(-shape.K // 8) * -(-shape.D // 32)
    launch_blocks("winograd2", "filters_to_points", groups, w, values, shape.K, shape.D, turned)
    kernel = "convolve" if K % 4 == 0 and values.pointer % 16 == 0 else "convolve_scalars"
    numbers = (*x.shape, *y.shape[1:], P_top, P_left)
    x.driver.launch("winograd2", kernel, blocks(pass_, shape), BLOCK, x, values, b, y, *numbers, real=x.dtype)
