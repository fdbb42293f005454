"""Layers that have numbers of their own for each map: PReLU's slopes, and scales and shifts.

Sources: He et al. 2015, "Delving deep into rectifiers"; scales and shifts by map: Caffe's Scale layer.
"""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from gpunet.layers.bias import BLOCK_ROWS, emit_bias_backward
from gpunet.layers.layer import Layer, Weights, require_bool
from gpunet.program.builder import Emitter
from gpunet.program.tensor import Tensor
from gpunet.program.volume import Volume
from gpunet.values.given import number


@dataclass(frozen=True)
class PReLU(Layer):
    """Elementwise x where x > 0, else a * x, a learnt: one for each map, or one that all share; NaN stays NaN.

    `shared`  whether all maps have one slope
    `start`   what the slopes are at first

    Parameters: a (D,), or (1,) where it is shared.
    """

    shared: bool = False
    start: float = 0.25

    type: ClassVar[str] = "prelu"
    word: ClassVar[str] = "PRELU"

    def __post_init__(self) -> None:
        require_bool("shared", self.shared)
        number("start", self.start)

    def output(self, *inputs: Volume) -> Volume:
        (volume,) = inputs
        return volume

    def weights(self, *inputs: Volume) -> tuple[Weights, ...]:
        (volume,) = inputs
        return (Weights("a", (1 if self.shared else volume.D,), start=self.start),)

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        y = emit.activation("y", x.shape[1:])
        emit.op("prelu_forward", (x, emit.parameters["a"]), (y,), in_place=((0, 0),))
        emit.kept["x"] = x
        return y

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        x, a = emit.kept["x"], emit.parameters["a"]
        if not emit.frozen:
            emit_product_sums(emit, "prelu_backward_slopes", dy, x, emit.gradients["a"])
        if not needs_dx:
            return ()
        dx = emit.gradient("dx", x)
        emit.op("prelu_backward", (dy, x, a), (dx,), in_place=((0, 0), (0, 1)))
        return (dx,)


@dataclass(frozen=True)
class Scale(Layer):
    """y = x * scale + shift, each map with numbers of its own, which are learnt; no statistics.

    `bias`  whether there is a shift

    Parameters: scale (D,), 1 at first, and, with a bias, shift (D,), 0 at first.
    """

    bias: bool = True

    type: ClassVar[str] = "scale"
    word: ClassVar[str] = "SCALE"

    def __post_init__(self) -> None:
        require_bool("bias", self.bias)

    def output(self, *inputs: Volume) -> Volume:
        (volume,) = inputs
        return volume

    def weights(self, *inputs: Volume) -> tuple[Weights, ...]:
        (volume,) = inputs
        scale = Weights("scale", (volume.D,), start=1.0)
        return (scale, Weights("shift", (volume.D,))) if self.bias else (scale,)

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        y = emit.activation("y", x.shape[1:])
        given = (x, emit.parameters["scale"], emit.parameters.get("shift"))
        emit.op("scale_forward", given, (y,), in_place=((0, 0),))
        emit.kept["x"] = x
        return y

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        if not emit.frozen:
            emit_product_sums(emit, "scale_backward_weights", dy, emit.kept["x"], emit.gradients["scale"])
            if self.bias:
                emit_bias_backward(emit, dy, emit.gradients["shift"])
        if not needs_dx:
            return ()
        dx = emit.gradient("dx", dy)
        emit.op("scale_backward", (dy, emit.parameters["scale"]), (dx,), in_place=((0, 0),))
        return (dx,)


def emit_product_sums(emit: Emitter, op: str, dy: Tensor, x: Tensor, dw: Tensor) -> None:
    """The gradient of one number a map, or of one for all: sums of products of dy and x, in parts, always in the same
    order; the last row of the scratch holds those of the maps."""
    *positions, D = x.shape
    partials = emit.workspace(f"{dw.name.rpartition('.')[2]}_partials", (-(-prod(positions) // BLOCK_ROWS) + 1, D))
    emit.op(op, (dy, x), (dw,), (partials,), attributes={"block_rows": BLOCK_ROWS, "accumulate": 0})
