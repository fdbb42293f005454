"""Where branches meet: sums, as in residual nets, and concatenation along depth, as in Inception.

Source: He et al. 2015, "Deep residual learning"; Szegedy et al. 2014, "Going deeper with convolutions".
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from gpunet.errors import ShapeError
from gpunet.layers.layer import Layer, of
from gpunet.program.builder import Emitter
from gpunet.program.tensor import Tensor
from gpunet.program.volume import Volume


@dataclass(frozen=True)
class Merge(Layer):
    """What layers share that take the outputs of two layers or more."""

    merges: ClassVar[bool] = True

    def output(self, *inputs: Volume) -> Volume:
        if len(inputs) < 2:
            raise ShapeError(
                f"joins at least two outputs, and {len(inputs)} is given; name its inputs or write {{ A + B }}"
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
class Add(Merge):
    """The sum of volumes of one size: y = x1 + x2 + ..., from the left."""

    type: ClassVar[str] = "add"
    word: ClassVar[str] = "ADD"

    def misfit(self, first: Volume, other: Volume) -> str:
        if first == other:
            return ""
        way = f"a layer with K={first.D}" if first.shape[:2] == other.shape[:2] else f"an output of {first}"
        if first.H > other.H and first.H % other.H == 0 and first.H * other.W == first.W * other.H:
            way = f"the same strides on both ways: this one is {first.H // other.H} times as small"
        elif other.H > first.H and other.H % first.H == 0 and first.H * other.W == first.W * other.H:
            way = f"CONV1-{first.D}(S={other.H // first.H}) in this branch, which gives {first}"
        return f"a sum takes volumes of one size; this branch is {other}, the first one {first}; use {way}"

    def joined(self, volumes: tuple[Volume, ...]) -> Volume:
        return volumes[0]

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        total, *others = inputs
        for number, x in enumerate(others, 2):
            y = emit.activation("y" if number == len(inputs) else f"sum{number}", x.shape[1:])
            emit_add(emit, total, x, y)
            total = y
        return total

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        return (dy,) * emit.inputs if needs_dx else ()


@dataclass(frozen=True)
class Concat(Merge):
    """Volumes of the same height and width behind one another along depth, in order."""

    type: ClassVar[str] = "concat"
    word: ClassVar[str] = "CONCAT"

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


def emit_add(emit: Emitter, a: Tensor, b: Tensor, y: Tensor) -> None:
    """y = a + b, in the place of either where that is free."""
    emit.op("add", (a, b), (y,), in_place=((0, 0), (0, 1)))
