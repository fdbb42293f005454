"""What a model does with more than a batch: scores, classes and losses of any number of images."""

from abc import ABC, abstractmethod

import numpy as np

from gpunet.memory.plan import Plan
from gpunet.model.parts import Images, whole_or_parts
from gpunet.model.scores import first, softmax
from gpunet.net.net import Net
from gpunet.ranks.communicator import Communicator
from gpunet.values.shown import Shown


class Handy(Shown, ABC):
    """The part of a Model that is made of single passes."""

    net: Net
    plan: Plan
    ranks: Communicator | None = None

    @property
    @abstractmethod
    def batch(self) -> int:
        """The most images of one pass."""

    @abstractmethod
    def _forward(self, images: np.ndarray) -> np.ndarray: ...

    @abstractmethod
    def _evaluate(self, images: np.ndarray, labels: np.ndarray, whole: int | None = None) -> tuple[float, int]: ...

    def forward(self, images: Images) -> np.ndarray:
        """The scores (n, classes) of any number of images, as many at a time as the model was planned for.

        `images`  (n, H, W, D), n of at least 1, as for `step`; or a split of a data set
        """
        parts = [self._forward(part) for part, _ in whole_or_parts(self, images)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def predict(self, images: Images) -> np.ndarray:
        """(n,) int64: the class with the highest score of each of any number of images, of equals the lower number."""
        return first(self.forward(images), 1)[:, 0]

    def probabilities(self, images: Images) -> np.ndarray:
        """(n, classes): the softmax of the scores of each of any number of images."""
        return softmax(self.forward(images))

    def evaluate(
        self,
        images: Images | tuple[np.ndarray, np.ndarray],
        labels: np.ndarray | None = None,
        whole: int | None = None,
    ) -> tuple[float, int]:
        """(mean loss, number of images whose label has the highest score) of any number of images, nothing learnt.

        `labels`  (n,) as for `step`; None where `images` is a split of a data set, which has them, or a pair with them
        `whole`   of several ranks, images of all of them in one pass, as for `step`: both figures are of those
        """
        if labels is None and isinstance(images, tuple) and len(images) == 2:
            images, labels = images
        if self.ranks is not None and labels is not None:
            return self._evaluate(np.asarray(images), labels, whole)
        loss_sum, hits, n = 0.0, 0, 0
        for part, part_labels in whole_or_parts(self, images, labels, labelled=True):
            loss, correct = self._evaluate(part, part_labels)
            loss_sum, hits, n = loss_sum + loss * len(part), hits + correct, n + len(part)
        return (loss, correct) if n == len(part) else (loss_sum / n, hits)
