"""Multiclass support vector machine. Source: CS231n "Multiclass Support Vector Machine loss"."""

from dataclasses import dataclass
from typing import ClassVar

from gpunet.errors import ConfigError
from gpunet.layers.layer import require_number
from gpunet.layers.loss import Loss, LossTensors, emit_mean, losses_and_hits
from gpunet.program.builder import Emitter
from gpunet.program.program import Attribute, RunTime
from gpunet.program.tensor import Tensor
from gpunet.values.given import told


@dataclass(frozen=True)
class Hinge(Loss):
    """Mean over the batch of the sum over all classes but the label of max(0, score - label's score + margin).

    `margin`   how far the label's score is wanted above every other, above 0
    `squared`  the sum of the squares of these instead

    The scores themselves are kept for backward; nothing else is.
    """

    margin: float = 1.0
    squared: bool = False

    type: ClassVar[str] = "svm"

    def __post_init__(self) -> None:
        require_number("margin", self.margin, above=0)
        if not isinstance(self.squared, bool):
            raise ConfigError(f"squared must be True or False; got {told(self.squared)}")

    def forward(self, emit: Emitter, scores: Tensor, labels: Tensor) -> LossTensors:
        losses, hits = losses_and_hits(emit)
        emit.op("hinge_forward", (scores, labels), (losses, hits), attributes=self._numbers)
        emit.kept.update(scores=scores, labels=labels)
        return emit_mean(emit, losses, hits)

    def backward(self, emit: Emitter, weight: float = 1.0) -> Tensor:
        """The gradient may take over the scores."""
        scores, labels = emit.kept["scores"], emit.kept["labels"]
        dx = emit.gradient("dx", scores)
        numbers = {**self._numbers, "images": RunTime("images"), "weight": weight}
        emit.op("hinge_backward", (scores, labels), (dx,), in_place=((0, 0),), attributes=numbers)
        return dx

    @property
    def _numbers(self) -> dict[str, Attribute]:
        return {"margin": self.margin, "squared": int(self.squared)}
