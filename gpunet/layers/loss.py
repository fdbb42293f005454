"""Losses: scores and labels into one number to make small. Source: CS231n "Linear classification", softmax."""

from dataclasses import dataclass
from typing import ClassVar

from gpunet.program.builder import Emitter
from gpunet.program.program import RunTime
from gpunet.program.tensor import Kind, Tensor


@dataclass(frozen=True, slots=True)
class LossTensors:
    """What the host reads: the mean over the batch (1,), and how many labels had the highest score (1,) int32."""

    loss: Tensor
    correct: Tensor


@dataclass(frozen=True)
class SoftmaxCrossEntropy:
    """Mean over the batch of -log(softmax(scores)[label])."""

    type: ClassVar[str] = "softmax"

    def forward(self, emit: Emitter, scores: Tensor, labels: Tensor) -> LossTensors:
        """Emit the loss; keeps the probabilities, which may take over the scores."""
        probabilities = emit.activation("probabilities", scores.shape[1:])
        losses = emit.activation("losses", ())
        hits = emit.activation("hits", (), "int32")
        loss = emit.tensor("loss", Kind.ACTIVATION, (1,))
        correct = emit.tensor("correct", Kind.ACTIVATION, (1,), "int32")
        emit.op("softmax_forward", (scores, labels), (probabilities, losses, hits), in_place=((0, 0),))
        emit.op("softmax_mean", (losses, hits), (loss, correct), across_images=True)
        emit.kept.update(probabilities=probabilities, labels=labels)
        return LossTensors(loss, correct)

    def backward(self, emit: Emitter) -> Tensor:
        """Emit the gradient of the mean loss with respect to the scores; it may take over the probabilities."""
        probabilities, labels = emit.kept["probabilities"], emit.kept["labels"]
        dx = emit.gradient("dx", probabilities)
        emit.op(
            "softmax_backward",
            (probabilities, labels),
            (dx,),
            in_place=((0, 0),),
            attributes={"images": RunTime("images")},
        )
        return dx
