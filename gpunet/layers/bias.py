"""Biases, one number for each map. Forward they are part of conv and fc; backward stands here."""

from math import prod

from gpunet.program.builder import Emitter
from gpunet.program.tensor import Tensor

BLOCK_ROWS = 512
"""Rows of dy in one partial sum of a bias gradient."""


def emit_bias_backward(emit: Emitter, dy: Tensor, db: Tensor) -> None:
    """db = sum of dy over all axes but the last: partial sums of 512 rows, then their sum, always in the same order."""
    *positions, K = dy.shape
    partials = emit.workspace("db_partials", (-(-prod(positions) // BLOCK_ROWS), K))
    emit.op("bias_backward", (dy,), (db,), (partials,), attributes={"block_rows": BLOCK_ROWS, "accumulate": 0})
