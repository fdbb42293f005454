"""Which maps of a volume, and in what order: slices, and the shuffle that lets groups of filters see each other.

Sources: slices: Caffe's Slice layer; shuffles: Zhang et al. 2018, "ShuffleNet".
"""

from dataclasses import dataclass
from typing import ClassVar

from gpunet.errors import ConfigError, ShapeError
from gpunet.layers.layer import Layer, of, require_int
from gpunet.program.builder import Emitter
from gpunet.program.tensor import Tensor
from gpunet.program.volume import Volume


@dataclass(frozen=True)
class Slice(Layer):
    """The maps from `first` up to, and without, `last` of a volume; the first one is 0."""

    first: int = 0
    last: int | None = None

    type: ClassVar[str] = "slice"
    word: ClassVar[str] = "SLICE"

    def __post_init__(self) -> None:
        require_int("first", self.first, 0)
        if self.last is not None:
            require_int("last", self.last)
            if self.last <= self.first:
                raise ConfigError(f"last must be above first={self.first}, as it is not in the slice; got {self.last}")

    def output(self, *inputs: Volume) -> Volume:
        (volume,) = inputs
        last = volume.D if self.last is None else self.last
        if last > volume.D or self.first >= last:
            said = f"first={self.first}" if self.last is None else f"first={self.first}, last={self.last}"
            raise ShapeError(f"{said} is no slice of {volume.D} maps; use first < last <= {volume.D}")
        return Volume(volume.H, volume.W, last - self.first)

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        y = emit.activation("y", self.output(of(x)).shape)
        emit.op("slice_forward", (x,), (y,), attributes={"first": self.first})
        emit.kept["x"] = x  # for its shape alone
        return y

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        if not needs_dx:
            return ()
        dx = emit.gradient("dx", emit.kept["x"])
        emit.op("slice_backward", (dy,), (dx,), attributes={"first": self.first})
        return (dx,)


@dataclass(frozen=True)
class Shuffle(Layer):
    """The maps of each of so many groups, dealt out in turns: the first of each, the second of each, and so on."""

    groups: int = 2

    type: ClassVar[str] = "shuffle"
    word: ClassVar[str] = "SHUFFLE"

    def __post_init__(self) -> None:
        require_int("groups", self.groups)

    def output(self, *inputs: Volume) -> Volume:
        (volume,) = inputs
        if volume.D % self.groups:
            raise ShapeError(f"groups={self.groups} does not divide the D={volume.D} maps; use a divisor of {volume.D}")
        return volume

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        y = emit.activation("y", x.shape[1:])
        emit.op("shuffle", (x,), (y,), attributes={"groups": self.groups})
        return y

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        if not needs_dx:
            return ()
        dx = emit.gradient("dx", dy)
        emit.op("shuffle", (dy,), (dx,), attributes={"groups": dy.shape[-1] // self.groups})  # deals them back
        return (dx,)
