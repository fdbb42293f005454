"""How a fit goes, while it does: a bar on a terminal or in a notebook, elsewhere lines, where they are asked for."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from gpunet.train.fitting import Listener
from gpunet.train.metrics import EpochMetrics
from gpunet.train.trainer import Progress

EVERY_SECONDS = 0.3
"""How often a notebook's bar is drawn anew."""


class Lines:
    """A line for each epoch, on standard output."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def stepped(self, progress: Progress) -> bool:
        return False

    def finished_epoch(self, metrics: EpochMetrics) -> bool:
        self.say(epoch_words(metrics, self.epochs))
        return False

    def say(self, line: str) -> None:
        """Show a line that stays."""
        print(line, flush=True)


class Terminal(Lines):
    """A bar for the steps below the lines of the epochs."""

    def __init__(self, epochs: int, bar: RichProgress) -> None:
        super().__init__(epochs)
        self._bar = bar
        self._task = bar.add_task("", total=None)

    def stepped(self, progress: Progress) -> bool:
        total = self.epochs * progress.steps or None
        self._bar.update(
            self._task, total=total, completed=progress.total_steps, description=step_words(progress, self.epochs)
        )
        return False

    def say(self, line: str) -> None:
        self._bar.console.print(line, soft_wrap=True, markup=False, highlight=False)


class Notebook(Lines):
    """A bar and the lines of the epochs in one place of a notebook, which is drawn anew now and then."""

    def __init__(self, epochs: int, display: Any) -> None:
        super().__init__(epochs)
        self._lines: list[str] = []
        self._drawn = monotonic()
        self._made = display.HTML("")
        self._html, self._place = display.HTML, display.display(self._made, display_id=True)

    def stepped(self, progress: Progress) -> bool:
        if monotonic() - self._drawn > EVERY_SECONDS:
            total = self.epochs * progress.steps
            value = f'value="{progress.total_steps}" max="{total}"' if total else ""
            self._draw(f'<progress style="width: 60%" {value}></progress>', step_words(progress, self.epochs))
        return False

    def say(self, line: str) -> None:
        self._lines.append(line)
        self._draw()

    def _draw(self, bar: str = "", words: str = "") -> None:
        lines = escape("\n".join([*self._lines, *([words] if words else [])]))
        self._place.update(self._html(f"{bar}<pre>{lines}</pre>"))
        self._drawn = monotonic()


@contextmanager
def shown(progress: bool | None, epochs: int) -> Iterator[list[Listener]]:
    """Who shows a fit, if anyone; see `Model.fit`."""
    display = notebook() if progress is not False else None
    if progress is False or sys.stdout is None:
        yield []
    elif display is not None:
        yield [Notebook(epochs, display)]
    elif sys.stdout.isatty():
        left = TimeRemainingColumn(compact=True)
        columns = (BarColumn(bar_width=10), TextColumn("{task.description}", markup=False), left)  # within 80 columns
        with RichProgress(*columns, console=Console(highlight=False), transient=True) as bar:
            yield [Terminal(epochs, bar)]
    else:
        yield [Lines(epochs)] if progress else []


def notebook() -> Any:
    """The module IPython.display where this runs in a notebook, else None; a terminal's IPython is a terminal."""
    python = sys.modules.get("IPython")
    shell = python.get_ipython() if python is not None else None
    if not hasattr(shell, "kernel"):
        return None
    from importlib import import_module

    return import_module("IPython.display")


def epoch_words(metrics: EpochMetrics, epochs: int) -> str:
    """What an epoch measured, in a line."""
    words = f"epoch {metrics.epoch:>{len(str(epochs))}}/{epochs}  "
    words += f"loss {metrics.train_loss:.4f}  accuracy {metrics.train_accuracy:6.2%}  "
    if metrics.val_loss is not None:
        words += f"val loss {metrics.val_loss:.4f}  val accuracy {metrics.val_accuracy:6.2%}  "
    return f"{words}{metrics.images_per_second:,.0f} images/s  {metrics.seconds:.1f} s"


def step_words(progress: Progress, epochs: int) -> str:
    """Where a fit is, in a line."""
    of = f"/{progress.steps:,}" if progress.steps else ""
    figures = f"loss {progress.so_far.loss:.4f}  accuracy {progress.so_far.accuracy:.1%}"
    speed = f"{progress.images_per_second:,.0f} images/s"
    return f"epoch {progress.epoch}/{epochs}  {progress.step:,}{of}  {figures}  {speed}"
