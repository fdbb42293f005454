"""A program bound to a device: an arena, views made once, and the calls of a run, poisoned between where asked."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from math import prod

import numpy as np

from gpunet.compile.between import BETWEEN_RANKS, goes_beside
from gpunet.devices.device import Array, Call, Device
from gpunet.errors import DeviceError
from gpunet.memory.plan import Plan
from gpunet.model.poison import Poison
from gpunet.model.replay import MOST_GRAPHS, Replay
from gpunet.program.program import Now, Op, Phase, RunTime, Turn
from gpunet.program.shares import largest, share
from gpunet.program.tensor import Tensor
from gpunet.ranks.beside import Beside
from gpunet.ranks.collectives import bind as bind_between_ranks
from gpunet.ranks.communicator import Communicator
from gpunet.ranks.flat import flat

Phases = tuple[Phase, ...]


class BoundProgram:
    """The program of a plan in one arena of a device, which it allocates, and beside which it allocates nothing.

    What a run calls is bound once, for each number of images: a step makes the calls again, and only the numbers in
    `Program.numbers` have changed.

    `seed`    the model's, below 2**63
    `before_updates`  called in every run before the first of its updates
    `poison`  fill what is fresh or free with NaN bytes before and after every op, and wait for each
    `graphs`  make a run that comes again as one graph, where the device can
    `ranks`   what goes between those that run the program side by side; None: it is run by one

    `whole`   how many images the run has of all ranks together, to be set before; those of one are its own share
    """

    def __init__(
        self,
        plan: Plan,
        device: Device,
        *,
        seed: int,
        before_updates: Call = lambda: None,
        poison: bool = False,
        graphs: bool = True,
        ranks: Communicator | None = None,
    ) -> None:
        self.plan = plan
        self.ranks = ranks
        self.whole = 0
        self.device = device
        self._beside = Beside(device) if ranks is not None and ranks.goes_beside(device) else None
        self._seed = seed
        self._before_updates = before_updates
        self._graphs_left = MOST_GRAPHS if graphs else 0
        self._arena = device.allocate(plan.arena_bytes)
        self._offsets = {planned.name: planned.offset for planned in plan.tensors}
        self._views: dict[tuple[str, int, int], Array] = {}
        self._calls: dict[tuple[Turn, int, int, bool, bool], list[Call]] = {}
        self._runs: dict[tuple[int, int, int, Phases, bool, bool], Replay] = {}
        self._swapped = False
        self.poison = Poison(plan, self._arena) if poison else None
        if self.poison:
            self.poison.all()
        if plan.program.counters is not None:
            self._arena.fill(self._offsets[plan.program.counters.name], plan.program.counters.nbytes, 0)

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
            shape = self.plan.program.shape_in(tensor, 0 if self.ranks is None else self.ranks.rank)
            place = self.plan.program.within.get(name)
            around = tensor if place is None else self.plan.program.tensors[place.whole]
            if tensor.batched:
                shape = (last - first, *shape[1:])
                if tensor.shape[0] == self.plan.batch:  # a tensor of a loop holds one round only
                    offset += first * (around.nbytes // around.shape[0])
            maps = 0 if place is None else around.shape[-1]
            self._views[key] = self._arena.view(offset, shape, tensor.dtype, maps)
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

    def set_numbers(self, now: Now) -> None:
        """Put the numbers that change from step to step to where the ops of the next run read them."""
        program = self.plan.program
        if program.numbers is not None:
            values = np.array([number.value(now) for number in program.changing], np.float64)
            self.device.write(self.view(program.numbers), values)

    def run(self, n: int, skip: int, phases: Phases, *, training: bool = True) -> None:
        """Run the ops of these phases from step `skip` on for n images; `training` False: nothing is dropped out."""
        if self.poison:
            for op, call in self.walk(n, skip, phases, training=training):
                if op.phase == "update":
                    self._before_updates()
                call()
            return
        key = (n, self.whole, skip, phases, training, self._swapped)
        if key not in self._runs:
            before: list[Call] = []
            after: list[Call] = []
            for _, op, calls in self._chosen(n, skip, phases, training):
                (after if after or op.phase == "update" else before).extend(calls)
            between = self._before_updates if after else None
            self._runs[key] = Replay(self.device, before, after, between, graph=self._graphs_left > 0)
            self._graphs_left -= 1
        self._runs[key]()

    def walk(
        self, n: int, skip: int, phases: Phases, *, training: bool = True
    ) -> Iterator[tuple[Op, Callable[[], None]]]:
        """What `run` runs, op by op: each, and what runs it."""
        for turn, op, calls in self._chosen(n, skip, phases, training):
            if self.poison:
                self.poison.fresh(turn)
            yield op, partial(self.device.run, calls)
            if self.poison:
                self._settle(op)
                self.poison.after(turn)

    def outputs(self, n: int, skip: int, phases: Phases) -> Iterator[tuple[Op, Tensor, np.ndarray]]:
        """Run the ops of these phases, and read back each tensor that one wrote, as a copy."""
        for turn, op, calls in self._chosen(n, skip, phases, training=True):
            self.device.run(calls)
            for tensor in op.outputs:
                yield op, tensor, self.device.read(self.view(tensor, turn.first, turn.last))

    def free(self) -> None:
        """Give the arena back."""
        self._views.clear()
        self._calls.clear()
        self._runs.clear()
        self._arena.free()

    def _chosen(self, n: int, skip: int, phases: Phases, training: bool) -> Iterator[tuple[Turn, Op, list[Call]]]:
        """The turns of these phases from step `skip` on over n images, and what each calls, bound at its first use."""
        ops = self.plan.program.ops
        for turn in self.plan.program.turns(n):
            op = ops[turn.step]
            if turn.step >= skip and op.phase in phases and (n or self._needs_no_image(op)):
                key = (turn, n, self.whole, training, self._swapped)
                if key not in self._calls:
                    self._calls[key] = self._bind(op, *self.call_of(turn, n, training))
                yield turn, op, self._calls[key]

    def _bind(self, op: Op, name: str, arrays: list[Array | None], numbers: dict[str, float | str]) -> list[Call]:
        if op.name not in BETWEEN_RANKS:
            return self.device.bind(name, arrays, numbers)
        assert self.ranks is not None  # whoever planned for several ranks runs on several
        if self._beside is None:
            return bind_between_ranks(op, arrays, numbers, self.device, self.ranks)
        aside = self.device.aside() if goes_beside(op) else nullcontext()
        with aside:
            calls = bind_between_ranks(op, arrays, numbers, self.device, self.ranks)
        return self._beside.bind(op, calls)

    def call_of(self, turn: Turn, n: int, training: bool) -> tuple[str, list[Array | None], dict[str, float | str]]:
        """(name of the op, its arrays, its numbers) of a turn in a run over n images."""
        program = self.plan.program
        op, whole = program.ops[turn.step], self.whole or n
        first = share(whole, program.ranks, self.ranks.rank)[0] if self.ranks is not None else 0
        arrays = [None if tensor is None else self._view_of(tensor, turn, whole) for tensor in op.arguments]
        known: dict[str, float] = {
            "images": whole,
            "first_image": first + turn.first,
            "portion": (turn.last - turn.first) / whole,
            "part_images": largest(whole, self.plan.parts),
            "accumulate": int(turn.round > 0),
            "seed": self._seed,
            "training": int(training),
        }
        if op.own_share:
            arrays = self._own_shares(op, arrays)
        numbers = {name: known[one.name] if isinstance(one, RunTime) else one for name, one in op.attributes.items()}
        return op.name, arrays, numbers

    def _own_shares(self, op: Op, arrays: list[Array | None]) -> list[Array | None]:
        """Of the arrays of an op that this rank runs on its own share, that share; of caches, which hold it, all."""
        assert self.ranks is not None  # none else have shares
        first_output = op.outputs[0]
        first, last = share(prod(first_output.shape), self.ranks.size, self.ranks.rank)
        found: list[Array | None] = []
        for tensor, array in zip(op.arguments, arrays, strict=True):
            if tensor is not None and tensor.shape == first_output.shape:
                array = flat(array, first, last)
            elif tensor is not None and tensor.name in self.plan.program.sharded:
                array = flat(array, 0, last - first)
            found.append(array)
        return found

    def _needs_no_image(self, op: Op) -> bool:
        """Whether an op is run by a rank that has none of the images of a step, too."""
        of_all = any(t.batched and t.shape[0] > self.plan.batch for t in op.inputs)
        return op.phase == "update" or op.name in BETWEEN_RANKS or of_all or (op.phase == "loss" and op.across_images)

    def _view_of(self, tensor: Tensor, turn: Turn, whole: int) -> Array:
        """What a turn uses of a tensor: of one that holds images of all ranks, all of them."""
        if tensor.batched and tensor.shape[0] > self.plan.batch:
            return self.view(tensor, 0, whole)
        return self.view(tensor, turn.first, turn.last)

    def _settle(self, op: Op) -> None:
        """Wait for an op, so that what went wrong in it is told of it and not of a later one."""
        try:
            self.device.synchronize()
        except DeviceError as error:
            raise DeviceError(f"{op.layer}, {op.name}: {error}") from error
