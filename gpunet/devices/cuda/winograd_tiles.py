"""How many results a block of Winograd's convolution on CUDA makes, and how many blocks there are."""

from gpunet.program.algorithm import Pass
from gpunet.program.filters import ConvShape
from gpunet.program.winograd import tiles

__all__: tuple[str, ...] = ()  # no ops here

POINTS = 16
"""Products of a tile, as in cuda/winograd.cuh."""

PART = 32
"""Results of a block along each side, at every point, as in cuda/winograd.cuh."""

STEP = 4
"""Values of a sum that a block of float32 multiplies at a time, as in cuda/winograd.cuh."""


def point_values(shape: ConvShape) -> int:
    """Values of all filters at the points, and of their gradients there."""
    return POINTS * shape.K * shape.D


def tile_count(pass_: Pass, shape: ConvShape) -> int:
    """Tiles of what a pass makes; of the gradient of the weights, those that it sums."""
    H, W = (shape.H, shape.W) if pass_ == "backward_input" else (shape.H2, shape.W2)
    down, across = tiles(H, W, 2)
    return shape.N * down * across


def blocks(pass_: Pass, shape: ConvShape) -> int:
    """Blocks of a pass, without slices."""
    rows, columns = {
        "forward": (tile_count(pass_, shape), shape.K),
        "backward_input": (tile_count(pass_, shape), shape.D),
        "backward_weights": (shape.K, shape.D),
    }[pass_]
    return -(-rows // PART) * -(-columns // PART)
