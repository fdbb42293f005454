"""A program bound to a device: an arena, views made once, and the calls of a run, poisoned between where asked."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from gpunet.devices.device import Array, Device
from gpunet.errors import DeviceError
from gpunet.memory.plan import Plan, PlannedTensor
from gpunet.program.program import Op, Phase, RunTime, Turn
from gpunet.program.tensor import Kind, Tensor

POISON = 0xFF
"""Four or eight such bytes are a NaN."""

Call = tuple[Turn, Callable[[], None]]


class BoundProgram:
    """The program of a plan in one arena of a device, which it allocates, and beside which it allocates nothing.

    `now`     numbers that change from step to step, by the name of their RunTime: read when an op is called
    `poison`  fill what is fresh or free with NaN bytes before and after every op, and wait for each
    """

    def __init__(self, plan: Plan, device: Device, now: Callable[[str], float], *, poison: bool) -> None:
        self.plan = plan
        self.device = device
        self.poison = poison
        self._now = now
        self._arena = device.allocate(plan.arena_bytes)
        self._offsets = {planned.name: planned.offset for planned in plan.tensors}
        self._views: dict[tuple[str, int, int], Array] = {}
        self._calls: dict[tuple[int, bool], list[Call]] = {}
        self._swapped = False
        if poison:
            self._arena.fill(0, plan.arena_bytes, POISON)

    @property
    def arena_bytes(self) -> int:
        """Bytes that are really allocated."""
        return self._arena.nbytes

    def view(self, tensor: Tensor, first: int = 0, last: int = 0) -> Array:
        """The tensor's place in the arena; of a batched one, what the images [first, last) of the batch use."""
        name = self._holder(tensor.name)
        offset = self._offsets[name]
        if not tensor.batched:
            first = last = 0
        key = (name, first, last)
        if key not in self._views:
            shape = tensor.shape
            if tensor.batched:
                shape = (last - first, *tensor.shape[1:])
                if tensor.shape[0] == self.plan.batch:  # a tensor of a loop holds one round only
                    offset += first * (tensor.nbytes // tensor.shape[0])
            self._views[key] = self._arena.view(offset, shape, tensor.dtype)
        return self._views[key]

    def swap(self) -> None:
        """Let the bytes of this batch and of the next change places: what has arrived is now to be read."""
        self._swapped = not self._swapped

    def _holder(self, name: str) -> str:
        """The tensor whose place another has at the moment."""
        here, there = self.plan.program.image_bytes, self.plan.program.next_bytes
        if self._swapped and there is not None:
            return {here.name: there.name, there.name: here.name}.get(name, name)
        return name

    def walk(self, n: int, skip: int, phases: tuple[Phase, ...]) -> Iterator[tuple[Op, Callable[[], None]]]:
        """The ops of these phases from step `skip` on, and what runs each for n images, in order."""
        ops = self.plan.program.ops
        for turn, call in self._bound(n):
            op = ops[turn.step]
            if turn.step >= skip and op.phase in phases:
                if self.poison:
                    self._poison_fresh(turn)
                yield op, call
                if self.poison:
                    self._settle(op)
                    self._poison_after(turn)

    def outputs(self, n: int, skip: int, phases: tuple[Phase, ...]) -> Iterator[tuple[Op, Tensor, np.ndarray]]:
        """Run the ops of these phases as `walk`, and read back each tensor that one wrote, as a copy."""
        ops = self.plan.program.ops
        for turn, call in self._bound(n):
            op = ops[turn.step]
            if turn.step >= skip and op.phase in phases:
                call()
                for tensor in op.outputs:
                    yield op, tensor, self.device.read(self.view(tensor, turn.first, turn.last))

    def free(self) -> None:
        """Give the arena back."""
        self._views.clear()
        self._calls.clear()
        self._arena.free()

    def _bound(self, n: int) -> list[Call]:
        """What a run over n images calls, bound to its views; made at the first use of each n."""
        key = (n, self._swapped)
        if key not in self._calls:
            self._calls[key] = [(turn, self._bind(turn, n)) for turn in self.plan.program.turns(n)]
        return self._calls[key]

    def _bind(self, turn: Turn, n: int) -> Callable[[], None]:
        op = self.plan.program.ops[turn.step]
        function = self.device.ops[op.name]
        arrays = [None if tensor is None else self.view(tensor, turn.first, turn.last) for tensor in op.arguments]
        fixed, late = _resolved(op, {"images": n, "first_image": turn.first, "accumulate": int(turn.round > 0)})
        if not late:
            return lambda: function(*arrays, **fixed)
        return lambda: function(*arrays, **fixed, **{name: self._number(what) for name, what in late.items()})

    def _number(self, what: RunTime) -> float:
        now = self._now(what.name)
        return now if what.factor == 1 else what.factor * now  # a seed is an integer of more bits than a float has

    def _settle(self, op: Op) -> None:
        """Wait for an op, so that what went wrong in it is told of it and not of a later one."""
        try:
            self.device.synchronize()
        except DeviceError as error:
            raise DeviceError(f"{op.layer}, {op.name}: {error}") from error

    # -- poison ------------------------------------------------------------------------------------

    def poison_free(self, step: int) -> None:
        """Fill every byte that no tensor owns in this step."""
        end = 0
        for planned in sorted(self.plan.alive(step), key=lambda planned: planned.offset):
            if planned.offset > end:
                self._arena.fill(end, planned.offset - end, POISON)
            end = max(end, planned.offset + planned.nbytes)
        if end < self.plan.arena_bytes and step < self.plan.steps:
            self._arena.fill(end, self.plan.arena_bytes - end, POISON)

    def _poison_fresh(self, turn: Turn) -> None:
        """Fill what begins to live in this turn, unless it takes over bytes that the op still reads."""
        for planned in self.plan.tensors:
            known = planned.kind.persistent or planned.kind is Kind.DATA or planned.name in self.plan.program.takes_over
            again = turn.round > 0 and not self._within_round(planned, turn)
            if planned.first == turn.step and not known and not again:
                self._arena.fill(planned.offset, planned.nbytes, POISON)

    def _within_round(self, planned: PlannedTensor, turn: Turn) -> bool:
        """Whether a tensor of a loop is used afresh in each of its rounds."""
        loop = self.plan.program.loop_at(turn.step)
        return loop is not None and (planned.first > loop.first or planned.last < loop.last)

    def _poison_after(self, turn: Turn) -> None:
        """Fill what is free after this turn; at the end of a round that is what is free at the start of the next."""
        loop = self.plan.program.loop_at(turn.step)
        ends = loop is not None and turn.step == loop.last - 1
        self.poison_free(loop.first if loop and ends and turn.more else turn.step + 1)


def _resolved(op: Op, known: Mapping[str, int]) -> tuple[dict[str, float], dict[str, RunTime]]:
    """(numbers by attribute, RunTimes by attribute): what is known now, and what is to be asked at each call."""
    fixed: dict[str, float] = {}
    late: dict[str, RunTime] = {}
    for name, value in op.attributes.items():
        if not isinstance(value, RunTime):
            fixed[name] = value
        elif value.name in known:
            fixed[name] = known[value.name]
        else:
            late[name] = value
    return fixed, late
