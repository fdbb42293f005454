"""`model.fit`: epochs of training steps over whatever data there are, each judged where there is something to judge by.

A run that is to be kept and gone on with is `gpunet.train.trainer.Trainer`'s business; this one lives in memory.
"""

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from math import isfinite, nan
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from gpunet.errors import ConfigError
from gpunet.model.ahead import Batch
from gpunet.model.model import Model
from gpunet.optimize.rate import Rate, RateFunction
from gpunet.optimize.schedules import Plateau, Schedule
from gpunet.train.diverged import diverged
from gpunet.train.history import History
from gpunet.train.metrics import EpochMetrics, Mean, StepMetrics
from gpunet.train.schedule import Rates
from gpunet.train.sources import judged_by, source
from gpunet.train.trainer import Progress
from gpunet.values.given import integer, told


class Listener(Protocol):
    """Is told how a fit goes; where it returns True, the fit ends there."""

    def stepped(self, progress: Progress) -> bool:
        """After every step."""

    def finished_epoch(self, metrics: EpochMetrics) -> bool:
        """After every epoch, once it was judged."""


@dataclass(frozen=True)
class Callbacks:
    """A Listener made of two functions, either of which may be missing. Raises ConfigError for what is no function."""

    on_step: Callable[[Progress], object] | None = None
    on_epoch: Callable[[EpochMetrics], object] | None = None

    def __post_init__(self) -> None:
        for name, function in (("on_step", self.on_step), ("on_epoch", self.on_epoch)):
            if function is not None and not callable(function):
                raise ConfigError(f"{name} must be a function of what is told, or None; got {told(function)}")

    def stepped(self, progress: Progress) -> bool:
        return self.on_step is not None and _is_true(self.on_step(progress))

    def finished_epoch(self, metrics: EpochMetrics) -> bool:
        return self.on_epoch is not None and _is_true(self.on_epoch(metrics))


class Fitting:
    """A fit of `model`; the arguments are those of `Model.fit`. `rows` and `steps` are what was measured so far."""

    def __init__(
        self,
        model: Model,
        data: Any,
        *,
        epochs: int = 1,
        validation: Any = None,
        steps_per_epoch: int | None = None,
        learning_rate: float | RateFunction | None = None,
        schedule: str | Schedule = "constant",
        warmup: int = 0,
        seed: int | None = None,
    ) -> None:
        self.model = model
        self.epochs = integer("epochs", epochs, least=1)
        each = None if steps_per_epoch is None else integer("steps_per_epoch", steps_per_epoch, least=1)
        self.source = source(data, model, epochs=self.epochs, seed=model.seed if seed is None else seed, steps=each)
        self.judged_by = judged_by(data, validation, model)
        self.rates = self._rates(learning_rate, schedule, integer("warmup", warmup))
        self.rows: list[EpochMetrics] = []
        self.steps: list[StepMetrics] = []

    def run(self, *listeners: Listener) -> History:
        """Train, and return what was measured. The model's own learning rate is as it was, whatever happens."""
        before = self.model.rate
        try:
            for epoch in range(self.epochs):
                if self._run_epoch(epoch, listeners):
                    break
        finally:
            self.model.rate = before
        return History(None, tuple(self.rows), tuple(self.steps), self.model.net.name)

    def _run_epoch(self, epoch: int, listeners: Iterable[Listener]) -> bool:
        """Train an epoch and judge it; whether somebody wants to stop."""
        mean, started = Mean(), perf_counter()
        with closing(self.source.epoch(epoch)) as batches:
            for step, (images, labels) in enumerate(self.model.ahead(batches), 1):
                loss = self._take(images, labels, f"epoch {epoch + 1}, step {step}")
                mean.add(len(labels), loss, self.model.correct)
                progress = self._progress(epoch + 1, step, mean, loss, len(labels), perf_counter() - started)
                if _told(one.stepped(progress) for one in listeners):
                    return True
        row = self._judged(epoch + 1, mean, started)
        self.rows.append(row)
        self.rates.observe(row)
        return _told(one.finished_epoch(row) for one in listeners)

    def _take(self, images: np.ndarray, labels: np.ndarray, where: str) -> float:
        """Take a step and return its loss. Raises Diverged where that is infinite or NaN."""
        rate = self.rates(len(self.steps))
        self.model.learning_rate = rate
        loss = self.model.step(images, labels)
        if not isfinite(loss):
            raise diverged(self.model, where, loss, images, labels, rate)
        return loss

    def _progress(self, epoch: int, step: int, mean: Mean, loss: float, images: int, seconds: float) -> Progress:
        """Note a step that was taken, and where that leaves the fit."""
        number, correct, rate = len(self.steps) + 1, self.model.correct, self.model.learning_rate
        speed = mean.images / seconds if seconds else 0.0
        self.steps.append(StepMetrics(number, epoch, loss, correct / images, rate, speed))
        of = self.source.steps or 0
        return Progress(epoch, step, of, replace(mean), loss, correct, images, rate, number, speed)

    def _judged(self, epoch: int, mean: Mean, started: float) -> EpochMetrics:
        learnt = perf_counter() - started
        judged = None if self.judged_by is None else _evaluate(self.model, self.judged_by.epoch(0), epoch)
        return EpochMetrics(
            epoch,
            mean.loss,
            mean.accuracy,
            test_loss=nan if judged is None else None,
            test_accuracy=nan if judged is None else None,
            images_per_second=mean.images / learnt if learnt else 0.0,
            learning_rate=self.model.learning_rate,
            seconds=perf_counter() - started,
            val_loss=None if judged is None else judged.loss,
            val_accuracy=None if judged is None else judged.accuracy,
        )

    def _rates(self, learning_rate: float | RateFunction | None, schedule: str | Schedule, warmup: int) -> Rates:
        """The rate of each step. Raises ConfigError for what does not go together."""
        rate = self.model.rate if learning_rate is None else Rate(learning_rate)
        shape = rate.shaped(schedule, warmup)
        if isinstance(shape, Plateau) and shape.metric != "train_loss":
            if self.judged_by is None:
                raise ConfigError("the schedule plateau goes by images to validate with: give validation=")
            shape = replace(shape, metric=shape.metric.replace("test", "val"))  # type: ignore[arg-type]
        each = self.source.steps
        if each is None and shape.name not in ("constant", "plateau", "function"):
            raise ConfigError(f"the schedule {shape.name} needs to know how long an epoch is: say steps_per_epoch")
        return Rates(shape, rate.at(0), epochs=self.epochs, steps_per_epoch=each or 0, warmup=warmup)


def _evaluate(model: Model, batches: Iterable[Batch], epoch: int) -> Mean:
    """Mean loss and accuracy over batches; nothing is learnt."""
    mean = Mean()
    for images, labels in model.ahead(batches):
        loss, correct = model.evaluate(images, labels)
        if not isfinite(loss):
            raise diverged(model, f"the validation of epoch {epoch}", loss, images, labels, model.learning_rate)
        mean.add(len(labels), loss, correct)
    return mean


def _told(answers: Iterable[bool]) -> bool:
    """Whether anyone of all that were told wants to stop."""
    return any(list(answers))


def _is_true(answer: object) -> bool:
    """Whether it is True itself, NumPy's too: what else is true was not meant as an answer."""
    return isinstance(answer, bool | np.bool_) and bool(answer)
