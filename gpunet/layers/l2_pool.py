"""L2-norm pooling: the length of what a window sees. Source: CS231n "Pooling Layer", "General pooling"."""

from dataclasses import dataclass
from typing import ClassVar

from gpunet.layers.layer import of
from gpunet.layers.window import Pool, op_for
from gpunet.program.builder import Emitter
from gpunet.program.tensor import Tensor


@dataclass(frozen=True)
class L2Pool(Pool):
    """The root of the sum of squares over each window; positions around the input count as 0."""

    type: ClassVar[str] = "l2pool"
    word: ClassVar[str] = "L2POOL"

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        y = emit.activation("y", self.output(of(x)).shape)
        emit.op(op_for("l2_pool", "forward", self.geometry), (x,), (y,), attributes=self.geometry)
        emit.kept.update(x=x, y=y)
        return y

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        if not needs_dx:
            return ()
        x = emit.kept["x"]
        dx = emit.gradient("dx", x)
        op = op_for("l2_pool", "backward", self.geometry)
        emit.op(op, (dy, x, emit.kept["y"]), (dx,), attributes=self.geometry)
        return (dx,)
