"""A run on the screen: a live view on a terminal, a line for every epoch, and in a pipe one now and then between."""

import os
import sys
from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from gpunet.devices.cuda.probe import used_bytes
from gpunet.devices.name import split_name
from gpunet.memory.size import format_bytes, format_speed
from gpunet.ranks.crew import TERMINAL
from gpunet.train.beat import Beat
from gpunet.train.metrics import EpochMetrics
from gpunet.train.trainer import Progress, Trainer, Watcher

ASK_SECONDS = 2.0
"""How often the device is asked for its memory."""


class Screen(Watcher):
    """Shows a run on `console`, by default standard output; to be entered and left around it."""

    def __init__(self, console: Console | None = None) -> None:
        self._live: Live | None = None
        self._console = console
        wide = os.environ.get(TERMINAL, "")
        if console is None and wide.isdecimal():  # whoever started the ranks hands on what is written here
            self._console = Console(highlight=False, force_terminal=True, width=int(wide))
        elif console is None and sys.stdout is not None and sys.stdout.isatty():
            self._console = Console(highlight=False)
        if self._console is not None and self._console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TimeRemainingColumn(compact=True),
                TextColumn("left"),
                expand=True,
            )
            self._live = Live(console=self._console, transient=True, refresh_per_second=5)
        self._memory = ""
        self._asked = 0.0
        self._beat = Beat(_print_line)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def started(self, trainer: Trainer) -> None:
        self._trainer = trainer
        if self._live:
            done = trainer.model.steps
            total = trainer.epochs * trainer.steps_per_epoch
            self._task = self._bar.add_task(self._epoch(trainer.epoch), total=total, completed=done)
            self._live.update(self._bar)

    def stepped(self, progress: Progress) -> None:
        if self._live:
            self._bar.update(self._task, completed=progress.total_steps, description=self._epoch(progress.epoch))
            line = Text(f"{figures(progress)}  {self._memory_now()}", no_wrap=True, overflow="ellipsis")
            self._live.update(Group(self._bar, line))
        else:
            where = f"{self._epoch(progress.epoch)}, step {progress.step:,} of {progress.steps:,}"
            self._beat(lambda: f"{where}  {figures(progress)}")

    def paused(self) -> None:
        if not self._live:
            self._beat(lambda: f"{self._epoch(self._trainer.epoch)}, testing")

    def finished_epoch(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        line = epoch_line(metrics, trainer.epochs)
        if self._live:
            self._live.console.print(line, soft_wrap=True, markup=False)
        else:
            _print_line(line)
            self._beat.rest()

    def _epoch(self, epoch: int) -> str:
        return f"epoch {epoch}/{self._trainer.epochs}"

    def _memory_now(self) -> str:
        """The arena, and on a GPU what all that is on it take, asked for now and then."""
        if not self._memory or monotonic() - self._asked > ASK_SECONDS:
            model = self._trainer.model
            self._memory = f"arena {format_bytes(model.arena_bytes)}"
            kind, number = split_name(model.device.name)
            used = used_bytes(number) if kind == "cuda" else None
            if used is not None:
                self._memory += f"  GPU {format_bytes(used[0])} of {format_bytes(used[1])}"
            self._asked = monotonic()
        return self._memory


def figures(progress: Progress) -> str:
    """What was measured in this epoch so far."""
    now = progress.so_far
    return (
        f"loss {now.loss:.4f}  accuracy {now.accuracy:.1%}  learning rate {progress.learning_rate:.3g}  "
        f"{format_speed(progress.images_per_second)} images/s"
    )


def epoch_line(metrics: EpochMetrics, epochs: int) -> str:
    """What an epoch measured, in one line."""
    return (
        f"epoch {metrics.epoch:>{len(str(epochs))}}/{epochs}  "
        f"loss {metrics.train_loss:.4f}  accuracy {metrics.train_accuracy:6.2%}  "
        f"{metrics.judged_by} loss {metrics.judged_loss:.4f}  "
        f"{metrics.judged_by} accuracy {metrics.judged_accuracy:6.2%}  "
        f"{format_speed(metrics.images_per_second)} images/s  {metrics.seconds:.1f} s"
    )


def _print_line(line: str) -> None:
    print(line, flush=True)
