"""Convolution of groups of one map on CUDA: cuda/depthwise.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.division import by, magic
from gpunet.devices.cuda.implicit import numbers
from gpunet.devices.cuda.launch import BLOCK, launch, launch_blocks
from gpunet.devices.cuda.tiles import depthwise_blocks
from gpunet.program.filters import ConvShape

__all__: tuple[str, ...] = ()  # no ops here


def forward(x: DeviceArray, w: DeviceArray, b: DeviceArray | None, y: DeviceArray, shape: ConvShape) -> None:
    """y of conv_forward, where each group has one map."""
    launch_blocks("depthwise", "depthwise_forward", shape.N * shape.H2, x, w, b, y, *_numbers(shape, shape.H2))


def backward_input(dy: DeviceArray, w: DeviceArray, dx: DeviceArray, shape: ConvShape) -> None:
    """dx of conv_backward_input, where each group has one map."""
    launch_blocks("depthwise", "depthwise_backward_input", shape.N * shape.H, dy, w, dx, *_numbers(shape, shape.H))


def backward_weights(
    x: DeviceArray,
    dy: DeviceArray,
    dw: DeviceArray,
    workspace: DeviceArray | None,
    shape: ConvShape,
    slices: int,
    accumulate: int,
) -> None:
    """dw of conv_backward_weights, where each group has one map; the sums of each slice are in `workspace` first."""
    assert workspace is not None  # the plan gives it
    parts = workspace.rows(0, slices * dw.size)
    grid = depthwise_blocks(shape) * slices
    kernel = "depthwise_backward_weights"
    x.driver.launch("depthwise", kernel, grid, BLOCK, x, dy, parts, *_numbers(shape, shape.H2), slices, real=x.dtype)
    launch("slices", "add_slices", dw.size, parts, None, None, dw, dw.size, slices, 1, accumulate, 0)


def _numbers(shape: ConvShape, rows: int) -> tuple[int, ...]:
    """CONVOLUTION of cuda/gather.cuh and DIVISORS of the kernels; `rows`: of an image of the results."""
    strides = magic(shape.filters.S_rows), magic(shape.filters.S_columns)
    return (*numbers(shape), *by(shape.K // shape.D), *strides, *by(rows))
