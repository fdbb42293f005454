"""How products on tensor cores are shared out among the blocks of a launch: cuda/mma.cuh; as planning asks, too."""

from gpunet.devices.cuda.tiles import Tile
from gpunet.program.algorithm import Math

__all__: tuple[str, ...] = ()  # no ops here

STEP_BYTES = 64
"""Of a row in a step of the sum, as in cuda/mma.cuh."""

TILES = {
    1: Tile(128, 128, 256, scalars=2),
    2: Tile(128, 64, 128, scalars=2),
    3: Tile(64, 32, 32, scalars=2),
}
"""By the numbers that plans give them. Where packs cannot be used there is one alone, that of a first layer."""

OLDEST: dict[Math, tuple[int, int]] = {"tf32": (8, 0), "3xtf32": (8, 0)}
"""The compute capability that a mode needs at least."""

FILES: dict[str, str] = {"tf32": "tensor", "3xtf32": "thrice", "halves": "tensor"}
"""By algorithm, what its kernels are called; cuda/tensor_forward.cu and so on."""

LITTLE_SHARED = {(8, 6), (8, 9)}
"""Compute capabilities where two of the largest blocks find room for three steps each, but not for four."""


def stages(capability: tuple[int, int]) -> int:
    """Steps of a product in shared memory at once: one is multiplied while the others are on their way there.

    Before 8.0 copies do not go on beside the arithmetic, so there are two, as the values of one wait in registers.
    """
    if capability < (8, 0):
        return 2
    return 3 if capability in LITTLE_SHARED or capability >= (12, 0) else 4


def shared_bytes(tile: Tile, stages: int) -> int:
    """Dynamic shared memory of a block."""
    return stages * (tile.M + tile.N) * STEP_BYTES
