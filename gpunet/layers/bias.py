"""Biases, one number for each map, or for each value. Forward they are part of conv, local, fc; backward is here."""

from math import prod

from gpunet.program.builder import Emitter
from gpunet.program.tensor import Tensor

BLOCK_ROWS = 512
"""Rows of dy in one partial sum of a bias gradient."""


def emit_bias_backward(emit: Emitter, dy: Tensor, db: Tensor) -> None:
    """db = sum of dy over the axes that db is without: of 512 rows, then of these sums, always in the same order."""
    values = prod(db.shape)
    partials = emit.workspace("db_partials", (-(-prod(dy.shape) // (values * BLOCK_ROWS)), values))
    given = (dy, emit.counters(-(-values // 8)))
    emit.op("bias_backward", given, (db,), (partials,), attributes={"block_rows": BLOCK_ROWS, "accumulate": 0})
