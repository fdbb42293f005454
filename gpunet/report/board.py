"""A run as TensorBoard's event files, through tensorboardX, an extra: curves, the graph of the net, histograms of
weights and gradients, pictures, and the settings that runs are compared by."""

from pathlib import Path
from typing import Any

import numpy as np

from gpunet.errors import ConfigError
from gpunet.model.parameters import finite
from gpunet.report.board_graph import graph_event
from gpunet.report.board_settings import settings_of, summaries
from gpunet.report.tiles import columns_for, shades, tiled, viewable
from gpunet.train.filters import filters_of
from gpunet.train.metrics import EpochMetrics
from gpunet.train.trainer import Progress, Trainer, Watcher

FOLDER = "tensorboard"

MOST_VALUES = 1_000_000
"""Of a tensor in a histogram; of one with more, values at equal distances are taken."""

PICTURES, SIDE = 16, 600
"""Images to learn from that are shown, and pixels of the side of what they, or filters, are shown in."""

MOST_FILTERS = 400


def writer_type() -> Any:
    """tensorboardX's SummaryWriter. Raises ConfigError, saying how to get it, where it is not installed."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise ConfigError('--tensorboard needs tensorboardX: pip install "gpunet[tensorboard]"') from None
    return SummaryWriter


class Board(Watcher):
    """Writes event files in `folder`, by step.

    At the start the graph, the settings and some images; of every step loss, accuracy, learning rate and images/s; of
    every epoch what was measured, histograms of what is learnt and of its gradients, over a batch of images that is the
    same every time, and the first filters. The bits of the run are those without it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None
        self._ended: Any = None

    def started(self, trainer: Trainer) -> None:
        begun = any(self._folder.glob("events.*"))
        # what a stopped run showed after its checkpoint is not shown twice
        purge = {"purge_step": trainer.model.steps + 1} if trainer.resumed else {}
        # files are named by the second: one that goes on at once must not write over the one before
        suffix = f".{trainer.model.steps:012}"
        self._writer = writer_type()(str(self._folder), filename_suffix=suffix, **purge)
        experiment, start, self._ended = summaries(settings_of(trainer), _measured(trainer))
        if not begun:
            self._writer.file_writer.add_event(graph_event(trainer.model.net, trainer.model.batch))
            self._writer.file_writer.add_summary(experiment)
            self._writer.file_writer.add_summary(start)
            self._show_images(trainer)
            self._show_learnt(trainer)

    def stepped(self, progress: Progress) -> None:
        step = progress.total_steps
        self._writer.add_scalar("step/loss", progress.loss, step)
        self._writer.add_scalar("step/accuracy", progress.correct / progress.images, step)
        self._writer.add_scalar("step/learning_rate", progress.learning_rate, step)
        self._writer.add_scalar("step/images_per_second", progress.images_per_second, step)

    def finished_epoch(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        for tag in (*_measured(trainer), "epoch/learning_rate", "epoch/images_per_second", "epoch/seconds"):
            self._writer.add_scalar(tag, getattr(metrics, tag.partition("/")[2]), trainer.model.steps)
        self._show_learnt(trainer)
        if trainer.finished:
            self._writer.file_writer.add_summary(self._ended)
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()

    def _show_images(self, trainer: Trainer) -> None:
        """The first images to learn from, as they lie in the data."""
        images, _ = trainer.data.train.take(np.arange(min(PICTURES, len(trainer.data.train))))
        self._show("images/train", viewable(images), 0)

    def _show_learnt(self, trainer: Trainer) -> None:
        """What is learnt, its gradients, and the first filters, as they are now."""
        model, step = trainer.model, trainer.model.steps
        for name in model.parameters:
            self._histogram(f"weights/{name}", model.parameters[name], step)
        some = np.arange(min(model.batch, len(trainer.data.train)))
        for name, values in model.gradients(*trainer.data.train.take(some)).items():
            self._histogram(f"gradients/{name}", values, step)
        try:
            layer, w = filters_of(model.net, model.parameters)
        except ConfigError:  # there are none
            return
        if w.shape[1:3] != (1, 1):
            pictures = np.stack([shades(one) for one in w[:MOST_FILTERS]])
            self._show(f"filters/{layer}", viewable(pictures, 0, 1), step)

    def _histogram(self, tag: str, values: np.ndarray, step: int) -> None:
        """Of values that are all finite; others have none."""
        apart = -(-values.size // MOST_VALUES)
        if finite(values):
            self._writer.add_histogram(tag, values.reshape(-1)[::apart].astype(np.float64), step)

    def _show(self, tag: str, tiles: np.ndarray, step: int) -> None:
        """Small images (n, H, W) or (n, H, W, 3) in 0..1, as one."""
        columns = columns_for(len(tiles), SIDE, SIDE, tiles.shape[2] / tiles.shape[1])
        self._writer.add_image(tag, tiled(tiles, columns), step, dataformats="HWC")


def _measured(trainer: Trainer) -> tuple[str, ...]:
    """The tags of what an epoch is measured by."""
    judged = "test" if trainer.data.validation is None else "val"
    return tuple(f"epoch/{name}" for name in ("train_loss", "train_accuracy", f"{judged}_loss", f"{judged}_accuracy"))
