"""How blocks share out the rows and maps that they sum: cuda/columns.cuh."""

import numpy as np

__all__: tuple[str, ...] = ()  # no ops here

SIDE = 8
"""Packs of maps that a block sums, as SIDE in cuda/columns.cuh."""

PACK_BYTES = 16
"""Of a pack, where the maps make up whole ones; else it is one value."""


def blocks_of(rows: int, maps: int, block_rows: int, dtype: np.dtype) -> int:
    """How many blocks the sums over parts of block_rows rows take."""
    width = PACK_BYTES // dtype.itemsize
    return -(-rows // block_rows) * -(-maps // (SIDE * (width if maps % width == 0 else 1)))
