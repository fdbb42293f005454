"""Convolution on CUDA as a matrix product without its matrix: cuda/implicit_*.cu, a launch for a pass.

A block makes one tile of the results; where there are few of them for long sums, these are cut into slices, which a
second launch adds up in order. No bit depends on the tile, the GPU or the run.
"""

from dataclasses import dataclass
from math import inf

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.launch import launch
from gpunet.program.filters import ConvShape

__all__: tuple[str, ...] = ()  # no ops here

PACK_BYTES = 16
"""What a thread moves at once, as WIDTH in cuda/common.cuh, where maps and addresses are multiples of it."""

DEPTH = 8
"""Positions of a step, as DEPTH in cuda/tile.cuh."""

MOST = 2**30
"""Kernels count positions, maps and weights in ints."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Results of a block, M down and N across, which so many threads make; `scalars`: the tile where packs cannot be
    used, as there are kernels for some alone."""

    M: int
    N: int
    threads: int
    scalars: int

    @property
    def name(self) -> str:
        return f"{self.M}x{self.N}"


TILES = {
    1: Tile(128, 128, 256, scalars=2),
    2: Tile(128, 64, 128, scalars=2),
    3: Tile(64, 64, 64, scalars=4),
    4: Tile(32, 32, 32, scalars=4),
}
"""By the numbers that plans give them."""


def can_run(shape: ConvShape) -> bool:
    """Whether ints count all there is, padding and steps beyond the edges included."""
    F = shape.filters
    rows = shape.H2 * F.S_rows + F.F_rows * F.dilation + F.P_top
    columns = (shape.W2 + DEPTH) * F.S_columns + F.F_columns * F.dilation + F.P_left
    seen, made = (shape.N * shape.H + rows) * shape.W + columns, (shape.N * shape.H2 + rows) * shape.W2 + columns
    return max(seen, made, shape.K * shape.length, shape.D, shape.K) < MOST


def packs(shape: ConvShape) -> bool:
    """Whether maps and filters of a group are whole packs of float32."""
    return shape.maps % 4 == 0 and shape.K // shape.groups % 4 == 0


def extents(pass_: str, shape: ConvShape) -> tuple[int, int, int]:
    """(results down, results across, length of a sum) of the product of one group.

    Of the gradient of the input these are those of all positions that are a stride apart, and of the longest sum.
    """
    filters, F = shape.K // shape.groups, shape.filters
    if pass_ == "forward":
        return shape.positions, filters, shape.length
    if pass_ == "backward_weights":
        return filters, shape.length, shape.positions
    positions = shape.N * -(-shape.H // F.S_rows) * -(-shape.W // F.S_columns)
    taps = -(-F.F_rows // F.S_rows) * -(-F.F_columns // F.S_columns)
    return positions, shape.maps, taps * filters


def products(pass_: str, shape: ConvShape) -> int:
    """Products that a pass consists of: one for each group, and for each set of positions that a stride tells apart."""
    sets = min(shape.filters.S_rows, shape.H) * min(shape.filters.S_columns, shape.W)
    return shape.groups * (sets if pass_ == "backward_input" else 1)


def blocks(pass_: str, shape: ConvShape, tile: Tile) -> int:
    """Blocks of a pass without slices."""
    down, across, _ = extents(pass_, shape)
    return -(-down // tile.M) * -(-across // tile.N) * products(pass_, shape)


def forward(
    x: DeviceArray,
    w: DeviceArray,
    b: DeviceArray | None,
    y: DeviceArray,
    workspace: DeviceArray | None,
    shape: ConvShape,
    tile: int,
    slices: int,
    relu: int = 0,
) -> None:
    """y of conv_forward, or where `relu` of conv_relu_forward; `workspace` holds the slices where there are several."""
    packable = _packable(shape.maps, x, w)
    parts = _parts(y, workspace, slices)
    least = 0.0 if relu and slices == 1 else -inf
    _launch("forward", shape, tile, slices, packable, x, w, b, parts, *numbers(shape), least)
    _add_up(parts, b, y, slices, relu=relu)


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
    packable = _packable(shape.maps, x, w)
    _launch("forward", shape, tile, 1, packable, x, w, b, y, switches, *numbers(shape), relu, pooled=True)


def backward_input(
    dy: DeviceArray,
    w: DeviceArray,
    dx: DeviceArray,
    workspace: DeviceArray | None,
    shape: ConvShape,
    tile: int,
    slices: int,
    switches: DeviceArray | None = None,
) -> None:
    """dx of conv_backward_input; `workspace` as in forward. With switches, dy is behind a pool of 2 x 2."""
    packable = _packable(shape.maps, w) and _gradient_packable(shape, dy, switches)
    parts = _parts(dx, workspace, slices)
    if switches is None:
        _launch("backward_input", shape, tile, slices, packable, dy, w, parts, *numbers(shape))
    else:
        places = *numbers(shape), *dy.shape[1:3]
        _launch("backward_input", shape, tile, slices, packable, dy, switches, w, parts, *places, pooled=True)
    _add_up(parts, None, dx, slices)


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
    packable = _packable(shape.maps, x) and _gradient_packable(shape, dy, switches)
    parts = _parts(dw, workspace, slices)
    added = accumulate if slices == 1 else 0
    places = *numbers(shape), *_way(shape)
    if switches is None:
        _launch("backward_weights", shape, tile, slices, packable, x, dy, parts, added, *places)
    else:
        places = *places, *dy.shape[1:3]
        _launch("backward_weights", shape, tile, slices, packable, x, dy, switches, parts, added, *places, pooled=True)
    _add_up(parts, None, dw, slices, accumulate)


def _launch(
    pass_: str,
    shape: ConvShape,
    tile: int,
    slices: int,
    packable: bool,
    *arguments: DeviceArray | float | None,
    pooled: bool = False,
) -> None:
    """Begin one of the kernels of a pass, or where `pooled` of those with a pool; the last argument are the slices."""
    known = TILES[tile] if packable else TILES[TILES[tile].scalars]
    name = f"pool_{pass_}" if pooled else pass_
    kernel = f"{name}_{known.name}" + ("" if packable else "_scalars")
    first = arguments[0]
    assert isinstance(first, DeviceArray)
    grid = blocks(pass_, shape, known) * slices
    first.driver.launch(f"implicit_{name}", kernel, grid, known.threads, *arguments, slices, real=first.dtype)


def numbers(shape: ConvShape) -> tuple[int, ...]:
    """CONVOLUTION of cuda/gather.cuh."""
    F = shape.filters
    return (
        shape.N, shape.H, shape.W, shape.D, shape.H2, shape.W2, shape.K, shape.groups,
        F.F_rows, F.F_columns, F.S_rows, F.S_columns, F.P_top, F.P_left, F.dilation,
        shape.maps, shape.K // shape.groups, shape.length, shape.positions,
    )  # fmt: skip


def _way(shape: ConvShape) -> tuple[int, ...]:
    """WAY of cuda/implicit_backward_weights.cu."""
    F = shape.filters
    row, image = shape.W2 * F.S_columns, shape.H2 * F.S_rows
    row_pixels, image_pixels = F.S_rows * shape.W - row, (shape.H - image) * shape.W
    return DEPTH * F.S_columns, row, image, row_pixels, image_pixels


def _packable(values: int, *arrays: DeviceArray) -> bool:
    """Whether so many values side by side are whole packs in all of these."""
    return all(values * array.dtype.itemsize % PACK_BYTES == 0 and array.pointer % PACK_BYTES == 0 for array in arrays)


def _gradient_packable(shape: ConvShape, dy: DeviceArray, switches: DeviceArray | None) -> bool:
    """Whether the filters of a group are whole packs in dy, and in the switches, which have a byte for each value."""
    whole = switches is None or switches.pointer % (PACK_BYTES // dy.dtype.itemsize) == 0
    return whole and _packable(shape.K // shape.groups, dy)


def _parts(result: DeviceArray, workspace: DeviceArray | None, slices: int) -> DeviceArray:
    """Where the kernel writes: the result itself, or all its slices."""
    if slices == 1:
        return result
    assert workspace is not None  # the plan gives it for slices
    return workspace.rows(0, slices * result.size)


def _add_up(
    parts: DeviceArray, b: DeviceArray | None, result: DeviceArray, slices: int, accumulate: int = 0, relu: int = 0
) -> None:
    if slices > 1:
        K = result.shape[-1]
        launch("slices", "add_slices", result.size, parts, b, result, result.size, slices, K, accumulate, relu)
