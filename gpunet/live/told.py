"""What a training says of itself, kept for the page: the training writes and the server reads, each in its thread."""

from collections.abc import Sequence
from dataclasses import asdict
from threading import Lock
from typing import Any

from gpunet.train.metrics import EpochMetrics
from gpunet.train.trainer import Progress

MOST_POINTS = 4000
"""Steps that are kept for the curve; of more, every second one goes, and so on."""

Plain = dict[str, Any]
Point = list[float]


class Told:
    """The state of the training, the settings that it runs with, its steps and epochs.

    `version` grows with each change of what is said, so that a page asks for what is new alone. A point of the curve is
    [step, loss, share of the batch told right, rate, images/s]; `began` counts the runs, whose curves begin anew.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._said: Plain = {"state": "opening", "message": "", "settings": {}, "run": None, "progress": None}
        self._points: list[Point] = []
        self._every = 1
        self._rows: list[Plain] = []
        self.version = 1
        self.began = 0

    def say(self, **said: Any) -> None:
        """Put these in the place of what was said under the same names."""
        with self._lock:
            self._said |= said
            self._touch()

    def get(self, name: str) -> Any:
        """What is said under a name."""
        with self._lock:
            return self._said.get(name)

    def begin(self, rows: Sequence[EpochMetrics], points: Sequence[Point] = ()) -> None:
        """A run begins, or is gone on with, that has these epochs and steps behind it."""
        with self._lock:
            self._points, self._every, self._rows = list(points), 1, [asdict(row) for row in rows]
            self._said["progress"] = None
            self._thin_out()
            self.began += 1
            self._touch()

    def step(self, progress: Progress) -> None:
        """After a step."""
        done = progress.total_steps
        with self._lock:
            self._said["progress"] = {
                "epoch": progress.epoch,
                "step": progress.step,
                "steps": progress.steps,
                "total": done,
                "loss": progress.loss,
                "mean_loss": progress.so_far.loss,
                "mean_accuracy": progress.so_far.accuracy,
                "rate": progress.learning_rate,
                "images_per_second": progress.images_per_second,
            }
            if done % self._every == 0 or done == 1:
                right = progress.correct / progress.images
                self._points.append([done, progress.loss, right, progress.learning_rate, progress.images_per_second])
            self._thin_out()
            self._touch()

    def epoch(self, row: EpochMetrics) -> None:
        """After an epoch."""
        with self._lock:
            self._rows.append(asdict(row))
            self._touch()

    def news(self, began: int, after: float) -> Plain:
        """All there is to say, and the points behind the step `after` of the run `began`; all of another run's."""
        with self._lock:
            same = began == self.began
            points = [point for point in self._points if point[0] > after] if same else list(self._points)
            return {**self._said, "points": points, "began": self.began, "epochs": list(self._rows)}

    def _thin_out(self) -> None:
        while len(self._points) > MOST_POINTS:
            self._every *= 2
            self._points = [point for point in self._points if point[0] % self._every == 0]

    def _touch(self) -> None:
        self.version += 1
