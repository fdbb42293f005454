"""NaN bytes wherever nothing of worth is: whoever reads what was never written, or is free again, is found out."""

from gpunet.devices.device import Arena
from gpunet.memory.plan import Plan, PlannedTensor
from gpunet.program.program import Turn
from gpunet.program.tensor import Kind

POISON = 0xFF
"""Four or eight such bytes are a NaN."""

Ranges = list[tuple[int, int]]
"""[begin, end) of bytes in an arena, in order, none overlapping."""


class Poison:
    """Fills what is fresh or free in the arena of a plan, between its ops.

    What each step fills is worked out once. Behind an op only what it has freed is filled: the rest is poisoned
    already, from `free` at the beginning on.
    """

    def __init__(self, plan: Plan, arena: Arena) -> None:
        self._plan = plan
        self._arena = arena
        self._gaps: dict[int, Ranges] = {}
        self._freed: dict[tuple[int, int], Ranges] = {}
        self._fresh: dict[tuple[int, bool], Ranges] = {}

    def all(self) -> None:
        """Fill the whole arena."""
        self._fill([(0, self._plan.arena_bytes)])

    def free(self, step: int) -> None:
        """Fill every byte that no tensor owns in this step."""
        self._fill(self._gaps_in(step))

    def fresh(self, turn: Turn) -> None:
        """Fill what begins to live in this turn, unless it takes over bytes that the op still reads."""
        key = turn.step, turn.round > 0
        if key not in self._fresh:
            self._fresh[key] = [(one.offset, one.offset + one.nbytes) for one in self._begin_in(turn)]
        self._fill(self._fresh[key])

    def after(self, turn: Turn) -> None:
        """Fill what this turn has freed; at the end of a round that is what is free at the start of the next."""
        loop = self._plan.program.loop_at(turn.step)
        ends = loop is not None and turn.step == loop.last - 1
        following = loop.first if loop and ends and turn.more else turn.step + 1
        key = turn.step, following
        if key not in self._freed:
            self._freed[key] = without(self._gaps_in(following), self._gaps_in(turn.step))
        self._fill(self._freed[key])

    def _fill(self, ranges: Ranges) -> None:
        for begin, end in ranges:
            self._arena.fill(begin, end - begin, POISON)

    def _gaps_in(self, step: int) -> Ranges:
        if step not in self._gaps:
            owned = sorted((one.offset, one.offset + one.nbytes) for one in self._plan.alive(step))
            everything = [(0, self._plan.arena_bytes)] if step < self._plan.steps else []
            self._gaps[step] = without(everything, owned)
        return self._gaps[step]

    def _begin_in(self, turn: Turn) -> list[PlannedTensor]:
        begin = [one for one in self._plan.tensors if one.first == turn.step and not self._is_known(one)]
        return begin if turn.round == 0 else [one for one in begin if self._within_round(one, turn)]

    def _is_known(self, planned: PlannedTensor) -> bool:
        """Whether a tensor holds something before an op writes it."""
        takes_over = self._plan.program.takes_over
        return planned.kind.persistent or planned.kind is Kind.DATA or planned.name in takes_over

    def _within_round(self, planned: PlannedTensor, turn: Turn) -> bool:
        """Whether a tensor of a loop is used afresh in each of its rounds."""
        loop = self._plan.program.loop_at(turn.step)
        return loop is not None and (planned.first > loop.first or planned.last < loop.last)


def without(ranges: Ranges, owned: Ranges) -> Ranges:
    """What of the ranges is in none that is owned; those may overlap, but are in the order of where they begin."""
    left: Ranges = []
    for begin, end in ranges:
        for first, last in owned:
            if begin < first:
                left.append((begin, min(first, end)))
            begin = max(begin, last)
            if begin >= end:
                break
        if begin < end:
            left.append((begin, end))
    return [(begin, end) for begin, end in left if begin < end]
