"""The nets that are measured, and their images as floats."""

from dataclasses import dataclass, replace

import numpy as np

from gpunet.net.config import load
from gpunet.net.net import Net

LEARNING_RATE = 1e-3
"""Small enough for random labels: the values stay those of a net in training, neither zeros nor NaN."""


@dataclass(frozen=True)
class Case:
    """A net, by the name of its config or as it is, and a batch; `large`: left out of a quick run."""

    net: str | Net
    batch: int
    large: bool = False

    @property
    def name(self) -> str:
        name = self.net.name if isinstance(self.net, Net) else self.net
        return f"{name} batch {self.batch}"

    def halved(self) -> "Case":
        """The same net with half the batch."""
        return replace(self, batch=self.batch // 2)

    def load(self) -> Net:
        return self.net if isinstance(self.net, Net) else load(self.net)


def as_floats(net: Net, images: np.ndarray) -> np.ndarray:
    """The images as the net sees them, float32."""
    return images.astype(np.float32) * np.float32(net.scale) + np.float32(net.shift)
