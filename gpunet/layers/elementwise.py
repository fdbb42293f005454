"""What layers share that treat all values alike: ReLU and its relatives."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from gpunet.layers.layer import Layer
from gpunet.program.builder import Emitter
from gpunet.program.program import Attribute
from gpunet.program.tensor import Tensor
from gpunet.program.volume import Volume


@dataclass(frozen=True)
class Elementwise(Layer):
    """y = f(x) for each value.

    `op`      ops are called {op}_forward(x, y) and {op}_backward(dy, y, dx); `numbers` are their numbers
    `needs`   what backward looks at: "y" where f rises, so that y says all that it must know and x need not be kept;
              "x" where it falls and rises, and {op}_backward(dy, x, dx) takes that
    """

    op: ClassVar[str]
    needs: ClassVar[Literal["x", "y"]] = "y"

    @property
    def numbers(self) -> Mapping[str, Attribute]:
        """What the ops take beside arrays; here: the fields of the layer."""
        return vars(self)

    def output(self, *inputs: Volume) -> Volume:
        (volume,) = inputs
        return volume

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        y = emit.activation("y", x.shape[1:])
        emit.op(f"{self.op}_forward", (x,), (y,), attributes=self.numbers, in_place=((0, 0),))
        emit.kept["seen"] = y if self.needs == "y" else x
        return y

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        if not needs_dx:
            return ()
        seen = emit.kept["seen"]
        dx = emit.gradient("dx", seen)
        emit.op(f"{self.op}_backward", (dy, seen), (dx,), attributes=self.numbers, in_place=((0, 0), (0, 1)))
        return (dx,)
