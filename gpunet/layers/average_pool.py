"""Average pooling, and the average of whole maps that stands in for fully connected layers at the end of a net.

Source: CS231n "Pooling Layer", "General pooling"; global averages: Lin et al. 2014, "Network in network".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from gpunet.layers.layer import Layer, of, whole
from gpunet.layers.window import Pool
from gpunet.program.builder import Emitter
from gpunet.program.field import Window
from gpunet.program.tensor import Tensor
from gpunet.program.volume import Volume


@dataclass(frozen=True)
class AvgPool(Pool):
    """Average over each window of what it sees of the input: positions around the input do not count.

    So the average of equal values is that value, at the edges too. With P=0 it is what PyTorch and Caffe give; with
    P > 0 they divide by the padding that a window sees too, unless PyTorch is told count_include_pad=False.
    """

    type: ClassVar[str] = "avgpool"
    word: ClassVar[str] = "AVGPOOL"

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        return _emit_forward(emit, x, self.output(of(x)), self.geometry)

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        return _emit_backward(emit, dy, self.geometry) if needs_dx else ()


@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """Average of each map: H x W x D becomes 1 x 1 x D."""

    type: ClassVar[str] = "gap"
    word: ClassVar[str] = "GAP"

    def output(self, *inputs: Volume) -> Volume:
        (volume,) = inputs
        return Volume(1, 1, volume.D)

    def window(self, *inputs: Volume) -> tuple[Window, Window]:
        return whole(*inputs)

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        return _emit_forward(emit, x, self.output(of(x)), _over_all(x))

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        return _emit_backward(emit, dy, _over_all(emit.kept["x"])) if needs_dx else ()


def _over_all(x: Tensor) -> dict[str, int]:
    """One window over the whole map; what of it hangs over the edge does not count."""
    extent = max(x.shape[1:3])
    return {"F": extent, "S": extent, "P": 0}


def _emit_forward(emit: Emitter, x: Tensor, volume: Volume, geometry: Mapping[str, int]) -> Tensor:
    y = emit.activation("y", volume.shape)
    emit.op("average_pool_forward", (x,), (y,), attributes=geometry)
    emit.kept["x"] = x  # for its shape alone
    return y


def _emit_backward(emit: Emitter, dy: Tensor, geometry: Mapping[str, int]) -> tuple[Tensor, ...]:
    dx = emit.gradient("dx", emit.kept["x"])
    emit.op("average_pool_backward", (dy,), (dx,), attributes=geometry)
    return (dx,)
