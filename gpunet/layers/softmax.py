"""Softmax cross-entropy. Source: CS231n "Softmax classifier"; label smoothing: Szegedy et al. 2016."""

from dataclasses import dataclass
from typing import ClassVar

from gpunet.layers.layer import require_number
from gpunet.layers.loss import Loss, LossTensors, emit_mean, losses_and_hits
from gpunet.program.builder import Emitter
from gpunet.program.program import RunTime
from gpunet.program.tensor import Tensor


@dataclass(frozen=True)
class SoftmaxCrossEntropy(Loss):
    """Mean over the batch of -log(softmax(scores)[label]).

    `smoothing`  s, 0 <= s < 1: the label is wanted with probability 1 - s + s/classes and every other class with
                 s/classes, as PyTorch's label_smoothing
    """

    smoothing: float = 0.0

    type: ClassVar[str] = "softmax"

    def __post_init__(self) -> None:
        require_number("smoothing", self.smoothing, least=0, below=1)

    def forward(self, emit: Emitter, scores: Tensor, labels: Tensor) -> LossTensors:
        """Keeps the probabilities, which may take over the scores."""
        probabilities = emit.activation("probabilities", scores.shape[1:])
        losses, hits = losses_and_hits(emit)
        emit.op(
            "softmax_forward",
            (scores, labels),
            (probabilities, losses, hits),
            in_place=((0, 0),),
            attributes={"smoothing": self.smoothing},
        )
        emit.kept.update(probabilities=probabilities, labels=labels)
        return emit_mean(emit, losses, hits)

    def backward(self, emit: Emitter, weight: float = 1.0) -> Tensor:
        """The gradient may take over the probabilities."""
        probabilities, labels = emit.kept["probabilities"], emit.kept["labels"]
        dx = emit.gradient("dx", probabilities)
        emit.op(
            "softmax_backward",
            (probabilities, labels),
            (dx,),
            in_place=((0, 0),),
            attributes={"images": RunTime("images"), "smoothing": self.smoothing, "weight": weight},
        )
        return dx
