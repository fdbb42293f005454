"""A loss that became infinite or no number: where that began."""

import numpy as np

from gpunet.errors import GpunetError
from gpunet.model.model import Model
from gpunet.model.parameters import finite
from gpunet.ranks.communicator import Communicator
from gpunet.train.entering import odd_values

FINITE = "run again, its forward pass is finite in every layer"


class Diverged(GpunetError):
    """The loss became infinite or no number: nothing is to be learnt from there on."""


def diverged(model: Model, where: str, loss: float, images: np.ndarray, labels: np.ndarray, rate: float) -> Diverged:
    """What to raise for a loss of these images in `where`, like "epoch 2, step 7 of 90": the loss, the layer, advice.

    The model has not been updated with the step, so that its forward pass can be run again.
    """
    fault = first_fault(model, images, labels)
    odd = (odd_values(model.net, images, "the batch") or "") if len(images) else ""
    if model.ranks is not None:
        fault, odd = _of_all(model.ranks, fault, odd)
    return Diverged(f"the loss became {loss} in {where}; {fault}; {odd or _advice(rate)}")


def _of_all(ranks: Communicator, fault: str, odd: str) -> tuple[str, str]:
    """What the first rank with something to say has found, the same for all."""
    told = ranks.tell((fault, odd))
    first = next((rank for rank, (what, _) in enumerate(told) if what != FINITE), 0)
    odd = next((what for _, what in told if what), "")
    return f"on rank {first}, {told[first][0]}" if told[first][0] != FINITE else FINITE, odd


def broken(model: Model, fault: str, images: np.ndarray, rate: float) -> Diverged:
    """What to raise where a loss was finite, and what is to be kept after the step is not; `images` are some of all."""
    advice = odd_values(model.net, images, "the data set") or _advice(rate)
    return Diverged(f"the update of step {model.steps:,} diverged: {fault}, and is not kept; {advice}")


def overflowing(model: Model, rate: float) -> Diverged:
    """What to raise where gradients of float16 are infinite or NaN in step after step, however small the loss."""
    return Diverged(
        f"the gradients of {model.net.name} overflow float16 in every step, whatever the loss is scaled by, and "
        f"nothing is learnt from them; use bfloat16, or float32, or {_advice(rate)}"
    )


def first_fault(model: Model, images: np.ndarray, labels: np.ndarray) -> str:
    """The first layer with a value that is infinite or NaN, in words."""
    broken = [tensor for name, tensor in model.state.tensors.items() if not finite(model.state[name])]
    if broken:  # the way back ends at the input: the last of these in the net was the first to break
        first = broken[-1]
        if any(op.name == "clip_by_norm" for op in model.plan.program.ops) and len(broken) > 1:
            return (
                "the update before broke all that is learnt at once: under clip_norm a gradient that is no number in "
                "any layer makes all of them so; without clip_norm the first of them would be named"
            )
        more = f", and then {len(broken) - 1} more" if len(broken) > 1 else ""
        return f"the update before broke {first.layer}: {first.name} holds infinite values or NaN{more}"
    fault = model.first_fault(images, labels)
    if fault is None:
        return FINITE
    op, tensor = fault
    return f"{op.layer} is the first layer with infinite values or NaN, in {tensor.name}, written by {op.name}"


def _advice(rate: float) -> str:
    return f"try a smaller learning rate, like {rate / 10:g} instead of {rate:g}"
