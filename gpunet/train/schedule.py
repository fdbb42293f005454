"""How the learning rate changes over the steps of a run."""

from dataclasses import dataclass
from math import cos, pi
from typing import Literal

Shape = Literal["constant", "cosine"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """The learning rate of each of `steps` steps.

    "constant"  always `learning_rate`
    "cosine"    from `learning_rate` down to nearly 0 along half a cosine (Loshchilov & Hutter 2017, without restarts)
    """

    kind: Shape
    learning_rate: float
    steps: int

    def __call__(self, step: int) -> float:
        """The learning rate of a step, 0 <= step < steps."""
        if self.kind == "constant":
            return self.learning_rate
        return self.learning_rate * (1 + cos(pi * step / self.steps)) / 2
