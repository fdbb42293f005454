"""What a model counts, and how images and labels come into its arena, those of the next step ahead of time."""

from typing import Any

import numpy as np

from gpunet.devices.device import Device
from gpunet.errors import ConfigError, ShapeError
from gpunet.model.ahead import Ahead, Batch
from gpunet.model.batch import check_enough, check_images, check_labels
from gpunet.model.bound import BoundProgram
from gpunet.model.handy import Handy
from gpunet.optimize.rate import Rate, RateFunction
from gpunet.program.program import Now
from gpunet.program.shares import share
from gpunet.values.given import integer

MOST_STEPS = 2**62
"""That may be set, of images too: files and kernels count to twice as many."""


class Feeding(Handy):
    """The part of a Model that is there before a pass begins.

    `_ahead`  what makes the next batches while the device is at work; None: nobody asked for that
    `_begun`  the mark before the run that last began
    """

    device: Device
    _bound: BoundProgram
    _ahead: Ahead | None = None
    _begun: Any = None

    @property
    def pairing(self) -> str:
        """The first layer that in a training step needs two images or more, or "": none does."""
        return self.net.pairing(self.plan.frozen)

    @property
    def learning_rate(self) -> float:
        """Of the next step; may be set before any, also to a function of how many steps were taken.

        Raises ConfigError for what is no finite number of at least 0.
        """
        return self.rate.at(self.steps)

    @learning_rate.setter
    def learning_rate(self, rate: float | RateFunction) -> None:
        self.rate = Rate(rate)

    @property
    def steps(self) -> int:
        """Steps taken so far; may be set to go on from where another run stopped, as `seen` may."""
        return self._steps

    @steps.setter
    def steps(self, steps: int) -> None:
        self._steps: int = integer("steps", steps, most=MOST_STEPS)

    @property
    def seen(self) -> int:
        """Images that the steps learnt from."""
        return self._seen

    @seen.setter
    def seen(self, seen: int) -> None:
        self._seen: int = integer("seen", seen, most=MOST_STEPS)

    def _feed(self, images: np.ndarray) -> int:
        """Check the images, copy them into the arena, return how many there are."""
        if self.ranks is not None and self.plan.program.split:
            raise ConfigError(
                "the fully connected layers of this model are divided over ranks, so it gives no scores by itself; "
                "make another, without ranks, of its parameters"
            )
        self._bound.whole = 0
        return self._put(check_images(images, self.net, self.batch, self.plan.dtype))

    def _feed_both(
        self, images: np.ndarray, labels: np.ndarray, *, learn: bool = False, whole: int | None = None
    ) -> int:
        """Check images and labels, copy both into the arena, return how many there are; `learn`: for a whole step."""
        if self.plan.program.labels is None:
            raise ConfigError("this model was planned for mode='infer'; make one with mode='train' to use labels")
        self._bound.whole = self._of_all(len(images), whole)
        if not len(images) and self.ranks is not None:
            return self._put(np.asarray(images))
        images, labels = self._checked(images, labels)
        if learn:
            check_enough(len(images) if not self.plan.joins_ranks else whole or 0, self.pairing)
        n = self._put(images)
        self.device.write(self._bound.view(self.plan.program.labels, 0, n), labels)
        return n

    def _of_all(self, n: int, whole: int | None) -> int:
        """How many images a step has of all ranks, 0 for one. Raises ShapeError where n is not this one's share."""
        if self.ranks is None:
            return 0
        first, last = share(whole or 0, self.ranks.size, self.ranks.rank)
        if whole is None or last - first != n:
            raise ShapeError(
                f"rank {self.ranks.rank} of {self.ranks.size} was given {n} images, and its share of a step of "
                f"{whole} is {last - first}; say whole=, the images of all ranks"
            )
        return whole

    def _checked(self, images: np.ndarray, labels: np.ndarray) -> Batch:
        images = check_images(images, self.net, self.batch, self.plan.dtype)
        return images, check_labels(labels, len(images), self.net.classes)

    def _put(self, images: np.ndarray) -> int:
        """Copy images that were checked into the arena, return how many there are."""
        program = self.plan.program
        if self._bound.poison:
            self._bound.poison.free(0)
        self._bound.set_numbers(Now(self.learning_rate, self.steps + 1, self.seen))
        sent = self._ahead.take(images) if self._ahead and len(images) else None
        self._begun = self.device.mark() if self._ahead else None
        if sent is not None:
            self._bound.swap()
            self.device.wait_for(sent)
        elif len(images):
            tensor = program.image_bytes if images.dtype == np.uint8 else program.images
            self.device.write(self._bound.view(tensor, 0, len(images)), images)
        return len(images)

    def _send(self, batch: Batch) -> Any:
        """Begin to copy the images of a batch to where the run under way does not look, if there is such a place."""
        if not len(batch[0]) and self.ranks is not None:  # the share of a rank may be none
            return None
        images, _ = self._checked(*batch)
        spare = self.plan.program.next_bytes
        if spare is None or images.dtype != np.uint8:
            return None
        return self.device.send(self._bound.view(spare, 0, len(images)), images, self._begun)

    def _ask_ahead(self) -> None:
        """Let the next batch be made, and sent, while the device is at work."""
        if self._ahead is not None:
            self._ahead.ask()

    def _skipped(self, images: np.ndarray) -> int:
        """Ops to leave out at the start: float images need no conversion."""
        return 0 if np.asarray(images).dtype == np.uint8 else 1
