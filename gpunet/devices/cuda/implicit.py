"""Convolution on CUDA as a matrix product without its matrix: cuda/implicit_*.cu, a launch for a pass.

A block makes one tile of the results; where there are few of them for long sums, these are cut into slices, which a
second launch adds up in order. No bit depends on the tile, the GPU or the run.
"""

from math import inf

from gpunet.devices.cuda.arrays import DeviceArray, Maps, lying
from gpunet.devices.cuda.launch import launch
from gpunet.devices.cuda.tiles import PACK_BYTES, TILES, blocks
from gpunet.program.filters import ConvShape

__all__: tuple[str, ...] = ()  # no ops here


def forward(
    x: DeviceArray,
    w: DeviceArray,
    b: DeviceArray | None,
    y: DeviceArray | Maps,
    workspace: DeviceArray | None,
    shape: ConvShape,
    tile: int,
    slices: int,
    relu: int = 0,
) -> None:
    """y of conv_forward, or where `relu` of conv_relu_forward; `workspace` holds the slices where there are several."""
    whole = packable(shape.maps, x, w)
    y, y_row = lying(y)
    parts = parts_of(y, workspace, slices)
    least = 0.0 if relu and slices == 1 else -inf
    _launch("forward", shape, tile, slices, whole, x, w, b, parts, *numbers(shape), y_row, least)
    add_up(parts, b, y, slices, relu=relu)


def pool_forward(
    x: DeviceArray,
    w: DeviceArray,
    b: DeviceArray | None,
    y: DeviceArray,
    switches: DeviceArray | None,
    shape: ConvShape,
    tile: int,
    relu: int,
) -> None:
    """y and switches of conv_pool_forward, by windows of 2 x 2; H2 and W2 of the shape are twice those of y."""
    whole = packable(shape.maps, x, w)
    _launch("forward", shape, tile, 1, whole, x, w, b, y, switches, *numbers(shape), relu, fused="pool_")


def backward_input(
    dy: DeviceArray,
    w: DeviceArray,
    dx: DeviceArray,
    workspace: DeviceArray | None,
    shape: ConvShape,
    tile: int,
    slices: int,
    switches: DeviceArray | None = None,
    below: DeviceArray | None = None,
) -> None:
    """dx of conv_backward_input; `workspace` as in forward.

    With switches, dy is behind a pool of 2 x 2; with `below`, dx is 0 where that is.
    """
    whole = packable(shape.maps, w) and gradient_packable(shape, dy, switches)
    parts, own = parts_of(dx, workspace, slices), below if slices == 1 else None
    if switches is None:
        _launch("backward_input", shape, tile, slices, whole, dy, w, own, parts, *numbers(shape))
    else:
        places = *numbers(shape), *dy.shape[1:3]
        _launch("backward_input", shape, tile, slices, whole, dy, switches, w, own, parts, *places, fused="pool_")
    add_up(parts, None, dx, slices, below=below)


def backward_weights(
    x: DeviceArray,
    dy: DeviceArray,
    dw: DeviceArray,
    workspace: DeviceArray | None,
    shape: ConvShape,
    tile: int,
    slices: int,
    accumulate: int,
    switches: DeviceArray | None = None,
) -> None:
    """dw of conv_backward_weights; `workspace` as in forward. With switches, dy is behind a pool of 2 x 2."""
    whole = packable(shape.maps, x) and gradient_packable(shape, dy, switches)
    parts = parts_of(dw, workspace, slices)
    added = accumulate if slices == 1 else 0
    places = numbers(shape)
    if switches is None:
        _launch("backward_weights", shape, tile, slices, whole, x, dy, parts, added, *places)
    else:
        places = *places, *dy.shape[1:3]
        _launch("backward_weights", shape, tile, slices, whole, x, dy, switches, parts, added, *places, fused="pool_")
    add_up(parts, None, dw, slices, accumulate)


def norm_forward(
    x: DeviceArray | Maps,
    table: DeviceArray,
    w: DeviceArray,
    b: DeviceArray | None,
    y: DeviceArray | Maps,
    workspace: DeviceArray | None,
    shape: ConvShape,
    tile: int,
    slices: int,
    norm_least: float,
) -> None:
    """y of conv_norm_forward; values that `table` normalizes are not below `norm_least`. `workspace` as in forward."""
    (x, x_row), (y, y_row) = lying(x), lying(y)
    whole = packable(shape.maps, x, w, table) and packable(x_row, x)
    parts = parts_of(y, workspace, slices)
    places = *numbers(shape, x_row), y_row, -inf, norm_least
    _launch("forward", shape, tile, slices, whole, x, table, w, b, parts, *places, fused="norm_")
    add_up(parts, b, y, slices)


def norm_backward_weights(
    x: DeviceArray | Maps,
    table: DeviceArray,
    dy: DeviceArray,
    dw: DeviceArray,
    workspace: DeviceArray | None,
    shape: ConvShape,
    tile: int,
    slices: int,
    accumulate: int,
    norm_least: float,
) -> None:
    """dw of conv_norm_backward_weights; `norm_least` as in norm_forward."""
    x, x_row = lying(x)
    whole = packable(shape.maps, x) and packable(x_row, x) and gradient_packable(shape, dy, None)
    parts = parts_of(dw, workspace, slices)
    added = accumulate if slices == 1 else 0
    places = *numbers(shape, x_row), norm_least
    _launch("backward_weights", shape, tile, slices, whole, x, table, dy, parts, added, *places, fused="norm_")
    add_up(parts, None, dw, slices, accumulate)


def _launch(
    pass_: str,
    shape: ConvShape,
    tile: int,
    slices: int,
    whole: bool,
    *arguments: DeviceArray | float | None,
    fused: str = "",
) -> None:
    """Begin one of the kernels of a pass, or of those with something `fused`; the last argument are the slices."""
    known = TILES[tile] if whole else TILES[TILES[tile].scalars]
    name = f"{fused}{pass_}"
    kernel = f"{name}_{known.name}" + ("" if whole else "_scalars")
    first = arguments[0]
    assert isinstance(first, DeviceArray)
    grid = blocks(pass_, shape, known) * slices
    first.driver.launch(f"implicit_{name}", kernel, grid, known.threads, *arguments, slices, real=first.dtype)


def numbers(shape: ConvShape, x_row: int | None = None) -> tuple[int, ...]:
    """CONVOLUTION of cuda/gather.cuh; `x_row`: values from a position of x to the next, if not its maps."""
    F, D = shape.filters, x_row or shape.D
    return (
        shape.N, shape.H, shape.W, D, shape.H2, shape.W2, shape.K, shape.groups,
        F.F_rows, F.F_columns, F.S_rows, F.S_columns, F.P_top, F.P_left, F.dilation_rows, F.dilation_columns,
        shape.maps, shape.K // shape.groups, shape.length, shape.positions,
    )  # fmt: skip


def packable(values: int, *arrays: DeviceArray) -> bool:
    """Whether so many values side by side are whole packs in all of these."""
    return all(values * array.dtype.itemsize % PACK_BYTES == 0 and array.pointer % PACK_BYTES == 0 for array in arrays)


def gradient_packable(shape: ConvShape, dy: DeviceArray, switches: DeviceArray | None) -> bool:
    """Whether the filters of a group are whole packs in dy, and in the switches, half a byte for each value."""
    whole = switches is None or switches.pointer % (PACK_BYTES // dy.dtype.itemsize) == 0
    return whole and packable(shape.K // shape.groups, dy)


def parts_of(result: DeviceArray, workspace: DeviceArray | None, slices: int) -> DeviceArray:
    """Where the kernel writes: the result itself, or all its slices."""
    if slices == 1:
        return result
    assert workspace is not None  # the plan gives it for slices
    return workspace.rows(0, slices * result.size)


def add_up(
    parts: DeviceArray | None,
    b: DeviceArray | None,
    result: DeviceArray,
    slices: int,
    accumulate: int = 0,
    relu: int = 0,
    below: DeviceArray | None = None,
) -> None:
    if slices > 1:
        K, count = result.shape[-1], result.size
        launch("slices", "add_slices", count, parts, b, below, result, count, slices, K, accumulate, relu)
