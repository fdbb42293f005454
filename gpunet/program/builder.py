"""What layers, losses and optimizers emit their ops into: a Builder for the program, an Emitter for one layer of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from gpunet.program.algorithm import Algorithm, Fusions, Math, Pass
from gpunet.program.filters import ConvShape
from gpunet.program.program import Attribute, Changing, Dtype, Mode, Op, Phase
from gpunet.program.tensor import ITEMSIZE, Kind, Tensor, wide

NUMBERS = "input.numbers"
"""The tensor of Changing numbers."""

COUNTERS = "input.counters"
"""The tensor of counters."""


class Target(Protocol):
    """What depends on the device and changes the program: how much scratch its algorithms want."""

    @property
    def name(self) -> str: ...

    @property
    def gathers_windows(self) -> bool:
        """Whether a product of windows that no matrix holds needs them gathered in scratch first."""
        ...

    @property
    def fusions(self) -> Fusions:
        """What it can do in one op with a convolution, by algorithm."""
        ...

    @property
    def calls_cost(self) -> bool:
        """Whether a call costs time by itself, so that one for several arrays is better than one for each."""
        ...

    def product_dtype(self, dtype: str) -> str:
        """The type in which it multiplies matrices where activations are of `dtype`."""
        ...

    def gemm_workspace_bytes(self, rows: int, columns: int, itemsize: int, *, accumulate: bool) -> int:
        """Bytes a (rows, columns) matrix product wants beside its operands; `accumulate`: added to what is there."""
        ...

    def conv_algorithm(
        self, pass_: Pass, shape: ConvShape, *, dtype: str, math: Math, scratch_limit_bytes: int
    ) -> Algorithm:
        """How the device runs this pass of a convolution."""
        ...


@dataclass
class Builder:
    """Collects the ops of a program in execution order.

    `scratch_limit_bytes`  most bytes of scratch of one op of a convolution; the plan's decision, which layers obey
    `accumulates`          gradients will be added up over rounds
    `math`                 which algorithms of convolution may be chosen
    `loss`                 what training makes small, once it is emitted; then what updates look at in its place
    `scaling`              what gradients are multiplied by meanwhile, where they are
    `changing`             the Changing numbers that ops asked for, in the order of their places
    `most_counters`        that any op asked for
    """

    batch: int
    dtype: Dtype
    mode: Mode
    target: Target
    scratch_limit_bytes: int
    accumulates: bool = False
    math: Math = "exact"
    phase: Phase = "forward"
    ops: list[Op] = field(default_factory=list)
    loss: Tensor | None = None
    scaling: Tensor | None = None
    changing: list[Changing] = field(default_factory=list)
    most_counters: int = 0

    @property
    def numbers(self) -> Tensor | None:
        """The tensor of the Changing numbers that were asked for so far, one float64 each; None where none was."""
        layer, _, _ = NUMBERS.partition(".")
        return Tensor(NUMBERS, Kind.DATA, (len(self.changing),), "float64", layer) if self.changing else None

    @property
    def counters(self) -> Tensor | None:
        """The counters that ops use one after the other; None where none does."""
        layer, _, _ = COUNTERS.partition(".")
        return Tensor(COUNTERS, Kind.DATA, (self.most_counters,), "int32", layer) if self.most_counters else None

    def finished(self) -> tuple[Op, ...]:
        """All ops; those that take Changing numbers, or counters, take the tensor of all of them."""
        all_of = {t.name: t for t in (self.numbers, self.counters) if t is not None}

        def whole(given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(all_of.get(t.name, t) for t in given)

        return tuple(
            replace(op, inputs=whole(op.inputs)) if any(t.name in all_of for t in op.inputs) else op for op in self.ops
        )


@dataclass
class Emitter:
    """What one layer sees while it emits: its name, its parameters, and what its forward pass left for its backward.

    `parameters`     by short name ("w", "b"); `gradients` the same, empty when nothing is trained
    `kept`           the layer's own notes between forward and backward: tensors by any name it likes
    `copies`         of parameters, by short name, as `weights` makes them
    `inputs`         how many tensors the layer takes
    `frozen`         whether the layer is to stay as it is while others learn
    `returns`        whether a backward pass will come back to the layer
    `widens`         whether its activations are of the wide type even where those of the net are halves, as a loss's
    """

    builder: Builder
    layer: str
    parameters: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)
    kept: dict[str, Tensor] = field(default_factory=dict)
    copies: dict[str, Tensor] = field(default_factory=dict)
    inputs: int = 1
    frozen: bool = False
    returns: bool = False
    widens: bool = False

    @property
    def batch(self) -> int:
        return self.builder.batch

    @property
    def dtype(self) -> str:
        """Of activations and their gradients."""
        return self.wide if self.widens else self.builder.dtype

    @property
    def wide(self) -> str:
        """Of parameters and their gradients, of statistics, sums and scratch: float32 where activations are halves."""
        return wide(self.builder.dtype)

    @property
    def target(self) -> Target:
        return self.builder.target

    @property
    def multiplies_wide(self) -> bool:
        """Whether the target multiplies matrices of halves as copies of the wide type, which need scratch."""
        return self.target.product_dtype(self.dtype) != self.dtype

    @property
    def trains(self) -> bool:
        """Whether this is a step of training, which changes what dropout and batch normalization do."""
        return self.builder.mode == "train"

    @property
    def scratch_limit_bytes(self) -> int:
        return self.builder.scratch_limit_bytes

    @property
    def accumulates(self) -> bool:
        """Whether products may be added to gradients that are there already."""
        return self.builder.accumulates

    @property
    def loss(self) -> Tensor:
        """The loss of the step, (1,): whatever learns leaves all as it is where that is infinite or NaN."""
        assert self.builder.loss is not None  # nothing learns before there is a loss
        return self.builder.loss

    def conv_algorithm(self, pass_: Pass, shape: ConvShape) -> Algorithm:
        """How this pass of a convolution is to run."""
        limit, math = self.scratch_limit_bytes, self.builder.math
        return self.target.conv_algorithm(pass_, shape, dtype=self.dtype, math=math, scratch_limit_bytes=limit)

    def number(self, number: Changing) -> int:
        """The place of a number among those that change from step to step; equal ones have one place."""
        if number not in self.builder.changing:
            self.builder.changing.append(number)
        return self.builder.changing.index(number)

    @property
    def numbers(self) -> Tensor:
        """The tensor in which those numbers stand: an op that has the place of one takes it."""
        assert self.builder.numbers is not None  # `number` comes first
        return self.builder.numbers

    def counters(self, count: int) -> Tensor | None:
        """An input of so many int32 zeros, or more, which the op leaves as zeros; None where no call can use them.

        Blocks of a GPU that count themselves know which of them is the last, and may do what takes all others' results.
        """
        if not self.target.calls_cost:
            return None
        self.builder.most_counters = max(self.builder.most_counters, count)
        return self.builder.counters

    def tensor(self, name: str, kind: Kind, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        """A new tensor of this layer with exactly this shape, of the wide type unless another is said."""
        return Tensor(f"{self.layer}.{name}", kind, shape, dtype or self.wide, self.layer)

    def activation(self, name: str, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        """A new activation, `shape` for each image of the batch."""
        kind = Kind.ACTIVATION
        return Tensor(f"{self.layer}.{name}", kind, (self.batch, *shape), dtype or self.dtype, self.layer, True)

    def gradient(self, name: str, like: Tensor) -> Tensor:
        """A new gradient of the activation `like`."""
        return Tensor(f"{self.layer}.{name}", Kind.GRADIENT, like.shape, like.dtype, self.layer, like.batched)

    def workspace(self, name: str, shape: tuple[int, ...], dtype: str | None = None) -> Tensor | None:
        """New scratch for one op, of the wide type, or None where the shape holds nothing."""
        return None if 0 in shape else self.tensor(name, Kind.WORKSPACE, shape, dtype)

    def gemm_workspace(self, name: str, rows: int, columns: int, *, accumulate: bool = False) -> Tensor | None:
        """New scratch for matrix products of (rows, columns), as the target wants it, in values of the wide type."""
        size = ITEMSIZE[self.wide]
        wanted = self.target.gemm_workspace_bytes(rows, columns, size, accumulate=accumulate)
        return self.workspace(name, (-(-wanted // size),))

    def weights(self, name: str) -> Tensor:
        """The parameter `name` as matrix products take it: where activations are halves, a copy of that type.

        The copy is made where it is first asked for; what learns is the parameter itself.
        """
        w = self.parameters[name]
        if name not in self.copies:
            self.copies[name] = self.cast(w, name, Kind.ACTIVATION)
        return self.copies[name]

    def cast(self, x: Tensor, name: str, kind: Kind | None = None) -> Tensor:
        """x in the type of this layer's activations, each value rounded once; x itself where it is of that type."""
        if x.dtype == self.dtype:
            return x
        name = f"{self.layer}.{name}.{self.dtype}"
        y = replace(x, name=name, dtype=self.dtype, layer=self.layer, kind=kind or x.kind)
        self.op("cast_forward", (x,), (y,))
        return y

    def op(
        self,
        name: str,
        inputs: tuple[Tensor | None, ...],
        outputs: tuple[Tensor, ...],
        scratch: tuple[Tensor | None, ...] = (),
        *,
        attributes: Mapping[str, Attribute] | None = None,
        in_place: tuple[tuple[int, int], ...] = (),
        flops: int = 0,
        across_images: bool = False,
        shared: int = 0,
    ) -> None:
        """Append one op to the program; an input of None is an optional one that this call is without."""
        known, phase = attributes or {}, self.builder.phase
        given = tuple(tensor for tensor in inputs if tensor is not None)
        absent = tuple(position for position, tensor in enumerate(inputs) if tensor is None)
        common = shared if self.target.calls_cost else 0
        self.builder.ops.append(
            Op(name, self.layer, phase, given, outputs, scratch, known, in_place, flops, across_images, absent, common)
        )
