"""Pooling: each map is downsampled by itself. Source: CS231n "Pooling Layer"; "switches": Zeiler & Fergus 2014."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from gpunet.layers.layer import Layer, of, squared, whole
from gpunet.layers.window import Pool, geometry_of, op_for
from gpunet.program.builder import Emitter
from gpunet.program.field import Window
from gpunet.program.tensor import Tensor
from gpunet.program.volume import Volume


@dataclass(frozen=True)
class MaxPool(Pool):
    """Maximum over each window; positions around the input never win."""

    type: ClassVar[str] = "pool"
    word: ClassVar[str] = "POOL"

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        return _emit_forward(emit, x, self.output(of(x)), self.geometry)

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        return _emit_backward(emit, dy, self.geometry) if needs_dx else ()


@dataclass(frozen=True)
class GlobalMaxPool(Layer):
    """Maximum of each map: H x W x D becomes 1 x 1 x D."""

    type: ClassVar[str] = "gmp"
    word: ClassVar[str] = "GMP"

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
    """One window over the whole map."""
    size = squared(*x.shape[1:3])
    return geometry_of(size, size, 0)


def _emit_forward(emit: Emitter, x: Tensor, volume: Volume, geometry: Mapping[str, int]) -> Tensor:
    y = emit.activation("y", volume.shape)
    if not emit.returns:
        emit.op(op_for("max_pool", "infer", geometry), (x,), (y,), attributes=geometry)
        return y
    switches = emit.activation("switches", volume.shape, "int32")
    emit.op(op_for("max_pool", "forward", geometry), (x,), (y, switches), attributes=geometry)
    emit.kept.update(x=x, switches=switches)
    return y


def _emit_backward(emit: Emitter, dy: Tensor, geometry: Mapping[str, int]) -> tuple[Tensor, ...]:
    dx = emit.gradient("dx", emit.kept["x"])
    emit.op(op_for("max_pool", "backward", geometry), (dy, emit.kept["switches"]), (dx,), attributes=geometry)
    return (dx,)
