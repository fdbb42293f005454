"""What the ops between ranks send, to the byte; gpunet.ranks.collectives sends just that."""

from collections.abc import Sequence
from math import prod

from gpunet.compile.between import (
    AWAIT,
    BETWEEN_RANKS,
    GATHER,
    GATHER_SHARES,
    JOIN_STATISTICS,
    JOIN_SUMS,
    REDUCE,
    REDUCE_SHARE,
    SUM_TO_IMAGES,
    TO_IMAGES,
    TO_OUTPUTS,
    goes_whole,
)
from gpunet.program.program import Op, Program
from gpunet.program.shares import share
from gpunet.program.tensor import ITEMSIZE


def wire_bytes(program: Program, rank: int = 0, images: int | None = None) -> int:
    """Bytes that a rank sends in a step of so many images of all ranks; None: in a whole one."""
    count = program.whole if images is None else images
    return sum(op_bytes(op, program.ranks, rank, count) for op in program.ops)


def messages(op: Op, ranks: int) -> int:
    """How many times in a row each rank waits for all others in an op between ranks."""
    if op.name in (GATHER, JOIN_STATISTICS, JOIN_SUMS):
        return len(op.inputs)
    if op.name in (TO_IMAGES, TO_OUTPUTS):
        return 1
    if op.name in (REDUCE_SHARE, GATHER_SHARES):
        return len(_lengths(op))
    if op.name == SUM_TO_IMAGES:
        return -(-prod(op.outputs[0].shape) // _most(op))
    if op.name != REDUCE:
        return 0
    return len(_lengths(op)) * (1 if _goes_whole(op, ranks) else 2)


def op_bytes(op: Op, ranks: int, rank: int, images: int) -> int:
    """Bytes that a rank sends in an op; 0 for an op of a device."""
    if op.name not in BETWEEN_RANKS or op.name == AWAIT:
        return 0
    if op.name in (TO_IMAGES, TO_OUTPUTS, SUM_TO_IMAGES):
        return _to_others(op, ranks, rank, images) * ITEMSIZE[op.inputs[0].dtype]
    if op.name == GATHER:
        first, last = share(images, ranks, rank)
        values = sum(prod(t.shape[1:]) * ITEMSIZE[t.dtype] for t in op.inputs)
        return (last - first) * values * (ranks - 1)
    if op.name in (JOIN_STATISTICS, JOIN_SUMS):
        return sum(t.nbytes for t in op.inputs) * (ranks - 1)
    if op.name in (REDUCE_SHARE, GATHER_SHARES):
        size = prod(op.inputs[0].shape)
        first, last = share(size, ranks, rank)
        own = last - first
        values = size - own if op.name == REDUCE_SHARE else own * (ranks - 1)
        return values * ITEMSIZE[op.inputs[0].dtype]
    if op.attributes["reduce"] == "fast":
        return sum(2 * t.nbytes * (ranks - 1) // ranks for t in op.inputs)
    if _goes_whole(op, ranks):
        return (ranks - 1) * sum(t.nbytes for t in op.inputs)
    values = 0
    for length in _lengths(op):
        first, last = share(length, ranks, rank)
        own = last - first
        values += (length - own) + own * (ranks - 1)  # the others' parts to them, then the sum of its own to all
    return values * ITEMSIZE[op.inputs[0].dtype]


def _to_others(op: Op, ranks: int, rank: int, images: int) -> int:
    """Values that a rank sends of a layer whose outputs are divided: those of others' images, or others' outputs."""
    first, last = share(images, ranks, rank)
    if op.name == SUM_TO_IMAGES:
        return (images - (last - first)) * prod(op.inputs[0].shape[1:])
    outputs = (op.outputs if op.name == TO_IMAGES else op.inputs)[0].shape[-1]
    own_first, own_last = share(outputs, ranks, rank)
    own = own_last - own_first
    return (images - (last - first)) * own if op.name == TO_IMAGES else (last - first) * (outputs - own)


def _goes_whole(op: Op, ranks: int) -> bool:
    """Of a sum: whether each rank sends all that it has to all others."""
    return goes_whole(_most(op), ITEMSIZE[op.inputs[0].dtype], ranks)


def _most(op: Op) -> int:
    return int(op.attributes["most"])  # type: ignore[arg-type]  # a number, as who made the op wrote it


def _lengths(op: Op) -> list[int]:
    """How many values go at a time."""
    most = _most(op)
    sizes: Sequence[int] = [prod(t.shape) for t in op.inputs]
    return [min(most, size - first) for size in (sum(sizes),) for first in range(0, size, most)]
