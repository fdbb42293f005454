"""How products on tensor cores are shared out among the blocks of a launch: cuda/mma.cuh; as planning asks, too."""

from gpunet.devices.cuda.tiles import Tile
from gpunet.program.algorithm import Math

__all__: tuple[str, ...] = ()  # no ops here

STEP_BYTES = 64
"""Of a row in a step of the sum, as in cuda/mma.cuh."""

NOTE_BYTES = 4
"""Of a thread, for each step of what is normalized; cuda/mma_normalized.cuh."""

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

SHARED_KIB = {(8, 0): 164, (8, 7): 164, (9, 0): 228, (10, 0): 228, (10, 3): 228, (11, 0): 228}
"""Shared memory of a multiprocessor by compute capability. Source: NVIDIA, "CUDA C++ Programming Guide", table of
technical specifications per compute capability."""

LITTLE_SHARED_KIB = 100
"""That of all others from 8.0 on."""

OWN_BYTES = 1024
"""What CUDA takes of it for each block."""

PLACES_BYTES = {256: 7680, 128: 3840, 32: 1536}
"""By threads of a block, what its kernels have beside the steps at most: windows, taps, corners, numbers of maps."""

RESIDENT = {256: 2, 128: 3, 32: 8}
"""By threads of a block, how many blocks a multiprocessor should have room for at once."""

MOST_STAGES = 4


def stages(capability: tuple[int, int], tile: Tile, *, notes: bool = False) -> int:
    """Steps of a product in shared memory at once: one is multiplied while the others are on their way there.

    As many as leave room for RESIDENT blocks, at least two; `notes` as for shared_bytes. Before 8.0 copies do not go on
    beside the arithmetic, so there are two, as the values of one wait in registers.
    """
    if capability < (8, 0):
        return 2
    of_a_block = SHARED_KIB.get(capability, LITTLE_SHARED_KIB) * 1024 // RESIDENT[tile.threads] - OWN_BYTES
    left = of_a_block - PLACES_BYTES[tile.threads]
    return max(2, min(MOST_STAGES, left // shared_bytes(tile, 1, notes=notes)))


def shared_bytes(tile: Tile, stages: int, *, notes: bool = False) -> int:
    """Dynamic shared memory of a block; `notes`: with one of each thread beside a step, as in mma_normalized.cuh."""
    return stages * ((tile.M + tile.N) * STEP_BYTES + (tile.threads * NOTE_BYTES if notes else 0))
