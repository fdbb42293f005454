"""A run as TensorBoard's event files, through tensorboardX: an extra."""

from pathlib import Path
from typing import Any

from gpunet.errors import ConfigError
from gpunet.train.metrics import EpochMetrics
from gpunet.train.trainer import Progress, Trainer, Watcher

FOLDER = "tensorboard"


def writer_type() -> Any:
    """tensorboardX's SummaryWriter. Raises ConfigError, saying how to get it, where it is not installed."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise ConfigError('--tensorboard needs tensorboardX: pip install "gpunet[tensorboard]"') from None
    return SummaryWriter


class Board(Watcher):
    """Writes loss, accuracy, learning rate and images/s to event files in `folder`, by step."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    def started(self, trainer: Trainer) -> None:
        # what a stopped run showed after its checkpoint is not shown twice
        purge = {"purge_step": trainer.model.steps + 1} if trainer.resumed else {}
        self._writer = writer_type()(str(self._folder), **purge)

    def stepped(self, progress: Progress) -> None:
        step = progress.total_steps
        self._writer.add_scalar("step/loss", progress.loss, step)
        self._writer.add_scalar("step/accuracy", progress.correct / progress.images, step)
        self._writer.add_scalar("step/learning_rate", progress.learning_rate, step)
        self._writer.add_scalar("step/images_per_second", progress.images_per_second, step)

    def finished_epoch(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        judged = metrics.judged_by
        for name in ("train_loss", "train_accuracy", f"{judged}_loss", f"{judged}_accuracy"):
            self._writer.add_scalar(f"epoch/{name}", getattr(metrics, name), trainer.model.steps)
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
