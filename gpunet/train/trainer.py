"""Epochs of training steps, each then judged. Knows nothing of files or screens: it tells its watchers."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from math import isfinite
from time import perf_counter
from typing import Any

import numpy as np

from gpunet.data.batches import batches
from gpunet.data.dataset import AnySplit, Dataset
from gpunet.data.loader import loader
from gpunet.errors import ConfigError, DataError
from gpunet.model.batch import check_last_batch
from gpunet.model.model import Model
from gpunet.net.net import Net
from gpunet.optimize.patience import Patience
from gpunet.optimize.rate import Rate
from gpunet.optimize.schedules import Plateau, Schedule
from gpunet.program.shares import share
from gpunet.train.diverged import diverged, overflowing
from gpunet.train.metrics import EpochMetrics, Mean
from gpunet.train.schedule import Rates
from gpunet.values.given import integer


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is: the epoch, from 1, the steps done in it, and what was measured over its images so far.

    `loss, correct, images`  of the last step: its mean loss before the update, how many of its images were told right
    `total_steps`            steps done since the start of the run
    `images_per_second`      of this epoch
    """

    epoch: int
    step: int
    steps: int
    so_far: Mean
    loss: float
    correct: int
    images: int
    learning_rate: float
    total_steps: int
    images_per_second: float


class Watcher:
    """Is told how a run goes; does nothing with it. For bars, files and whatever else is to follow."""

    def started(self, trainer: "Trainer") -> None:
        """Before the first step; `trainer.resumed` tells a run that goes on."""

    def stepped(self, progress: Progress) -> None:
        """After every training step."""

    def paused(self) -> None:
        """Between two batches of an evaluation."""

    def finished_epoch(self, trainer: "Trainer", metrics: EpochMetrics) -> None:
        """After every epoch that was judged; the weights are finite as far as its loss can tell."""


class Trainer:
    """Trains `model` on `data` for `epochs` epochs.

    `schedule`  one of gpunet.optimize.schedules, or its name; it changes the model's learning rate, which may be a
                function of the steps taken in place of both
    `warmup`    steps over which the rate rises at first
    `patience`  how long the run goes on without a better epoch; None: to its end

    After every epoch the net is judged by the data's validation part, and by the test images where there is none; the
    test images are not looked at otherwise.
    The order of the images depends on `seed` and the epoch alone: with the same seed for the model, the same bits come
    out on the same machine, also where the run was stopped and went on from its `state`.
    `epoch` is under way, `step` steps of it are done. Raises DataError where the data do not suit the net, ConfigError
    for a plateau that would look at the test images.
    """

    def __init__(
        self,
        model: Model,
        data: Dataset,
        *,
        epochs: int,
        seed: int = 0,
        schedule: str | Schedule = "constant",
        warmup: int = 0,
        patience: Patience | None = None,
        watchers: Sequence[Watcher] = (),
    ) -> None:
        data.require(model.net.image.shape, model.net.classes)
        data.require_learnt()
        check_bytes(data, model.net)
        self.batch = model.whole_batch
        apart = 1 if model.plan.joins_ranks else model.plan.ranks  # whose statistics are taken each for itself
        check_last_batch(len(data.train), self.batch, model.pairing, apart)
        self.model = model
        self.data = data
        self.epochs = integer("epochs", epochs)
        self.seed = integer("the seed", seed)
        self.watchers = tuple(watchers)
        self.rows: list[EpochMetrics] = []
        self.epoch, self.step = 1, 0
        self.resumed = False
        self.steps_per_epoch = -(-len(data.train) // self.batch)
        self.patience = patience
        self.rates = _rates(schedule, model.rate, epochs, self.steps_per_epoch, integer("warmup", warmup))
        _check_metric(self.rates.schedule, data)
        self._mean = Mean()
        self._spent = 0.0  # seconds of learning in the epoch under way, before the run was stopped

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or nothing better came for too long."""
        return self.epoch > self.epochs or self.lost_patience

    @property
    def lost_patience(self) -> bool:
        """Whether the run ends before its time."""
        if self.patience is None or self.step or self.epoch > self.epochs:
            return False
        measured = [(row.judged_accuracy, row.judged_loss) for row in self.rows]
        return self.patience.over(measured, self.steps_per_epoch)

    @property
    def between_steps(self) -> bool:
        """Whether `state` and the model are of the same moment, so that a checkpoint may be kept: an error may leave a
        step that was begun, or one that is not counted yet.
        """
        done = (self.epoch - 1) * self.steps_per_epoch + self.step
        return self.model.whole and self.model.steps == done

    def run(self) -> list[EpochMetrics]:
        """Train all epochs; the rows measured, which `self.rows` holds also when something stops the run.

        Raises Diverged, naming epoch, step and layer, when a loss is infinite or NaN; or when gradients are in every
        step, by the end of an epoch.
        """
        for watcher in self.watchers:
            watcher.started(self)
        while not self.finished:
            row = self._run_epoch()
            self.rows.append(row)
            self.rates.observe(row)
            self.epoch, self.step, self._mean, self._spent = self.epoch + 1, 0, Mean(), 0.0
            for watcher in self.watchers:
                watcher.finished_epoch(self, row)
        return self.rows

    def state(self) -> dict[str, Any]:
        """All that a run goes on from beside what its model holds, as plain values; good between any two steps."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "steps": self.model.steps,
            "mean": asdict(self._mean),
            "seconds": self._spent,
            "schedule": self.rates.state(),
            "rows": [asdict(row) for row in self.rows],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state; the model's own values are restored apart."""
        self.epoch, self.step, self.model.steps = state["epoch"], state["step"], state["steps"]
        n = len(self.data.train)
        self.model.seen = (self.epoch - 1) * n + min(self.step * self.batch, n)
        self._mean, self._spent = Mean(**state["mean"]), state["seconds"]
        self.rates.restore(state["schedule"])
        self.rows = [EpochMetrics(**row) for row in state["rows"]]
        self.resumed = True

    def _run_epoch(self) -> EpochMetrics:
        started = perf_counter()
        before = self._spent
        self._learn()
        learnt = self._spent
        tested = self.data.validation is None
        split = self.data.test if self.data.validation is None else self.data.validation
        judged = evaluate(self.model, split, self._paused, self._where(self.steps_per_epoch))
        return EpochMetrics(
            self.epoch,
            self._mean.loss,
            self._mean.accuracy,
            test_loss=judged.loss if tested else None,
            test_accuracy=judged.accuracy if tested else None,
            images_per_second=self._mean.images / learnt if learnt else 0.0,
            learning_rate=self.model.learning_rate,
            seconds=before + perf_counter() - started,
            val_loss=None if tested else judged.loss,
            val_accuracy=None if tested else judged.accuracy,
        )

    def _learn(self) -> None:
        """What is left of a pass over the images to learn from."""
        before, started = self._spent, perf_counter()
        done = (self.epoch - 1) * self.steps_per_epoch
        n = len(self.data.train)
        order = batches(n, self.batch, self.seed, self.epoch)
        self.model.learning_rate = self.rates(done + max(self.step - 1, 0))
        with closing(loader(self.data.train, own_share(islice(order, self.step, None), self.model))) as source:
            for images, labels in self.model.ahead(source):
                self.model.learning_rate = self.rates(done + self.step)
                whole = min(self.batch, n - self.step * self.batch)
                loss = self.model.step(images, labels, **of_all(self.model, whole))
                if not isfinite(loss):
                    where = self._where(self.step + 1)
                    raise diverged(self.model, where, loss, images, labels, self.rates.learning_rate)
                correct = self.model.correct
                self.step += 1
                self._mean.add(whole, loss, correct)
                self._spent = before + perf_counter() - started
                self._tell(loss, correct, whole)
        if self.model.overflows:
            raise overflowing(self.model, self.rates.learning_rate)

    def _tell(self, loss: float, correct: int, images: int) -> None:
        progress = Progress(
            self.epoch,
            self.step,
            self.steps_per_epoch,
            self._mean,
            loss,
            correct,
            images,
            self.model.learning_rate,
            (self.epoch - 1) * self.steps_per_epoch + self.step,
            self._mean.images / self._spent if self._spent else 0.0,
        )
        for watcher in self.watchers:
            watcher.stepped(progress)

    def _paused(self) -> None:
        for watcher in self.watchers:
            watcher.paused()

    def _where(self, step: int) -> str:
        return f"epoch {self.epoch}, step {step} of {self.steps_per_epoch}"


def evaluate(
    model: Model, split: AnySplit, paused: Callable[[], None] = lambda: None, where: str = "the last step"
) -> Mean:
    """Mean loss and accuracy over a split, in the model's own arena; nothing is learnt.

    `paused` is called before each batch. Raises Diverged where a loss is infinite or NaN, as it is after `where`.
    """
    mean = Mean()
    n, batch = len(split), model.whole_batch
    order = (np.arange(first, min(first + batch, n)) for first in range(0, n, batch))
    with closing(loader(split, own_share(order, model))) as source:
        for images, labels in model.ahead(source):
            paused()
            whole = min(batch, n - mean.images)
            loss, correct = model.evaluate(images, labels, **of_all(model, whole))
            if not isfinite(loss):
                raise diverged(model, f"the test after {where}", loss, images, labels, model.learning_rate)
            mean.add(whole, loss, correct)
    return mean


def of_all(model: Model, images: int) -> dict[str, int]:
    """What several ranks say of a step beside their own share: how many images it has of all."""
    return {} if model.ranks is None else {"whole": images}


def own_share(order: Iterable[np.ndarray], model: Model) -> Iterator[np.ndarray]:
    """Of the indices of each batch those that this rank takes, which may be none: so it reads only its own images."""
    ranks = model.ranks
    for indices in order:
        yield indices if ranks is None else indices[slice(*share(len(indices), ranks.size, ranks.rank))]


def _rates(shape: str | Schedule, rate: Rate, epochs: int, steps_per_epoch: int, warmup: int) -> Rates:
    return Rates(rate.shaped(shape, warmup), rate.at(0), epochs=epochs, steps_per_epoch=steps_per_epoch, warmup=warmup)


def _check_metric(shape: Schedule, data: Dataset) -> None:
    """Raise ConfigError for a plateau by the test images where there are others to judge by."""
    if isinstance(shape, Plateau) and shape.metric.startswith("test_") and data.validation is not None:
        raise ConfigError(
            f"the schedule plateau goes by {shape.metric}, and the test images are not looked at before the end: "
            f'metric = "{shape.metric.replace("test", "val")}" goes by the images to validate with'
        )


def check_bytes(data: Dataset, net: Net) -> None:
    """Raise DataError where the net augments its images and these are not of bytes."""
    if net.augment is None:
        return
    (image,), _ = data.train.take(np.arange(1))
    if image.dtype != np.uint8:
        raise DataError(
            f"{data.name} holds images of {image.dtype}; {net.name} augments images of bytes (uint8): leave out "
            "[augment], or bring other data"
        )
