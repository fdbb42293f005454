"""Dropout. Source: CS231n "Dropout", inverted; Srivastava et al. 2014."""

from dataclasses import dataclass
from typing import ClassVar
from zlib import crc32

from gpunet.layers.layer import Layer, require_number
from gpunet.program.builder import Emitter
from gpunet.program.program import Attribute, RunTime, Step
from gpunet.program.tensor import Tensor
from gpunet.program.volume import Volume


@dataclass(frozen=True)
class Dropout(Layer):
    """In training, each value is 0 with probability p and x / (1 - p) otherwise; elsewhere it stays as it is.

    Which ones are dropped is never stored: it follows from the model's seed, the step, the layer's name and where the
    value stands in the batch, so that backward, recomputation and rounds come to the same.
    """

    p: float = 0.5

    type: ClassVar[str] = "dropout"
    word: ClassVar[str] = "DROPOUT"

    def __post_init__(self) -> None:
        require_number("p", self.p, least=0, below=1)

    def output(self, *inputs: Volume) -> Volume:
        (volume,) = inputs
        return volume

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        if not emit.trains:
            return x
        y = emit.activation("y", x.shape[1:])
        self._emit(emit, x, y)
        return y

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        if not needs_dx:
            return ()
        dx = emit.gradient("dx", dy)
        self._emit(emit, dy, dx)
        return (dx,)

    def _emit(self, emit: Emitter, x: Tensor, y: Tensor) -> None:
        known = {name: RunTime(name) for name in ("seed", "first_image", "training")}
        layer = crc32(emit.layer.encode())
        numbers: dict[str, Attribute] = {"p": self.p, "layer": layer, "step": emit.number(Step()), **known}
        emit.op("dropout", (x, emit.numbers), (y,), attributes=numbers, in_place=((0, 0),))
