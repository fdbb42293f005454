"""Ops and the program that they form. Steps are half-open: a tensor lives in [first, last)."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Literal, get_args

from gpunet.errors import PlanError
from gpunet.program.algorithm import Fusions
from gpunet.program.shares import share, shares
from gpunet.program.tensor import Tensor

Phase = Literal["forward", "loss", "backward", "update"]
Mode = Literal["train", "infer"]
Dtype = Literal["float32", "float64", "float16", "bfloat16"]
"""Of images, activations and their gradients. Of halves, parameters and all that is summed or kept are float32."""

AnyDtype = Literal["float32", "float64", "float16", "bfloat16", "mixed"]
"""What may be asked for; mixed: the type of two bytes that the device has, bfloat16 before float16."""

DTYPES: tuple[AnyDtype, ...] = get_args(AnyDtype)

DeviceName = Literal[
    "cpu", "cuda", "cuda:0", "cuda:1", "cuda:2", "cuda:3", "cuda:4", "cuda:5", "cuda:6", "cuda:7", "cuda:8",
    "cuda:9", "cuda:10", "cuda:11", "cuda:12", "cuda:13", "cuda:14", "cuda:15",
]  # fmt: skip
"""What there are to plan for, and to run on; more GPUs than that are as good, but no type checker knows them."""

AnyDevice = Literal[DeviceName, "auto"]
"""Where to run; auto: on the GPU if there is one, else on the CPU."""


@dataclass(frozen=True, slots=True)
class RunTime:
    """An attribute whose number is known when a model binds the op to its arrays.

    "images", how many the batch has, of all ranks together; "first_image", where in it those of this round begin;
    "accumulate", 1 from the second round of a loop on; "seed", the model's, below 2**63; "training", 0 where only a
    forward pass is run; "portion", the part of the batch's images that this rank or round has, and "part_images", the
    most that one has.
    What changes from step to step is no attribute but a Changing number.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Now:
    """Where training stands: what Changing numbers follow from.

    `learning_rate`  of this step, which schedules change
    `step`           how many the model has taken with this one, 1 for the first
    `seen`           how many images it has learnt from before
    """

    learning_rate: float
    step: int
    seen: int


@dataclass(frozen=True)
class Changing(ABC):
    """A number that changes from step to step.

    All those of a program lie in one tensor, `Program.numbers`, which the host fills before a run; ops take that tensor
    and, as an attribute, the place of the number in it. So what a device calls stays the same from step to step.
    """

    @abstractmethod
    def value(self, now: Now) -> float:
        """What it is now; whole numbers are exact below 2**53."""


@dataclass(frozen=True)
class Step(Changing):
    """The number of the step, 1 for the first."""

    def value(self, now: Now) -> float:
        return now.step


@dataclass(frozen=True)
class Seen(Changing):
    """How many images the model has learnt from before."""

    def value(self, now: Now) -> float:
        return now.seen


Attribute = int | float | str | RunTime


@dataclass(frozen=True, slots=True)
class Op:
    """One call of a device function: `name(*inputs, *outputs, *scratch, **attributes)`.

    `in_place`  pairs (output, input) of positions: that output may take over the bytes of that input, because the
                function reads every value of it no later than it writes there. Whether it does, `Program.takes_over`
                says.
    `flops`     multiplications and additions of its matrix products, for the whole batch; what else it does is small
                beside them
    `scratch`   None where the algorithm that was chosen needs none.
    `absent`    positions among all arguments at which the function gets None: optional inputs that this call is without
    `across_images`  its outputs depend on all images of the batch together, so it cannot run in rounds.
    `shared`    how many inputs, the first ones, several such calls have in common where one call may do for all: it
                takes these, then the other inputs of each, then the outputs of each; 0: one call is one call
    `still`     positions among inputs and outputs of what lies where it is to go, so that nothing is moved for it
    `own_share`  each rank runs it on its own share of the values of its first output, of inputs of the same shape, and
                 of the outputs behind, which hold a share
    """

    name: str
    layer: str
    phase: Phase
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    scratch: tuple[Tensor | None, ...] = ()
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    in_place: tuple[tuple[int, int], ...] = ()
    flops: int = 0
    across_images: bool = False
    absent: tuple[int, ...] = ()
    shared: int = 0
    still: tuple[int, ...] = ()
    own_share: bool = False

    @property
    def layers(self) -> set[str]:
        """The layer that it belongs to, and those of what it makes: a fused op does the work of several."""
        return {self.layer, *(tensor.layer for tensor in self.outputs)}

    @property
    def shares(self) -> dict[str, float]:
        """By layer, the part of the work that is done for it: all for its own, unless it joins calls of several."""
        if not self.shared:
            return {self.layer: 1.0}
        whole = sum(tensor.nbytes for tensor in self.outputs)
        found: dict[str, float] = {}
        for tensor in self.outputs:
            found[tensor.layer] = found.get(tensor.layer, 0.0) + tensor.nbytes / whole
        return found

    @property
    def used(self) -> tuple[Tensor, ...]:
        """The tensors among its arguments."""
        return (*self.inputs, *self.outputs, *filter(None, self.scratch))

    @property
    def arguments(self) -> tuple[Tensor | None, ...]:
        found = [*self.inputs, *self.outputs, *self.scratch]
        for position in self.absent:
            found.insert(position, None)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Loop:
    """The steps [first, last) run in rounds, each for the next `images` images of the batch.

    In a loop, batched tensors of `images` rows hold one round and are used afresh in the next; those of the whole
    batch are used `images` rows at a time.
    `parts`  so many rounds, as equal as can be, of at most `images`, as so many ranks would divide them; 0: each round
             but the last has `images`
    """

    first: int
    last: int
    images: int
    parts: int = 0

    def rounds(self, images: int) -> list[tuple[int, int]]:
        """[first, last) of the images of each round, of so many in all."""
        if self.parts:
            return shares(images, self.parts)
        return [(first, min(first + self.images, images)) for first in range(0, images, self.images)]


@dataclass(frozen=True, slots=True)
class Turn:
    """One call of an op in a run: for the images [first, last) of the batch, in this round of its loop.

    `more`  whether another round of the loop follows
    """

    step: int
    first: int
    last: int
    round: int = 0
    more: bool = False


@dataclass(frozen=True, slots=True)
class Within:
    """Where a tensor lies that has no bytes of its own: its maps are those from `first` on of the tensor `whole`.

    Both have as many positions, the wider one more maps in each: of the narrower one each position begins as many
    values behind the one before as the wider one has maps.
    """

    whole: str
    first: int


@dataclass(frozen=True, slots=True)
class Parameter:
    """A tensor that outlives a step and is saved with the net, the gradient that an update reads and how it starts.

    `gradient`   None where it is not learnt, as running statistics are not, and in inference; it has no caches then
    `deviation`  standard deviation of the normal distribution it is drawn from; 0: it is `start` everywhere
    `fixed`      whether it is `start` for ever
    """

    tensor: Tensor
    gradient: Tensor | None
    caches: tuple[Tensor, ...]
    deviation: float
    start: float = 0.0
    fixed: bool = False


@dataclass(frozen=True)
class Program:
    """The steps of one training step, or of one inference, for a batch of at most `batch` images.

    `image_bytes, images, labels`  tensors the host fills before step 0 (uint8 images pass through step 0, float
                                   images skip it)
    `numbers`                      the Changing numbers as float64, which the host fills, too; None where there are none
    `changing`                     what stands in it, in order
    `scaling`                      what float16 gradients are multiplied by meanwhile, [scale, steps since it changed];
                                   it outlives a step; None where nothing is
    `counters`                     int32 zeros that ops count with and leave as zeros: the host makes them once
    `next_bytes`                   where the next batch may arrive while a step runs, or None; it and image_bytes then
                                   change places from step to step, and are nobody else's
    `scores, loss, correct`        what the host reads; loss and correct only in a training program
    `image_gradient`               the gradient of the images, where it was asked for: read it when it has been written,
                                   it may be gone at the end of the step
    `takes_over`                   tensor name -> name of the tensor whose bytes it gets at its first step
    `within`                       tensor name -> the wider tensor among whose maps it lies, which lies in none itself
    `fusions`                      what the device can do in one op with a convolution
    `loops`                        ranges of steps that run in rounds, in order, none within another
    `ranks, whole`                 how many processes run this program side by side, each on its part of at most `batch`
                                   images, and how many images there are of all of them together. Batched tensors of
                                   more than `batch` rows hold something of all of those.
    `sharded`                      by name, whole shapes of what lasts from step to step and is divided: each rank holds
                                   its share of the values of an optimizer cache, or its rows of what is in `split`
    `split`                        by name, tensors of which each rank has its share along an axis: the axis, and how
                                   long it is in all; their shape has room for the largest share
    """

    mode: Mode
    batch: int
    dtype: Dtype
    ops: tuple[Op, ...]
    parameters: tuple[Parameter, ...]
    image_bytes: Tensor
    images: Tensor
    labels: Tensor | None
    scores: Tensor
    loss: Tensor | None = None
    correct: Tensor | None = None
    image_gradient: Tensor | None = None
    next_bytes: Tensor | None = None
    numbers: Tensor | None = None
    changing: tuple[Changing, ...] = ()
    scaling: Tensor | None = None
    counters: Tensor | None = None
    takes_over: Mapping[str, str] = field(default_factory=dict)
    within: Mapping[str, Within] = field(default_factory=dict)
    fusions: Fusions = field(default_factory=dict)
    loops: tuple[Loop, ...] = ()
    ranks: int = 1
    whole: int = 0
    sharded: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    split: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        return len(self.ops)

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name: persistent ones first, then in the order of first use.

        Raises PlanError if one name stands for two tensors.
        """
        found: dict[str, Tensor] = {}
        persistent = [t for p in self.parameters for t in (p.tensor, *p.caches)]
        persistent += [] if self.scaling is None else [self.scaling]
        for tensor in [*persistent, *self._fed, *(t for op in self.ops for t in op.used)]:
            known = found.setdefault(tensor.name, tensor)
            if known is not tensor and known != tensor:
                raise PlanError(f"two tensors are called {tensor.name}")
        return found

    @cached_property
    def lifetimes(self) -> dict[str, tuple[int, int]]:
        """[first, last) of every tensor, by name: the steps in which its bytes are its own.

        A tensor that another takes over ends where that other begins. One that others lie within lives as long as they.
        """
        first: dict[str, int] = {t.name: 0 for t in self._fed}
        last: dict[str, int] = {t.name: 1 for t in self._fed}
        for step, op in enumerate(self.ops):
            for tensor in op.used:
                first.setdefault(tensor.name, step)
                last[tensor.name] = step + 1
        for read in (self.scores, self.loss, self.correct):
            if read is not None and (read is not self.scores or self.mode == "infer"):
                last[read.name] = self.steps
        if self.counters is not None:
            last[self.counters.name] = self.steps
        if self.next_bytes is not None:
            last[self.image_bytes.name] = last[self.next_bytes.name] = self.steps
        for loop in self.loops:
            for name in self._across(loop, first, last):
                first[name], last[name] = min(first[name], loop.first), max(last[name], loop.last)
        for name, tensor in self.tensors.items():
            if tensor.kind.persistent:
                first[name], last[name] = 0, self.steps
        for name, place in self.within.items():
            first[place.whole] = min(first[place.whole], first[name])
            last[place.whole] = max(last[place.whole], last[name])
        for heir, giver in self.takes_over.items():
            last[giver] = first[heir]
        return {name: (first[name], last[name]) for name in self.tensors}

    def own_bytes(self, tensor: Tensor) -> int:
        """The bytes of a tensor that are no other's: none where it lies within a wider one."""
        return 0 if tensor.name in self.within else tensor.nbytes

    def shape_in(self, tensor: Tensor, rank: int) -> tuple[int, ...]:
        """The shape of what a rank has of a tensor: all, or its share along an axis."""
        if tensor.name not in self.split:
            return tensor.shape
        axis, length = self.split[tensor.name]
        first, last = share(length, self.ranks, rank)
        return (*tensor.shape[:axis], last - first, *tensor.shape[axis + 1 :])

    def own_values(self, name: str, rank: int) -> tuple[int, int]:
        """[first, last) of the values of the whole that a rank has of a tensor in `sharded`."""
        shape = self.sharded[name]
        each = prod(shape[1:]) if name in self.split else 1
        first, last = share(prod(shape) // each, self.ranks, rank)
        return first * each, last * each

    def loop_at(self, step: int) -> Loop | None:
        """The loop that a step belongs to."""
        return next((loop for loop in self.loops if loop.first <= step < loop.last), None)

    def turns(self, images: int) -> Iterator[Turn]:
        """What a run over so many images calls, in order: every step once, but the steps of a loop once a round."""
        step = 0
        for loop in self.loops:
            yield from (Turn(one, 0, images) for one in range(step, loop.first))
            for round, (first, last) in enumerate(loop.rounds(images)):
                for step in range(loop.first, loop.last):
                    yield Turn(step, first, last, round, last < images)
            step = loop.last
        yield from (Turn(one, 0, images) for one in range(step, self.steps))

    def _across(self, loop: Loop, first: Mapping[str, int], last: Mapping[str, int]) -> set[str]:
        """What a loop uses that does not begin and end within each of its rounds."""
        used = {t for op in self.ops[loop.first : loop.last] for t in op.arguments if t is not None}
        return {
            t.name
            for t in used
            if first[t.name] < loop.first or last[t.name] > loop.last or (t.batched and t.shape[0] > loop.images)
        }

    @property
    def _fed(self) -> list[Tensor]:
        """What the host writes before step 0, or, of the next batch, at any time."""
        fed = (self.image_bytes, self.next_bytes, self.images, self.labels, self.numbers, self.counters)
        return [t for t in fed if t is not None]
