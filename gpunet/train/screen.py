"""A run on the screen: a bar that moves on a terminal, and a line for every epoch there and in a pipe."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from gpunet.train.metrics import EpochMetrics
from gpunet.train.trainer import Progress, Trainer, Watcher


class Screen(Watcher):
    """Shows a run on standard output; to be entered and left around it."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        if sys.stdout is not None and sys.stdout.isatty():
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[measured]}"),
                TimeRemainingColumn(compact=True),
                TextColumn("left"),
                console=Console(highlight=False),
                transient=True,
            )

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def started(self, trainer: Trainer) -> None:
        if self._bar:
            self._epochs = trainer.epochs
            self._task = self._bar.add_task("epoch 1", total=trainer.epochs * trainer.steps_per_epoch, measured="")

    def stepped(self, progress: Progress) -> None:
        if self._bar:
            now = progress.so_far
            measured = f"loss {now.loss:.4f}  accuracy {now.accuracy:.1%}  {progress.images_per_second:,.0f} images/s"
            self._bar.update(
                self._task, advance=1, description=f"epoch {progress.epoch}/{self._epochs}", measured=measured
            )

    def finished_epoch(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        line = epoch_line(metrics, trainer.epochs)
        if self._bar:
            self._bar.console.print(line, soft_wrap=True, markup=False)
        else:
            print(line, flush=True)


def epoch_line(metrics: EpochMetrics, epochs: int) -> str:
    """What an epoch measured, in one line."""
    return (
        f"epoch {metrics.epoch:>{len(str(epochs))}}/{epochs}  "
        f"loss {metrics.train_loss:.4f}  accuracy {metrics.train_accuracy:6.2%}  "
        f"test loss {metrics.test_loss:.4f}  test accuracy {metrics.test_accuracy:6.2%}  "
        f"{metrics.images_per_second:,.0f} images/s  {metrics.seconds:.1f} s"
    )
