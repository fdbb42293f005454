"""Epochs of training steps, each followed by a test. Knows nothing of files or screens: it tells its watchers."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from math import isfinite
from time import perf_counter

import numpy as np

from gpunet.batch import check_last_batch
from gpunet.data.batches import batches
from gpunet.data.dataset import AnySplit, Dataset
from gpunet.data.loader import loader
from gpunet.errors import GpunetError
from gpunet.model import Model
from gpunet.train.metrics import EpochMetrics, Mean
from gpunet.train.schedule import Schedule, Shape


class Diverged(GpunetError):
    """The loss became infinite or no number: nothing is to be learnt from there on."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is: the epoch, from 1, the steps done in it, and what was measured over its images so far."""

    epoch: int
    step: int
    steps: int
    so_far: Mean
    seconds: float

    @property
    def images_per_second(self) -> float:
        return self.so_far.images / self.seconds if self.seconds else 0.0


class Watcher:
    """Is told how a run goes; does nothing with it. For bars, files and whatever else is to follow."""

    def started(self, trainer: "Trainer") -> None:
        """Before the first step."""

    def stepped(self, progress: Progress) -> None:
        """After every training step."""

    def finished_epoch(self, trainer: "Trainer", metrics: EpochMetrics) -> None:
        """After every epoch and its test; the weights are finite as far as the test loss can tell."""


class Trainer:
    """Trains `model` on `data` for `epochs` epochs.

    `schedule` as in Schedule, from the model's learning rate on. The order of the images depends on `seed` and the
    epoch alone: with the same seed for the model, the same bits come out on the same machine.
    Raises DataError where the data do not suit the net.
    """

    def __init__(
        self,
        model: Model,
        data: Dataset,
        *,
        epochs: int,
        seed: int = 0,
        schedule: Shape = "constant",
        watchers: Sequence[Watcher] = (),
    ) -> None:
        data.require(model.net.input.shape, model.net.classes)
        check_last_batch(len(data.train), model.batch, model.net)
        self.model = model
        self.data = data
        self.epochs = epochs
        self.seed = seed
        self.watchers = tuple(watchers)
        self.rows: list[EpochMetrics] = []
        self.steps_per_epoch = -(-len(data.train) // model.batch)
        self.schedule = Schedule(schedule, model.learning_rate, epochs * self.steps_per_epoch)

    def run(self) -> list[EpochMetrics]:
        """Train all epochs; the rows measured, which `self.rows` holds also when something stops the run.

        Raises Diverged, naming epoch and step, when a loss is infinite or NaN.
        """
        for watcher in self.watchers:
            watcher.started(self)
        for epoch in range(1, self.epochs + 1):
            row = self._epoch(epoch)
            self.rows.append(row)
            for watcher in self.watchers:
                watcher.finished_epoch(self, row)
        return self.rows

    def _epoch(self, epoch: int) -> EpochMetrics:
        started = perf_counter()
        train = self._learn(epoch)
        learnt = perf_counter()
        test = evaluate(self.model, self.data.test)
        if not isfinite(test.loss):
            raise self._diverged(epoch, self.steps_per_epoch, test.loss)
        return EpochMetrics(
            epoch,
            train.loss,
            train.accuracy,
            test.loss,
            test.accuracy,
            images_per_second=train.images / (learnt - started),
            learning_rate=self.model.learning_rate,
            seconds=perf_counter() - started,
        )

    def _learn(self, epoch: int) -> Mean:
        """One pass over the images to learn from."""
        started = perf_counter()
        mean = Mean()
        done = (epoch - 1) * self.steps_per_epoch
        order = batches(len(self.data.train), self.model.batch, self.seed, epoch)
        with closing(loader(self.data.train, order)) as source:
            for step, (images, labels) in enumerate(source):
                self.model.learning_rate = self.schedule(done + step)
                loss = self.model.step(images, labels)
                if not isfinite(loss):
                    raise self._diverged(epoch, step + 1, loss)
                mean.add(len(labels), loss, self.model.correct)
                progress = Progress(epoch, step + 1, self.steps_per_epoch, mean, perf_counter() - started)
                for watcher in self.watchers:
                    watcher.stepped(progress)
        return mean

    def _diverged(self, epoch: int, step: int, loss: float) -> Diverged:
        rate = self.schedule.learning_rate
        return Diverged(
            f"the loss became {loss} in epoch {epoch}, step {step} of {self.steps_per_epoch}; "
            f"try a smaller learning rate, like {rate / 10:g} instead of {rate:g}"
        )


def evaluate(model: Model, split: AnySplit) -> Mean:
    """Mean loss and accuracy over a split, in the model's own arena; nothing is learnt."""
    mean = Mean()
    n = len(split)
    order = (np.arange(first, min(first + model.batch, n)) for first in range(0, n, model.batch))
    with closing(loader(split, order)) as source:
        for images, labels in source:
            mean.add(len(labels), *model.evaluate(images, labels))
    return mean
