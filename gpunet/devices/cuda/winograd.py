"""Winograd's convolution F(2x2, 3x3) on CUDA: cuda/winograd2.cu and cuda/winograd2_weights.cu; with a max-pool behind
it cuda/winograd2_pool.cu and cuda/winograd2_pool_weights.cu, with normalization in front of it the two with "norm".

One kernel makes outputs of inputs: values at the points stay in shared memory, but those of the filters, which fill
the workspace. So its scratch does not grow with the batch, and there are no pieces to work through. F(4x4, 3x3) has
fewer products, but 36 points of 32 x 32 results find no room in registers, and through memory its tiles move more than
they save; the filters of 512 maps alone would take 36 MiB.
"""

from math import prod

from gpunet.devices.cuda.arrays import DeviceArray, Maps, lying
from gpunet.devices.cuda.division import by
from gpunet.devices.cuda.launch import BLOCK, launch, launch_blocks
from gpunet.devices.cuda.tiles import PACK_BYTES
from gpunet.devices.cuda.winograd_tiles import blocks, point_values, tile_count
from gpunet.program.algorithm import Pass
from gpunet.program.filters import ConvShape

__all__: tuple[str, ...] = ()  # no ops here


def forward(
    x: DeviceArray,
    w: DeviceArray,
    b: DeviceArray | None,
    y: DeviceArray | Maps,
    workspace: DeviceArray,
    shape: ConvShape,
    relu: int = 0,
) -> None:
    """y of conv_forward, or where `relu` of conv_relu_forward; `workspace` has room for the `point_values`."""
    values = _to_points(w, workspace, shape, turned=0)
    (y, y_row), packable = lying(y), _packable(shape.K, values)
    numbers = *_plane(shape, "forward"), y_row, relu
    _launch("winograd2", "convolve", "forward", shape, packable, x, values, b, None, y, *numbers)


def pool_forward(
    x: DeviceArray,
    w: DeviceArray,
    b: DeviceArray | None,
    y: DeviceArray,
    switches: DeviceArray | None,
    workspace: DeviceArray,
    shape: ConvShape,
    relu: int,
) -> None:
    """y and switches of conv_pool_forward, by windows of 2 x 2; H2 and W2 of the shape are twice those of y."""
    values = _to_points(w, workspace, shape, turned=0)
    arrays, packable = (x, values, b, y, switches), _packable(shape.K, values)
    _launch("winograd2_pool", "pool_convolve", "forward", shape, packable, *arrays, *_plane(shape, "forward"), relu)


def norm_forward(
    x: DeviceArray,
    table: DeviceArray,
    w: DeviceArray,
    b: DeviceArray | None,
    y: DeviceArray | Maps,
    workspace: DeviceArray,
    shape: ConvShape,
    norm_least: float,
) -> None:
    """y of conv_norm_forward; values that `table` normalizes are not below `norm_least`. `workspace` as in forward."""
    values = _to_points(w, workspace, shape, turned=0)
    (y, y_row), packable = lying(y), _packable(shape.K, values)
    numbers = *_plane(shape, "forward"), y_row, norm_least
    _launch("winograd2_norm", "norm_convolve", "forward", shape, packable, x, table, values, b, y, *numbers)


def backward_input(
    dy: DeviceArray,
    w: DeviceArray,
    dx: DeviceArray,
    workspace: DeviceArray,
    shape: ConvShape,
    switches: DeviceArray | None = None,
    below: DeviceArray | None = None,
) -> None:
    """dx of conv_backward_input: a convolution of dy with every filter turned round; `workspace` as in forward.

    With switches, dy is behind a pool of 2 x 2; with `below`, dx is 0 where that is.
    """
    values = _to_points(w, workspace, shape, turned=1)
    numbers = _plane(shape, "backward_input")
    packable = _packable(shape.D, values)
    if switches is None:
        made = dy, values, None, below, dx
        _launch("winograd2", "convolve", "backward_input", shape, packable, *made, *numbers, shape.D, 0)
        return
    packable = packable and shape.filters.P_top % 2 == shape.filters.P_left % 2 == 1 and shape.K % 2 == 0
    packable = packable and prod(dy.shape) < 2**31
    arrays = dy, switches, values, below, dx
    behind = dy.shape[1:3]
    _launch("winograd2_pool", "unpool_convolve", "backward_input", shape, packable, *arrays, *numbers, *behind)


def backward_weights(
    x: DeviceArray,
    dy: DeviceArray,
    dw: DeviceArray,
    workspace: DeviceArray,
    shape: ConvShape,
    slices: int,
    accumulate: int,
    switches: DeviceArray | None = None,
    table: DeviceArray | None = None,
    norm_least: float = 0,
) -> None:
    """dw of conv_backward_weights; `workspace` has room for the `point_values` of every slice.

    With switches, dy is behind a pool of 2 x 2; with a table, x is normalized, and not below `norm_least`.
    """
    parts = workspace.rows(0, slices * point_values(shape))
    each = -(-tile_count("backward_weights", shape) // slices)
    count, numbers = shape.K * shape.D, _plane(shape, "forward")
    grid = blocks("backward_weights", shape) * slices
    if table is not None:
        kernel, arrays = ("winograd2_norm_weights", "norm_sum_tiles"), (x, table, dy, parts)
        x.driver.launch(*kernel, grid, BLOCK, *arrays, *numbers, each, norm_least, real=x.dtype)
    elif switches is None:
        x.driver.launch("winograd2_weights", "sum_tiles", grid, BLOCK, x, dy, parts, *numbers, each, real=x.dtype)
    else:
        numbers = *numbers, *dy.shape[1:3], each
        kernel = "winograd2_pool_weights", "unpool_sum_tiles"
        x.driver.launch(*kernel, grid, BLOCK, x, dy, switches, parts, *numbers, real=x.dtype)
    launch("winograd2_weights", "sums_to_weights", count, parts, dw, count, *by(shape.D), slices, accumulate)


def _to_points(w: DeviceArray, workspace: DeviceArray, shape: ConvShape, turned: int) -> DeviceArray:
    """The values of all filters at the points, each filter `turned` round or not."""
    values = workspace.rows(0, point_values(shape))
    groups = -(-shape.K // 8) * -(-shape.D // 32)
    launch_blocks("winograd2", "filters_to_points", groups, w, values, shape.K, shape.D, turned)
    return values


def _plane(shape: ConvShape, pass_: Pass) -> tuple[int, ...]:
    """PLANE of cuda/winograd_convolve.cuh, TILES of cuda/winograd_sums.cuh: what is read, what is made, padding."""
    F = shape.filters
    if pass_ == "backward_input":
        return shape.N, shape.H2, shape.W2, shape.K, shape.H, shape.W, shape.D, 2 - F.P_top, 2 - F.P_left
    return shape.N, shape.H, shape.W, shape.D, shape.H2, shape.W2, shape.K, F.P_top, F.P_left


def _packable(made: int, values: DeviceArray) -> bool:
    """Whether the maps that are made are whole packs in the filters at the points."""
    return made * values.dtype.itemsize % PACK_BYTES == 0 and values.pointer % PACK_BYTES == 0


def _launch(
    file: str, kernel: str, pass_: Pass, shape: ConvShape, packable: bool, *arguments: DeviceArray | float | None
) -> None:
    first = arguments[0]
    assert isinstance(first, DeviceArray)
    name = kernel if packable else f"{kernel}_scalars"
    first.driver.launch(file, name, blocks(pass_, shape), BLOCK, *arguments, real=first.dtype)
