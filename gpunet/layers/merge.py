"""Where branches meet: sums, as in residual nets, concatenation along depth, as in Inception, products and maxima.

Sources: He et al. 2015, "Deep residual learning"; Szegedy et al. 2014, "Going deeper with convolutions"; sums with
coefficients: Szegedy et al. 2016, "Inception-v4, Inception-ResNet"; products: Hu et al. 2018, "Squeeze-and-excitation
networks"; maxima: Goodfellow et al. 2013, "Maxout networks".
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from gpunet.errors import ConfigError, ShapeError
from gpunet.layers.layer import Layer, of
from gpunet.program.builder import Emitter
from gpunet.program.tensor import Tensor
from gpunet.program.volume import Volume
from gpunet.values.given import as_float, told


@dataclass(frozen=True)
class Merge(Layer):
    """What layers share that take the outputs of two layers or more.

    `sign`  what stands between branches in the notation: { A + B }
    """

    merges: ClassVar[bool] = True
    sign: ClassVar[str]

    def output(self, *inputs: Volume) -> Volume:
        if len(inputs) < 2:
            raise ShapeError(
                f"joins at least two outputs, and {len(inputs)} is given; name its inputs or write "
                f"{{ A {self.sign} B }}"
            )
        for position, volume in enumerate(inputs):
            if wrong := self.misfit(inputs[0], volume):
                error = ShapeError(wrong)
                error.input = position
                raise error
        return self.joined(inputs)

    @abstractmethod
    def misfit(self, first: Volume, other: Volume) -> str:
        """Why `other` cannot join `first`, and what would fit; "" where it can."""

    @abstractmethod
    def joined(self, volumes: tuple[Volume, ...]) -> Volume:
        """The output volume of inputs that fit."""


@dataclass(frozen=True)
class OfOneSize(Merge):
    """What merges share whose inputs must have one size; `what` they are, for messages."""

    what: ClassVar[str]

    def misfit(self, first: Volume, other: Volume) -> str:
        if first == other:
            return ""
        way = f"a layer with K={first.D}" if first.shape[:2] == other.shape[:2] else f"an output of {first}"
        if first.H > other.H and first.H % other.H == 0 and first.H * other.W == first.W * other.H:
            way = f"the same strides on both ways: this one is {first.H // other.H} times as small"
        elif other.H > first.H and other.H % first.H == 0 and first.H * other.W == first.W * other.H:
            way = f"CONV1-{first.D}(S={other.H // first.H}) in this branch, which gives {first}"
        return f"{self.what} takes volumes of one size; this branch is {other}, the first one {first}; use {way}"

    def joined(self, volumes: tuple[Volume, ...]) -> Volume:
        return volumes[0]


@dataclass(frozen=True)
class Add(OfOneSize):
    """The sum of volumes of one size: y = x1 + x2 + ..., from the left.

    `coefficients`  where they are said, one for each input: y = c1*x1 + c2*x2 + ...
    """

    coefficients: tuple[float, ...] = ()

    type: ClassVar[str] = "add"
    word: ClassVar[str] = "ADD"
    sign: ClassVar[str] = "+"
    what: ClassVar[str] = "a sum"

    def __post_init__(self) -> None:
        said = self.coefficients
        numbers = tuple(map(as_float, said)) if isinstance(said, tuple | list) else (None,)
        if None in numbers:
            raise ConfigError(f"coefficients must be numbers, one for each branch; got {told(said)}")
        object.__setattr__(self, "coefficients", numbers)

    def joined(self, volumes: tuple[Volume, ...]) -> Volume:
        if self.coefficients and len(self.coefficients) != len(volumes):
            raise ShapeError(
                f"{len(volumes)} branches need as many coefficients; got {len(self.coefficients)}: "
                f"{', '.join(f'{number:g}' for number in self.coefficients)}"
            )
        return volumes[0]

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        total, *others = inputs
        factor, *factors = self.coefficients or (1.0,) * len(inputs)
        for number, (x, of_x) in enumerate(zip(others, factors, strict=True), 2):
            y = emit.activation("y" if number == len(inputs) else f"sum{number}", x.shape[1:])
            emit_add(emit, total, x, y, factor, of_x)
            total, factor = y, 1.0
        return total

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        if not needs_dx:
            return ()
        made = {1.0: dy}  # inputs of one coefficient share a gradient
        for number, factor in enumerate(self.coefficients, 1):
            if factor not in made:
                made[factor] = emit.gradient(f"dx{number}", dy)
                emit.op("scaled", (dy,), (made[factor],), attributes={"factor": factor}, in_place=((0, 0),))
        return tuple(made[factor] for factor in self.coefficients or (1.0,) * emit.inputs)


@dataclass(frozen=True)
class Concat(Merge):
    """Volumes of the same height and width behind one another along depth, in order."""

    type: ClassVar[str] = "concat"
    word: ClassVar[str] = "CONCAT"
    sign: ClassVar[str] = "|"

    def misfit(self, first: Volume, other: Volume) -> str:
        if first.shape[:2] == other.shape[:2]:
            return ""
        return (
            f"a concatenation takes volumes of one height and width; this branch is {other}, the first one {first}; "
            f"choose F, S and P that make it {first.H}x{first.W}x{other.D}"
        )

    def joined(self, volumes: tuple[Volume, ...]) -> Volume:
        return Volume(volumes[0].H, volumes[0].W, sum(volume.D for volume in volumes))

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        y = emit.activation("y", self.output(*map(of, inputs)).shape)
        emit.op("concat_forward", inputs, (y,))
        emit.kept.update({f"x{number}": x for number, x in enumerate(inputs, 1)})  # for their shapes alone
        return y

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        if not needs_dx:
            return ()
        dxs = tuple(emit.gradient(f"d{name}", x) for name, x in emit.kept.items())
        emit.op("concat_backward", (dy,), dxs)
        return dxs


@dataclass(frozen=True)
class Chained(Merge):
    """What merges share that join two volumes at a time, from the left, and look at both of them again in backward."""

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        first, *others = inputs
        emit.kept["left1"] = first
        for number, x in enumerate(others, 2):
            left = emit.kept[f"left{number - 1}"]
            volume = self.joined((of(left), of(x)))
            y = emit.activation("y" if number == len(inputs) else f"join{number}", volume.shape)
            self.join(emit, left, x, y)
            emit.kept |= {f"right{number}": x, f"left{number}": y}
        return emit.kept[f"left{len(inputs)}"]

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        if not needs_dx:
            return ()
        dxs: list[Tensor] = []
        for number in range(emit.inputs, 1, -1):
            left, right = emit.kept[f"left{number - 1}"], emit.kept[f"right{number}"]
            to_left = emit.gradient("dx1" if number == 2 else f"djoin{number - 1}", left)
            to_right = emit.gradient(f"dx{number}", right)
            self.part(emit, dy, (left, right), (to_left, to_right))
            dxs.append(to_right)
            dy = to_left
        return (dy, *reversed(dxs))

    @abstractmethod
    def join(self, emit: Emitter, left: Tensor, right: Tensor, y: Tensor) -> None:
        """Emit y of two volumes."""

    @abstractmethod
    def part(self, emit: Emitter, dy: Tensor, given: tuple[Tensor, Tensor], dxs: tuple[Tensor, Tensor]) -> None:
        """Emit the gradients of the two volumes that were given."""


@dataclass(frozen=True)
class Multiply(Chained):
    """The product of volumes of one size: y = x1 * x2 * ..., from the left; one that is 1x1xD stands for all positions.

    So a branch that ends in 1x1xD is a gate for each map of the others.
    """

    type: ClassVar[str] = "multiply"
    word: ClassVar[str] = "MULTIPLY"
    sign: ClassVar[str] = "*"

    def misfit(self, first: Volume, other: Volume) -> str:
        if first == other or (first.D == other.D and (1, 1) in (first.shape[:2], other.shape[:2])):
            return ""
        return (
            f"a product takes volumes of one size, or gates of 1x1x{first.D}; this branch is {other}, the first one "
            f"{first}; end it in GAP -> FC-{first.D}, or make it {first}"
        )

    def joined(self, volumes: tuple[Volume, ...]) -> Volume:
        large = [volume for volume in volumes if volume.shape[:2] != (1, 1)] or [volumes[0]]
        for volume in large:
            if volume != large[0]:
                raise ShapeError(f"a product takes volumes of one size, or gates; got {large[0]} and {volume}")
        return large[0]

    def join(self, emit: Emitter, left: Tensor, right: Tensor, y: Tensor) -> None:
        large, gate = _by_size(left, right)
        emit.op("multiply", (large, gate), (y,), in_place=((0, 0), (0, 1)))

    def part(self, emit: Emitter, dy: Tensor, given: tuple[Tensor, Tensor], dxs: tuple[Tensor, Tensor]) -> None:
        large, gate = _by_size(*given)
        dlarge, dgate = dxs if given[0] is large else dxs[::-1]
        if gate.shape == large.shape:
            emit.op("multiply", (dy, large), (dgate,), in_place=((0, 1),))
        else:
            emit.op("multiply_backward_gate", (dy, large), (dgate,))
        emit.op("multiply", (dy, gate), (dlarge,), in_place=((0, 0), (0, 1)))


@dataclass(frozen=True)
class Maximum(Chained, OfOneSize):
    """The largest of volumes of one size, value by value; the first of equals gets the gradient; NaN stays NaN."""

    type: ClassVar[str] = "maximum"
    word: ClassVar[str] = "MAXIMUM"
    sign: ClassVar[str] = "max"
    what: ClassVar[str] = "a maximum"

    def join(self, emit: Emitter, left: Tensor, right: Tensor, y: Tensor) -> None:
        emit.op("maximum", (left, right), (y,), in_place=((0, 0), (0, 1)))

    def part(self, emit: Emitter, dy: Tensor, given: tuple[Tensor, Tensor], dxs: tuple[Tensor, Tensor]) -> None:
        places = ((0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2))
        emit.op("maximum_backward", (dy, *given), dxs, in_place=places)


def _by_size(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """The one of all positions, then the other, which may be a gate."""
    return (right, left) if of(left).values < of(right).values else (left, right)


def emit_add(emit: Emitter, a: Tensor, b: Tensor, y: Tensor, of_a: float = 1.0, of_b: float = 1.0) -> None:
    """y = of_a * a + of_b * b, in the place of either where that is free."""
    if of_a == of_b == 1.0:
        emit.op("add", (a, b), (y,), in_place=((0, 0), (0, 1)))
    else:
        emit.op("add_scaled", (a, b), (y,), attributes={"of_a": of_a, "of_b": of_b}, in_place=((0, 0), (0, 1)))
