"""A plan: every tensor of a program at its offset in one arena, and what that costs by kind, by layer and by step."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any

from gpunet.memory.arena import Buffer, Placement, place
from gpunet.memory.validate import validate
from gpunet.memory.validate_within import validate_within
from gpunet.program.program import DeviceName, Dtype, Mode, Program
from gpunet.program.tensor import ITEMSIZE, Kind, Tensor
from gpunet.values.shown import Shown


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """A tensor at its place: bytes [offset, offset + nbytes) of the arena are its own during steps [first, last).

    `within`  the name of the wider tensor among whose maps it lies from `offset` on, without bytes of its own; "": none
    """

    tensor: Tensor
    offset: int
    first: int
    last: int
    within: str = ""

    @property
    def name(self) -> str:
        return self.tensor.name

    @property
    def kind(self) -> Kind:
        return self.tensor.kind

    @property
    def layer(self) -> str:
        return self.tensor.layer

    @property
    def nbytes(self) -> int:
        return 0 if self.within else self.tensor.nbytes


@dataclass(frozen=True, repr=False)
class Plan(Shown):
    """Where everything lies. `gpunet.plan` makes one; a Model runs inside it. All sizes and offsets are bytes.

    `target`             what it was made for, a gpunet.devices.target.DeviceTarget
    `arena_bytes`        one allocation that holds every tensor
    `lower_bound_bytes`  most bytes alive at once: no placement can be smaller
    `reserve_bytes`      what the process holds outside the arena; `reserve_source` says how that is known
    `budget_bytes`       what there is, or None where nobody said
    `scratch_limit_bytes`  most bytes of scratch of one op of a convolution, as this plan decided
    `ways`               what it took to fit beyond the free savings, a gpunet.compile.ways.Ways
    `frozen`             names of the layers whose parameters a step leaves as they are
    `of, learning`       the net that was planned, and how it learns, a gpunet.Learning, for whoever asks
    `pricing`            says how long a step of a plan takes: gpunet.planning.prediction.predicted
    `least`              finds what making again costs at least in as few bytes: gpunet.planning.least.Least
    `extra_flops_fraction`  FLOPs of what is made again, over those of a step that makes nothing again
    `extra_time_fraction`  the same of predicted time
    """

    net: str
    target: Any
    optimizer: str
    program: Program
    placement: Placement
    reserve_bytes: int
    budget_bytes: int | None = None
    scratch_limit_bytes: int = 0
    ways: Any = None
    extra_flops_fraction: float = 0.0
    extra_time_fraction: float = 0.0
    reserve_source: str = "stated, not measured"
    frozen: tuple[str, ...] = ()
    of: Any = field(default=None, compare=False)
    learning: Any = field(default=None, compare=False)
    pricing: Callable[["Plan"], Any] | None = field(default=None, compare=False)
    least: Any = field(default=None, compare=False)

    @property
    def device(self) -> DeviceName:
        """The name of the device."""
        name: DeviceName = self.target.name
        return name

    @property
    def card(self) -> str:
        """The name of the card or GPU that it was made for; "" where none was named and there was none."""
        return str(self.target.card)

    @property
    def compute_capability(self) -> str:
        """That of the GPU it was made for, like "8.6"; "" for a device that has none."""
        return ".".join(map(str, self.target.compute_capability or ()))

    @property
    def mode(self) -> Mode:
        return self.program.mode

    @property
    def batch(self) -> int:
        return self.program.batch

    @property
    def ranks(self) -> int:
        """How many processes run it side by side, each on its share of the images."""
        return self.program.ranks

    @property
    def whole_batch(self) -> int:
        """The most images of a step of all ranks together."""
        return self.program.whole or self.program.batch

    @property
    def parts(self) -> int:
        """In how many parts a batch is learnt from, by ranks or in turn, whose gradients are added in order."""
        return max(self.ranks, *(loop.parts for loop in self.program.loops), 1)

    @cached_property
    def joins_ranks(self) -> bool:
        """Whether statistics of images are taken over all ranks."""
        return any(op.name == "join_statistics" for op in self.program.ops)

    @property
    def dtype(self) -> Dtype:
        return self.program.dtype

    @property
    def steps(self) -> int:
        return self.program.steps

    @property
    def arena_bytes(self) -> int:
        return self.placement.height_bytes

    @property
    def lower_bound_bytes(self) -> int:
        return self.placement.lower_bound_bytes

    @property
    def total_bytes(self) -> int:
        """Arena and reserve: what the budget must hold."""
        return self.arena_bytes + self.reserve_bytes

    @property
    def fits(self) -> bool:
        """Whether arena and reserve are within the budget; true where there is none."""
        return self.budget_bytes is None or self.total_bytes <= self.budget_bytes

    @cached_property
    def predicted(self) -> Any:
        """How long a step takes on the card, predicted and not measured, a gpunet.planning.prediction.Prediction.

        None where that cannot be told: of the CPU, in float64, or without a card that is known.
        """
        return None if self.pricing is None else self.pricing(self)

    @cached_property
    def least_cost(self) -> float | None:
        """What no choice of what to make again can be below, in the same ways and in as few bytes.

        A fraction of a step's time, or of its FLOPs where these were to be few. None where nothing is made again, and
        without SciPy.
        """
        return None if self.least is None else self.least()

    @property
    def cost_gap(self) -> float | None:
        """By how much what is made again costs more than `least_cost`, in its fraction; None where that is."""
        if self.least_cost is None:
            return None
        cost = self.extra_flops_fraction if self.least.by_flops else self.extra_time_fraction
        return max(cost - self.least_cost, 0.0)

    @cached_property
    def tensors(self) -> tuple[PlannedTensor, ...]:
        """Every tensor with its offset and lifetime; no two that are alive in the same step share a byte."""
        storage, within = _storage(self.program), self.program.within
        offsets, lifetimes = self.placement.offsets, self.program.lifetimes
        found = []
        for name, tensor in self.program.tensors.items():
            offset, place = offsets[storage[name]], within.get(name)
            if place is None:
                found.append(PlannedTensor(tensor, offset, *lifetimes[name]))
            else:
                offset += place.first * ITEMSIZE[tensor.dtype]
                found.append(PlannedTensor(tensor, offset, *lifetimes[name], place.whole))
        return tuple(found)

    @cached_property
    def live_bytes(self) -> tuple[int, ...]:
        """Bytes of the tensors alive in each step."""
        change = [0] * (self.steps + 1)
        for planned in self.tensors:
            change[planned.first] += planned.nbytes
            change[planned.last] -= planned.nbytes
        return tuple(accumulate(change[:-1]))

    @property
    def peak_step(self) -> int:
        """The first step in which the most bytes are alive."""
        return self.live_bytes.index(max(self.live_bytes))

    @cached_property
    def by_kind(self) -> dict[Kind, int]:
        """Bytes alive at the peak, by kind; a kind that holds nothing there has 0."""
        totals = dict.fromkeys(Kind, 0)
        for planned in self.alive(self.peak_step):
            totals[planned.kind] += planned.nbytes
        return totals

    @cached_property
    def by_layer(self) -> dict[str, dict[Kind, int]]:
        """Bytes by layer and kind, whenever they live; bytes that are handed from tensor to tensor, and those of a
        tensor within another, count once.

        Scratch is the most that one op of the layer takes.
        """
        storage = _storage(self.program)
        totals: dict[str, dict[Kind, int]] = {}
        for name, tensor in self.program.tensors.items():
            row = totals.setdefault(tensor.layer, dict.fromkeys(Kind, 0))
            if tensor.kind is not Kind.WORKSPACE and storage[name] == name:
                row[tensor.kind] += tensor.nbytes
        for op in self.program.ops:
            row = totals.setdefault(op.layer, dict.fromkeys(Kind, 0))
            scratch = sum(tensor.nbytes for tensor in op.scratch if tensor is not None)
            row[Kind.WORKSPACE] = max(row[Kind.WORKSPACE], scratch)
        return totals

    def alive(self, step: int) -> Iterator[PlannedTensor]:
        """The tensors alive in a step."""
        return (planned for planned in self.tensors if planned.first <= step < planned.last)


def arrange(program: Program, *, alignment: int = 256) -> Placement:
    """Offsets for the tensors of a program, persistent ones contiguous at the base; checked before it is returned.

    Raises PlanError if the check finds a fault, which would be ours.
    """
    base, moving = buffers(program)
    placement = place(moving, base=base, alignment=alignment)
    validate([*base, *moving], placement.offsets, placement.height_bytes, alignment)
    validate_within(program)
    return placement


def live_bytes(program: Program, *, alignment: int = 256) -> list[int]:
    """Bytes alive in each step, every tensor rounded up to the alignment; the largest bounds any placement."""
    change = [0] * (program.steps + 1)
    tensors = program.tensors
    for name, (first, last) in program.lifetimes.items():  # who takes over bytes begins where the giver ends
        size = -(-program.own_bytes(tensors[name]) // alignment) * alignment
        change[first] += size
        change[last] -= size
    return list(accumulate(change[:-1]))


def image_bytes(program: Program) -> int:
    """How many bytes more are alive at the peak for one image more."""
    live = live_bytes(program)
    peak = live.index(max(live))
    alive = (program.tensors[name] for name, (first, last) in program.lifetimes.items() if first <= peak < last)
    return sum(t.nbytes for t in alive if t.batched and t.shape[0] == program.batch) // program.batch


def buffers(program: Program) -> tuple[list[Buffer], list[Buffer]]:
    """(persistent, others): one Buffer for each tensor that takes over no other's bytes, until its last heir dies, and
    lies within none."""
    lifetimes = program.lifetimes
    storage = _storage(program)
    last: dict[str, int] = {}
    for name, root in storage.items():
        last[root] = max(last.get(root, 0), lifetimes[name][1])
    base: list[Buffer] = []
    moving: list[Buffer] = []
    for name, tensor in program.tensors.items():
        if storage[name] == name:
            buffer = Buffer(name, tensor.nbytes, lifetimes[name][0], last[name])
            (base if tensor.kind.persistent else moving).append(buffer)
    return base, moving


def _storage(program: Program) -> dict[str, str]:
    """Tensor name -> name of the tensor at the start of its chain of takeovers, whose bytes it has.

    What lies within another has the bytes of that one.
    """
    storage: dict[str, str] = {}
    for name in program.tensors:
        root = program.within[name].whole if name in program.within else name
        while root in program.takes_over:
            root = program.takes_over[root]
        storage[name] = root
    return storage
