"""What layers share that treat all values alike and whose backward looks at their output: ReLU and its relatives."""

from dataclasses import dataclass
from typing import ClassVar

from gpunet.layers.layer import Layer
from gpunet.program.builder import Emitter
from gpunet.program.tensor import Tensor
from gpunet.program.volume import Volume


@dataclass(frozen=True)
class Elementwise(Layer):
    """y = f(x) for each value, f rising, so that y says all that backward must know and x need not be kept.

    `op`  ops are called {op}_forward(x, y) and {op}_backward(dy, y, dx); the fields of the layer are their numbers
    """

    op: ClassVar[str]

    def output(self, *inputs: Volume) -> Volume:
        (volume,) = inputs
        return volume

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        y = emit.activation("y", x.shape[1:])
        emit.op(f"{self.op}_forward", (x,), (y,), attributes=vars(self), in_place=((0, 0),))
        emit.kept["y"] = y
        return y

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        if not needs_dx:
            return ()
        y = emit.kept["y"]
        dx = emit.gradient("dx", y)
        emit.op(f"{self.op}_backward", (dy, y), (dx,), attributes=vars(self), in_place=((0, 0), (0, 1)))
        return (dx,)
