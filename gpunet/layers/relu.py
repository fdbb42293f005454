"""ReLU, max(0, x). Source: CS231n "Layers used to build ConvNets"."""

from dataclasses import dataclass
from typing import ClassVar

from gpunet.layers.layer import Layer
from gpunet.program.builder import Emitter
from gpunet.program.tensor import Tensor
from gpunet.volume import Volume


@dataclass(frozen=True)
class ReLU(Layer):
    """Elementwise max(0, x); NaN stays NaN. Its backward looks at its output, so its input need not be kept."""

    type: ClassVar[str] = "relu"
    word: ClassVar[str] = "RELU"

    def output(self, *inputs: Volume) -> Volume:
        (volume,) = inputs
        return volume

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        y = emit.activation("y", x.shape[1:])
        emit.op("relu_forward", (x,), (y,), in_place=((0, 0),))
        emit.kept["y"] = y
        return y

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        if not needs_dx:
            return ()
        y = emit.kept["y"]
        dx = emit.gradient("dx", y)
        emit.op("relu_backward", (dy, y), (dx,), in_place=((0, 0), (0, 1)))
        return (dx,)
