"""What a loss is: scores and labels into one number to make small. Source: CS231n "Linear classification"."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from gpunet.program.builder import Emitter
from gpunet.program.program import Attribute, RunTime
from gpunet.program.tensor import Kind, Tensor

LOSS = "loss"
"""What programs and reports call the loss of the net."""


def loss_of(head: str) -> str:
    """What programs and reports call the loss of the auxiliary head that ends in the layer `head`."""
    return f"{head}.{LOSS}"


@dataclass(frozen=True, slots=True)
class LossTensors:
    """What the host reads: the mean over the batch (1,), and how many labels had the highest score (1,) int32."""

    loss: Tensor
    correct: Tensor


@dataclass(frozen=True)
class Loss(ABC):
    """Base of all losses; subclasses are frozen dataclasses whose fields are their settings.

    `type`  what a config calls it (`type = "softmax"` in `[loss]`)
    """

    type: ClassVar[str]

    @abstractmethod
    def forward(self, emit: Emitter, scores: Tensor, labels: Tensor) -> LossTensors:
        """Emit the loss of the scores (N, 1, 1, C) for the labels (N,); keep in `emit.kept` what backward needs."""

    @abstractmethod
    def backward(self, emit: Emitter, weight: float = 1.0) -> Tensor:
        """Emit the gradient of weight * mean loss with respect to the scores and return it."""


def emit_add_loss(emit: Emitter, part: Tensor, total: Tensor, weight: float) -> None:
    """Emit total += weight * part, in training alone."""
    training = RunTime("training")
    attributes: dict[str, Attribute] = {"weight": weight, "training": training}
    emit.op("add_loss", (part,), (total,), attributes=attributes, across_images=True)


def losses_and_hits(emit: Emitter) -> tuple[Tensor, Tensor]:
    """New tensors for the loss of each image (N,), and whether its label has the highest score (N,) int32."""
    return emit.activation("losses", ()), emit.activation("hits", (), "int32")


def emit_mean(emit: Emitter, losses: Tensor, hits: Tensor) -> LossTensors:
    """Emit the mean of the losses and the number of hits."""
    loss = emit.tensor("loss", Kind.ACTIVATION, (1,))
    correct = emit.tensor("correct", Kind.ACTIVATION, (1,), "int32")
    emit.op("mean_loss", (losses, hits), (loss, correct), across_images=True)
    return LossTensors(loss, correct)
