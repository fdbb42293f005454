"""Calls of every kernel that makes products of convolutions, at sizes that suit a GPU: whole sectors, whole tiles.

The random calls of tests/op_calls.py come upon some of these kernels alone, and on none of those on tensor cores.
"""

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from gpunet.devices.cuda import tensor_tiles, tiles
from gpunet.devices.cuda.tiles import Tile
from gpunet.values.types import numpy_type
from tests.op_calls import Call

POSITIONS = (1, 8, 16)
"""Images, rows and columns: those of one tile, as most blocks are within a volume."""

WHOLE, ODD = 64, 30
"""Maps and filters that packs divide, and such that they do not, whose rows begin anywhere in a sector."""

CONV = {"S_rows": 1, "S_columns": 1, "P_top": 1, "P_left": 1, "dilation_rows": 1, "dilation_columns": 1}

NO_TILES = {0: Tile(0, 0, 0, scalars=0)}
"""Of an algorithm whose kernels have one each."""

IN_FLOAT32: dict[str, dict[int, Tile]] = {
    "implicit": tiles.TILES,
    "winograd2": NO_TILES,
    "tf32": tensor_tiles.TILES,
    "3xtf32": tensor_tiles.TILES,
}
IN_HALVES: dict[str, dict[int, Tile]] = {"halves": tensor_tiles.TILES}

NORMALIZING = ("implicit", "winograd2", "tf32", "3xtf32", "halves")
"""Algorithms that normalize what they read."""


def products(half: str | None = None) -> Iterator[Call]:
    """Those with volumes in float32, or in a `half` type."""
    rng = np.random.default_rng(0)
    for algorithm, known in (IN_HALVES if half else IN_FLOAT32).items():
        single = {tile.scalars for tile in known.values()}
        for maps, filters, numbers in ((WHOLE, WHOLE, set(known)), (ODD, WHOLE, single), (WHOLE, ODD, single)):
            for tile in sorted(numbers):
                how = {"algorithm": algorithm, **({"tile": tile} if tile else {})}
                yield from _passes(rng, maps, filters, numpy_type(half or "float32"), how)


def _passes(rng: np.random.Generator, maps: int, filters: int, dtype: Any, how: dict[str, Any]) -> Iterator[Call]:
    """All passes of a convolution by 3 x 3 over a volume whose edges are padded, and all that is fused with them."""

    def values(*shape: int, of: Any = dtype) -> np.ndarray:
        made: np.ndarray = rng.standard_normal(shape).astype(of)
        return made

    N, H, W = POSITIONS
    x, y = values(N, H, W, maps), values(N, H, W, filters)
    w, b = values(filters, 3, 3, maps), values(filters, of=np.float32)
    dw, dx = (w.shape, np.float32), (x.shape, dtype)
    scratch = None, ((max(16 * maps * filters, prod(w.shape), y.size),), np.float32)
    numbers = {**CONV, **how}
    yield Call("conv_forward", (x, w, b), ((y.shape, dtype),), scratch, numbers)
    yield Call("conv_backward_weights", (x, y), (dw,), scratch, numbers)
    yield Call("conv_backward_input", (y, w), (dx,), scratch, numbers)

    pooled = values(N, H // 2, W // 2, filters)
    switches = rng.integers(0, 256, (N, H // 2, W // 2, filters // 2)).astype(np.uint8) & 0x33
    scratch, with_pool = (*scratch, None), {**numbers, "H2": H, "W2": W, "F": 2, "S": 2}
    both = (pooled.shape, dtype), (switches.shape, np.uint8)
    yield Call("conv_pool_forward", (x, w, b), both, scratch, {**with_pool, "relu": 1})
    yield Call("conv_pool_backward_weights", (x, pooled, switches), (dw,), scratch, with_pool)
    yield Call("conv_pool_backward_input", (pooled, switches, w), (dx,), scratch, with_pool)

    if how["algorithm"] in NORMALIZING:
        table, normed = values(3, maps, of=np.float32), {**numbers, "relu": 1}
        yield Call("conv_norm_forward", (x, w, b, table), ((y.shape, dtype),), scratch[:2], normed)
        yield Call("conv_norm_backward_weights", (x, y, table), (dw,), scratch[:2], normed)
