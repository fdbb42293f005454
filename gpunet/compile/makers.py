"""What the forward pass makes, by number: who makes each value, who reads it when, and what making it again costs.

The graph behind the search for what to drop (`dropping`, `frontier`): values are the batched activations of the forward
pass, and half-typed copies of weights; makers are the ops that make them. What else belongs to no image, such as the
statistics of a batch, is always there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate

from gpunet.compile.between import BETWEEN_RANKS
from gpunet.compile.recompute import before_unpooling, behind_unpooling, early_reads, saved
from gpunet.memory.plan import live_bytes
from gpunet.program.program import Loop, Op, Program
from gpunet.program.tensor import Kind, Tensor

NEVER = 1 << 60
"""Behind every step."""

ALIGNMENT = 256


@dataclass(frozen=True, slots=True)
class Cost:
    """What running ops once more takes: FLOPs of matrix products, and nanoseconds by some clock."""

    flops: int = 0
    ns: int = 0

    def times(self, factor: float) -> "Cost":
        return Cost(int(factor * self.flops), int(factor * self.ns))

    def plus(self, other: "Cost") -> "Cost":
        return Cost(self.flops + other.flops, self.ns + other.ns)

    def within(self, most: "Cost") -> bool:
        return self.flops <= most.flops and self.ns <= most.ns


@dataclass(frozen=True, slots=True)
class Price:
    """What is to be small, a whole number: so much for a FLOP and for a nanosecond."""

    flops: int
    ns: int

    def __call__(self, cost: Cost) -> int:
        return self.flops * cost.flops + self.ns * cost.ns


@dataclass(frozen=True, slots=True)
class Point:
    """A choice of what to drop, as `gpunet.compile.recompute` takes it.

    `peak_bytes`  most alive at once, as it was counted
    `cost`        of what is made again
    """

    peak_bytes: int
    cost: Cost
    dropped: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Value:
    """A batched activation of the forward pass, in a program in which nothing is dropped. Bytes are rounded up.

    `saved`       whether backward reads it: it may be dropped. If not, it may be kept, to make others from.
    `masked`      of it a mask of bits is saved; where it is made again, the mask is made of that
    `fixed`       always there, as images are; its life may only grow longer, where others are made from it
    `keepable`    not saved, but worth keeping where others are made from it, as making it again takes products
    `round_bytes`  of the images of one round, where there are rounds
    `read`        the first step of the backward pass that reads it; NEVER where none does
    `early`       steps of it that read it before that and with which it may go, as if something were made from it there
    `anew`        those of them for which what is made twice is made by itself
    `gone`        what dropping it frees: its bytes in the steps [gone[0], gone[1])
    `once`        where it lives in the forward pass all the same, for the images of one round; (0, 0): it does not
    `ends`        the step by which its last reader has read it, made again or not
    `last`        where its bytes end, or another takes them over, if it is kept for nobody
    """

    name: str
    maker: int
    saved: bool
    masked: bool
    fixed: bool
    keepable: bool
    nbytes: int
    round_bytes: int
    read: int
    gone: tuple[int, int]
    once: tuple[int, int]
    ends: int
    last: int
    early: tuple[int, ...] = ()
    anew: tuple[int, ...] = ()

    @property
    def free(self) -> tuple[int, int]:
        """The steps [first, last) in which it may be gone: until it is read; all of a loop, as rounds are small."""
        first, last = self.gone
        return first, last if self.once != (0, 0) else max(min(self.read, last), first)


@dataclass(frozen=True, slots=True)
class Maker:
    """An op of the forward pass: values that it takes and makes, and which of them may share their bytes."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    in_place: tuple[tuple[int, int], ...]
    scratch_bytes: int
    cost: Cost


@dataclass(frozen=True)
class Makers:
    """The graph, and the bytes of the program as it stands.

    `users`     by value, the makers that take it
    `live`      bytes alive in each step; `before`: those alive between it and the step before
    """

    values: tuple[Value, ...]
    makers: tuple[Maker, ...]
    users: tuple[tuple[int, ...], ...]
    live: tuple[int, ...]
    before: tuple[int, ...]
    loops: tuple[Loop, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the values."""
        return tuple(value.name for value in self.values)

    def nbytes(self, value: int, step: int) -> int:
        """What a value takes where it is made again before this step."""
        found = self.values[value]
        for loop in self.loops:
            if loop.first <= step < loop.last:
                return found.round_bytes
        return found.nbytes


def makers_of(program: Program, ns: Callable[[Op], int]) -> Makers:
    """The graph of a finished training program in which nothing is dropped; `ns`: nanoseconds of an op."""
    reader = _Reader(program)
    steps = [step for step, op in enumerate(program.ops) if op.phase == "forward" and op.name != "relu_mask"]
    steps = [step for step in steps if any(map(reader.counts, program.ops[step].outputs))]
    made = [[t for t in program.ops[step].outputs if reader.counts(t)] for step in steps]
    values = [reader.value(t, maker) for maker, tensors in enumerate(made) for t in tensors]
    number = {value.name: at for at, value in enumerate(values)}
    makers = tuple(_maker(program.ops[step], number, ns) for step in steps)
    users: list[list[int]] = [[] for _ in values]
    for at, maker in enumerate(makers):
        for value in maker.inputs:
            users[value].append(at)
    return Makers(
        tuple(values), makers, tuple(map(tuple, users)), tuple(live_bytes(program)), reader.before(), program.loops
    )


def _maker(op: Op, number: Mapping[str, int], ns: Callable[[Op], int]) -> Maker:
    inputs = tuple(dict.fromkeys(number[t.name] for t in op.inputs if t.name in number))
    pairs = ((op.outputs[written], op.inputs[read]) for written, read in op.in_place)
    shared = tuple(
        (number[new.name], number[old.name]) for new, old in pairs if new.name in number and old.name in number
    )
    scratch = sum(aligned(t.nbytes) for t in op.scratch if t is not None)
    return Maker(
        inputs, tuple(number[t.name] for t in op.outputs if t.name in number), shared, scratch, Cost(op.flops, ns(op))
    )


def aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


class _Reader:
    """Who reads what when, in a program."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._saved = saved(program)
        self._heirs = {giver: heir for heir, giver in program.takes_over.items()}
        joined = {op.outputs[0].name for op in program.ops if op.name == "concat_forward"}
        nested = {name: place.whole for name, place in program.within.items() if name in joined}
        self._held = {*nested, *nested.values()}  # without one of them the others have its bytes all the same
        self._copies = {op.outputs[0].name for op in program.ops if op.name == "cast_forward"}
        self._early = {} if program.loops else early_reads(program)
        self._behind = behind_unpooling(program)
        self._made: dict[str, int] = {}
        self._forward: dict[str, int] = {}
        self._backward: dict[str, list[int]] = {}
        for step, tensor in before_unpooling(program).items():  # it is made again as if it were read there
            self._backward.setdefault(tensor.name, []).append(step)
        for step, op in enumerate(program.ops):
            for t in op.outputs:
                self._made.setdefault(t.name, step)
            for t in op.inputs:
                if op.phase in ("forward", "loss"):
                    self._forward[t.name] = step
                elif step not in self._early.get(t.name, ()):
                    self._backward.setdefault(t.name, []).append(step)

    def counts(self, tensor: Tensor) -> bool:
        """Images', and copies of weights, which can be made again like them."""
        return (tensor.batched or tensor.name in self._copies) and tensor.kind in (Kind.ACTIVATION, Kind.DATA)

    def value(self, tensor: Tensor, maker: int) -> Value:
        program, name = self._program, tensor.name
        made, reads = self._made[name], self._backward.get(name, [])
        last_use = self._forward.get(name, made)
        loop = program.loop_at(made)
        handed_on = loop is not None and last_use >= loop.last  # to what comes behind the loop
        sent = program.ops[made].name in BETWEEN_RANKS and name in self._saved  # it would have to be sent again
        fixed = tensor.kind is Kind.DATA or handed_on or sent or name in self._held
        _, last = program.lifetimes[name]
        start = last_use if self._hands_over(tensor, last_use) else last_use + 1
        images = program.loops[0].images if program.loops and tensor.batched else tensor.shape[0]
        return Value(
            name=name,
            maker=maker,
            saved=bool(reads) and name in self._saved and not fixed,
            masked=not reads and name in self._saved and not fixed,
            fixed=fixed,
            keepable=not reads and name not in self._saved and loop is None and program.ops[made].flops > 0,
            nbytes=aligned(program.own_bytes(tensor)),
            round_bytes=aligned(program.own_bytes(tensor) // tensor.shape[0] * images),
            read=min(reads, default=NEVER),
            gone=(loop.first if loop else start, last),
            once=(made, last_use + 1) if loop and reads else (0, 0),
            ends=max(reads, default=-1) + 1 if loop else last,
            last=last,
            early=(early := tuple(self._early.get(name, ()))),
            anew=tuple(step for step in early if step in self._behind),
        )

    def _hands_over(self, tensor: Tensor, step: int) -> bool:
        """Whether the last reader of the forward pass writes over a value that nobody needs behind it."""
        op = self._program.ops[step]
        return any(
            op.inputs[read].name == tensor.name
            and op.outputs[written].name not in self._program.takes_over
            and (op.outputs[written].nbytes, op.outputs[written].dtype) == (tensor.nbytes, tensor.dtype)
            and self._made[op.outputs[written].name] == step
            and self._program.loop_at(step) is None
            for written, read in op.in_place
        )

    def before(self) -> tuple[int, ...]:
        """Bytes alive between each step and the one before; what is handed over is still the giver's."""
        program = self._program
        change = [0] * (program.steps + 2)
        for name, (first, last) in program.lifetimes.items():
            size = aligned(program.own_bytes(program.tensors[name]))
            end = last + 1 if name in self._heirs else last
            if end > first + 1:
                change[first + 1] += size
                change[end] -= size
        return tuple(accumulate(change[: program.steps]))
