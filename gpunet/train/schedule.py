"""The learning rate of every step of a run: its schedule, its warm-up, and what a plateau has taken off."""

from math import inf
from typing import Any

from gpunet.errors import ConfigError
from gpunet.optimize.schedules import Plateau, Schedule
from gpunet.train.metrics import EpochMetrics


class Rates:
    """The learning rate by step, from 0; `observe` is told of every epoch.

    Over the first `warmup` steps the rate rises in a line up to what the schedule says: step t takes (t + 1)/warmup of
    it, as PyTorch's LinearLR from 1/warmup on. What goes down to the end of the run
    begins after them; else epochs and steps count from the start of the run.
    """

    def __init__(
        self, schedule: Schedule, learning_rate: float, *, epochs: int, steps_per_epoch: int, warmup: int = 0
    ) -> None:
        least = getattr(schedule, "least_rate", 0)
        if least > learning_rate:
            raise ConfigError(f"least_rate, {least:g}, must not be above the learning rate, {learning_rate:g}")
        if warmup >= epochs * steps_per_epoch > 0 and warmup:
            raise ConfigError(f"a warm-up of {warmup} steps leaves none of {epochs * steps_per_epoch}; make it shorter")
        self.schedule = schedule
        self.learning_rate = learning_rate
        self.warmup = warmup
        self._steps = epochs * steps_per_epoch
        self._steps_per_epoch = steps_per_epoch
        self._best: float | None = None
        self._waited = 0
        self._reduced = learning_rate

    def __call__(self, step: int) -> float:
        """The learning rate of a step."""
        if self.schedule.to_end:
            after = max(step - self.warmup, 0)
            rate = self.schedule.rate(self.learning_rate, after, self._steps - self.warmup, self._steps_per_epoch)
        else:
            rate = self.schedule.rate(self._reduced, step, self._steps, self._steps_per_epoch)
        return rate * (step + 1) / self.warmup if step < self.warmup else rate

    def observe(self, metrics: EpochMetrics) -> None:
        """Take in what an epoch measured: after too many that were no better, the rate goes down."""
        plateau = self.schedule
        if not isinstance(plateau, Plateau):
            return
        value = getattr(metrics, plateau.metric.replace("val_", "judged_"))
        worst = -inf if plateau.metric.endswith("accuracy") else inf
        if plateau.better(value, worst if self._best is None else self._best):
            self._best, self._waited = value, 0
        else:
            self._waited += 1
        if self._waited > plateau.wait:
            self._reduced, self._waited = max(self._reduced * plateau.factor, plateau.least_rate), 0

    def state(self) -> dict[str, Any]:
        """What it has learnt from the epochs so far, as plain values."""
        return {"best": self._best, "waited": self._waited, "reduced": self._reduced}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._best, self._waited, self._reduced = state["best"], state["waited"], state["reduced"]
