"""Ranks add up gradients while those below are still computed: whatever waits for a sum comes as late as it may.

A gradient under way must not be touched, nor its scratch: both live until the sum is awaited, and that takes memory. So
a sum is awaited late only where as many bytes are free anyway, below the peak of the step.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from gpunet.compile.between import AWAIT
from gpunet.compile.in_place import in_place
from gpunet.compile.steps import exchanged
from gpunet.memory.plan import live_bytes
from gpunet.program.program import Op, Program


def overlap(program: Program) -> Program:
    """Every AWAIT, and the updates that need what it waits for, behind as many ops as can run meanwhile.

    The last sums come first: they wait where little else is alive, and leave the room of the steps before to others.
    """
    awaits = [step for step, op in enumerate(program.ops) if op.name == AWAIT]
    if not awaits:
        return program
    steps = _Steps(program)
    for step in reversed(awaits):
        steps.delay(step)
    later: dict[int, list[Op]] = {}
    for group in reversed(steps.moved):
        later.setdefault(group.to, []).extend(program.ops[at] for at in group.steps)
    return exchanged(program, {at for group in steps.moved for at in group.steps}, later)


@dataclass
class _Group:
    """Steps that go together, before the step `to`: an AWAIT and what needs it."""

    steps: list[int]
    read: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    to: int = 0

    def add(self, step: int, op: Op) -> None:
        self.steps.append(step)
        self.read |= _read(op)
        self.written |= _written(op)

    def concerns(self, others: Iterable[Op]) -> bool:
        """Whether one of the others uses what these change, or changes what these use."""
        return any((self.read | self.written) & _written(other) or self.written & _read(other) for other in others)


class _Steps:
    """The steps of a program, with the bytes alive in each. `moved`: what has its place, the last ones first."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._live = live_bytes(in_place(program))
        self._peak = max(self._live)
        self._gone: set[int] = set()
        self.moved: list[_Group] = []

    def delay(self, step: int) -> None:
        """Find the latest place for an AWAIT."""
        program = self._program
        group = _Group([])
        group.add(step, program.ops[step])
        at = step + 1
        while at < self._last(group):
            op, loop = program.ops[at], program.loop_at(at)
            end = at + 1 if loop is None else loop.last
            if at not in self._gone:
                if op.phase == "update" and group.concerns([op]):
                    group.add(at, op)
                elif group.concerns(program.ops[at:end]) or not self._fits(step, at, end):
                    break
            at = end
        group.to = min(at, self._last(group))
        for passed in range(step, group.to):
            self._live[passed] += self._held(step, passed)
        self._gone.update(group.steps)
        self.moved.append(group)

    def _last(self, group: _Group) -> int:
        """The last place, in front of whatever has moved already and must come behind."""
        ops = self._program.ops
        behind = (other.to for other in self.moved if group.concerns(ops[at] for at in other.steps))
        return min(behind, default=self._program.steps)

    def _fits(self, awaits: int, first: int, last: int) -> bool:
        """Whether no more is alive than at the peak where what one step awaits is still under way in these."""
        return all(self._live[at] + self._held(awaits, at) <= self._peak for at in range(first, last))

    def _held(self, awaits: int, at: int) -> int:
        """Bytes, rounded up as a plan does, that would be dead by a step if they were not awaited later."""
        held = {t for t in self._program.ops[awaits].arguments if t is not None and not t.kind.persistent}
        return sum(-(-t.nbytes // 256) * 256 for t in held if self._program.lifetimes[t.name][1] <= at)


def _written(op: Op) -> set[str]:
    return {t.name for t in (*op.outputs, *op.scratch) if t is not None}


def _read(op: Op) -> set[str]:
    return {t.name for t in op.inputs}
