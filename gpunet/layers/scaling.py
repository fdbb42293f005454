"""Loss scaling: gradients of float16 are made of a loss times a scale, so that small ones do not come to 0.

The scale is a value of the plan, and what becomes of it is decided on the device: a step whose gradients are infinite
or NaN learns nothing and halves it; so many steps in a row that were fine double it. That takes all gradients before
the first update, as clipping by their norm does. bfloat16, whose range is that of float32, needs none of it.

Source: Micikevicius et al. 2018, "Mixed precision training", section 3.2; the numbers are those of torch.amp.
"""

from collections.abc import Sequence
from math import prod

from gpunet.layers.loss import LOSS
from gpunet.program.builder import Builder, Emitter
from gpunet.program.tensor import Kind, Tensor

SCALING = f"{LOSS}.scaling"
"""The name of the tensor that holds the scale, and the steps since it changed."""

SCALE = 2.0**16
"""What gradients are multiplied by at first."""

PATIENCE = 2000
"""Steps in a row without an overflow after which the scale doubles."""

BLOCK_VALUES = 16384
"""Values of a gradient in one partial sum of its squares."""


def scaling_of(builder: Builder) -> Tensor | None:
    """[scale, steps since it changed], which outlives a step; None where gradients are not scaled."""
    if builder.dtype != "float16":
        return None
    return Emitter(builder, LOSS).tensor(SCALING.removeprefix(f"{LOSS}."), Kind.OPTIMIZER_CACHE, (2,))


def emit_scaled(emit: Emitter, dx: Tensor) -> Tensor:
    """The gradient that a loss made of its scores, times the scale; itself where there is none."""
    scaling = emit.builder.scaling
    if scaling is None:
        return dx
    y = emit.gradient("dx_scaled", dx)
    emit.op("scale_gradient", (dx, scaling), (y,), in_place=((0, 0),))
    return y


def emit_settled(builder: Builder, gradients: Sequence[Tensor]) -> Tensor | None:
    """Bring gradients back to what they are without the scale, and find out whether all are finite.

    Returns what updates look at in place of the loss: the loss, or NaN where a gradient is not finite.
    """
    scaling, loss = builder.scaling, builder.loss
    if scaling is None or loss is None:
        return loss
    of_all = Emitter(builder, LOSS)
    square_sum = of_all.tensor("scaled_square_sum", Kind.WORKSPACE, (1,))
    for number, dw in enumerate(reversed(gradients)):  # the last layers' come first
        emit = Emitter(builder, dw.layer)
        emit.op("unscale", (scaling,), (dw,))
        partials = emit.workspace(f"{dw.name}.scaled_squares", (-(-prod(dw.shape) // BLOCK_VALUES),))
        numbers = {"block_values": BLOCK_VALUES, "begins": int(number == 0)}
        emit.op("add_square_sum", (dw,), (square_sum,), (partials,), attributes=numbers)
    settled = of_all.tensor("settled", Kind.WORKSPACE, (1,))
    of_all.op("settle_scaling", (loss, square_sum), (scaling, settled), attributes={"patience": PATIENCE})
    return settled
