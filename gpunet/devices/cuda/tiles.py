"""How many results a block of a convolution on CUDA makes, and how many blocks there are, as planning asks, too."""

from dataclasses import dataclass

from gpunet.program.filters import ConvShape
from gpunet.program.tensor import HALVES

__all__: tuple[str, ...] = ()  # no ops here

PACK_BYTES = 16
"""What a thread moves at once, as WIDTH in cuda/common.cuh, where maps and addresses are multiples of it."""

DEPTH = 8
"""Positions of a step, as DEPTH in cuda/tile.cuh."""

MOST = 2**29
"""Kernels count positions, maps and weights in ints, and some of them in bytes, 8 for the largest type."""


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
    rows = shape.H2 * F.S_rows + F.F_rows * F.dilation_rows + F.P_top
    columns = (shape.W2 + DEPTH) * F.S_columns + F.F_columns * F.dilation_columns + F.P_left
    seen, made = (shape.N * shape.H + rows) * shape.W + columns, (shape.N * shape.H2 + rows) * shape.W2 + columns
    return max(seen, made, shape.K * shape.length, shape.D, shape.K) < MOST


def packs(shape: ConvShape, dtype: str = "float32") -> bool:
    """Whether maps and filters of a group are whole packs, as counts what is no float64."""
    values = 8 if dtype in HALVES else 4
    return shape.maps % values == 0 and shape.K // shape.groups % values == 0


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


DEPTHWISE_FILTERS = 32
"""Filters of a block of the gradient of the weights of a depthwise convolution, as FILTERS in its kernels."""


def depthwise_blocks(shape: ConvShape) -> int:
    """Blocks of the gradient of the weights of a depthwise convolution, for each slice."""
    return -(-shape.K // DEPTHWISE_FILTERS) * shape.length
