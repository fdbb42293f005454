"""Pooling: each map is downsampled by itself. Source: CS231n "Pooling Layer"; "switches": Zeiler & Fergus 2014."""

from dataclasses import dataclass
from typing import ClassVar

from gpunet.layers.layer import of
from gpunet.layers.window import Pool
from gpunet.program.builder import Emitter
from gpunet.program.tensor import Tensor


@dataclass(frozen=True)
class MaxPool(Pool):
    """Maximum over each window; positions around the input never win."""

    type: ClassVar[str] = "pool"
    word: ClassVar[str] = "POOL"

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        volume = self.output(of(x))
        y = emit.activation("y", volume.shape)
        if not emit.returns:
            emit.op("max_pool_infer", (x,), (y,), attributes=self.geometry)
            return y
        switches = emit.activation("switches", volume.shape, "int32")
        emit.op("max_pool_forward", (x,), (y, switches), attributes=self.geometry)
        emit.kept.update(x=x, switches=switches)
        return y

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        if not needs_dx:
            return ()
        dx = emit.gradient("dx", emit.kept["x"])
        emit.op("max_pool_backward", (dy, emit.kept["switches"]), (dx,), attributes=self.geometry)
        return (dx,)
