"""Fewer calls: what would take many small ones waits until one does for all, where waiting takes no memory."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from gpunet.compile.in_place import in_place
from gpunet.compile.steps import exchanged
from gpunet.memory.plan import live_bytes
from gpunet.program.program import Op, Program

MOST_BYTES = 16 * 2**20
"""Of a gradient that waits: with a larger one an update takes so long that a call more or less is nothing."""

ROOM = 4
"""Times what waits must be free below the peak: where bytes are short, small tensors lie in the way of large ones."""


def joint_updates(program: Program) -> Program:
    """Updates of small parameters wait for others, and one call makes all of a kind, of equal settings.

    A gradient that waits is alive for longer. So they wait only while far fewer bytes are alive than at the peak, and
    not past an op that uses what they change. Only where the device says that calls cost something: what
    updates it can join says `Op.shared`.
    """
    if not any(op.shared for op in program.ops):
        return program
    live = live_bytes(in_place(program))
    peak, waiting = max(live), _Waiting()
    joined: dict[int, list[Op]] = {}
    gone: set[int] = set()
    for step, op in enumerate(program.ops):
        loop = program.loop_at(step)
        if loop is not None and step > loop.first:
            continue  # it is behind what was found for all of the loop
        last = loop.last if loop is not None else step + 1
        if max(live[step:last]) + ROOM * waiting.nbytes > peak or waiting.concerns(program.ops[step:last]):
            joined[step] = waiting.joined()
            waiting = _Waiting()
        if loop is None and op.shared and op.phase == "update" and _held(op) <= MOST_BYTES:
            waiting.add(op)
            gone.add(step)
    joined[program.steps] = waiting.joined()
    return exchanged(program, gone, joined)


@dataclass
class _Waiting:
    """Updates that wait for others.

    `nbytes`  what they keep alive
    `own`     names of what they change or hold
    """

    ops: list[Op] = field(default_factory=list)
    nbytes: int = 0
    own: set[str] = field(default_factory=set)

    def add(self, op: Op) -> None:
        self.ops.append(op)
        self.nbytes += _held(op)
        self.own.update(t.name for t in (*op.inputs[op.shared :], *op.outputs))

    def concerns(self, others: Iterable[Op]) -> bool:
        """Whether one of these ops uses what an update changes or holds."""
        return bool(self.own) and any(t is not None and t.name in self.own for other in others for t in other.arguments)

    def joined(self) -> list[Op]:
        """One op for each kind."""
        kinds: dict[object, list[Op]] = {}
        for op in self.ops:
            shared = tuple(t.name for t in op.inputs[: op.shared])
            kinds.setdefault((op.name, shared, tuple(sorted(op.attributes.items()))), []).append(op)
        return [_one(ops) for ops in kinds.values()]


def _held(op: Op) -> int:
    """Bytes that are alive for as long as an update waits, rounded up as a plan does."""
    return sum(-(-t.nbytes // 256) * 256 for t in op.inputs[op.shared :] if not t.kind.persistent)


def _one(ops: Sequence[Op]) -> Op:
    """One op for all of these."""
    first = ops[0]
    own = (t for op in ops for t in op.inputs[op.shared :])
    inputs = (*first.inputs[: first.shared], *own)
    return replace(first, inputs=inputs, outputs=tuple(t for op in ops for t in op.outputs))
