"""The nets that are measured, and data for them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gpunet.model import STEP, Model
from gpunet.net.config import load
from gpunet.net.net import Net
from gpunet.program.program import Op

from .timing import Clock

LEARNING_RATE = 1e-3
"""Small enough for random labels: the values stay those of a net in training, neither zeros nor NaN."""


@dataclass(frozen=True)
class Case:
    """A net, by the name of its config or as it is, and a batch."""

    net: str | Net
    batch: int

    @property
    def name(self) -> str:
        name = self.net.name if isinstance(self.net, Net) else self.net
        return f"{name} batch {self.batch}"

    def halved(self) -> "Case":
        """The same net with half the batch."""
        return Case(self.net, self.batch // 2)

    def load(self) -> Net:
        return self.net if isinstance(self.net, Net) else load(self.net)


def random_batch(net: Net, batch: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 images (batch, H, W, D), int32 labels (batch,)) for a net."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (batch, *net.input.shape), np.uint8)
    return images, rng.integers(0, net.classes, batch, np.int32)


def as_floats(net: Net, images: np.ndarray) -> np.ndarray:
    """The images as the net sees them, float32."""
    return images.astype(np.float32) * np.float32(net.scale) + np.float32(net.shift)


def run_step(
    model: Model, clock: Clock, images: np.ndarray, labels: np.ndarray, *, each: bool
) -> tuple[list[Op], list[Any]]:
    """One training step whose arrays are on the device before the first mark: (the ops that ran, the marks).

    `each`  a mark after each op too, so that there is one mark more than ops; else one before all and one after
    """
    n = model._feed(images, labels)
    ops, marks = [], [clock.mark()]
    for op, call in model._walk(n, model._skipped(images), STEP):
        call()
        ops.append(op)
        if each:
            marks.append(clock.mark())
    return ops, marks if each else [*marks, clock.mark()]
