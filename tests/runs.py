"""Small runs that several tests share: a net of a few parameters, images to learn from, and what a run leaves."""

import csv
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np

from gpunet import Augment, Learning, Model, Net, load
from gpunet.data import Dataset, Split
from gpunet.memory.plan import Plan
from gpunet.optimize.optimizers import OPTIMIZERS, Optimizer
from gpunet.planning.planner import plan
from gpunet.train.checkpoint import Checkpoint, latest
from gpunet.train.folder import RunFolder
from gpunet.train.resume import resume
from gpunet.train.trainer import Progress, Trainer, Watcher


def augmented(pattern: str, pad: int = 1) -> Net:
    net = load(pattern)
    return Net(net.input, net.nodes, augment=Augment(pad=pad, flip=True, contrast=0.3, brightness=0.3))


NET = augmented("INPUT[4x4x1] -> CONV3-2 -> BN -> RELU -> DROPOUT -> FC-3")
BATCH, EACH, EPOCHS = 3, 15, 4
"""60 steps; the last batch of an epoch has fewer images."""


def images(n: int = 44, tested: int = 4) -> Dataset:
    rng = np.random.default_rng(n)

    def split(count: int) -> Split:
        return Split(rng.integers(0, 256, (count, 4, 4, 1), np.uint8), rng.integers(0, 3, count))

    return Dataset("noise", split(n), split(tested))


def planned(
    optimizer: str | Optimizer | Learning = "momentum", batch: int = BATCH, net: Any = NET, **options: Any
) -> Plan:
    return plan(net, batch, optimizer=optimizer, **({"device": "cpu"} | options))


class CopyAll(Watcher):
    """Copies a run's folder, with its checkpoint, after every step: what a run would be that was stopped there."""

    def __init__(self, keep: RunFolder) -> None:
        self.keep = keep

    def stepped(self, progress: Progress) -> None:
        self.keep.checkpoint()
        copytree(self.keep.path, self.keep.path.with_name(f"after-{progress.total_steps}"))


class StopAt(Watcher):
    """Ends a run after a step, as a signal would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def stepped(self, progress: Progress) -> None:
        if progress.total_steps == self.step:
            raise StopIteration


def train(
    folder: Path,
    made: Plan,
    *,
    stop: int = 0,
    copies: bool = False,
    go_on: bool = False,
    data: Dataset | None = None,
    net: Any = NET,
    seed: int = 3,
    rate: float = 0.02,
    epochs: int = EPOCHS,
    device: Any = "cpu",
    **options: Any,
) -> dict[str, bytes]:
    """Train in `folder`, from its checkpoint if asked, until after step `stop`; the bytes of all that lasts."""
    folder.mkdir(exist_ok=True)
    with Model(
        net, device=device, optimizer=OPTIMIZERS[made.optimizer](), seed=seed, learning_rate=rate, plan=made
    ) as m:
        options = {"schedule": "cosine", "warmup": 7} | options
        trainer = Trainer(m, data or images(), epochs=epochs, seed=seed, **options)
        keep = RunFolder(folder, "", "{}")
        trainer.watchers = (keep, StopAt(stop), *([CopyAll(keep)] if copies else []))
        if go_on:
            resume(trainer, last(folder))
        try:
            if trainer.finished:
                keep.finish(trainer)
            else:
                trainer.run()
        except StopIteration:
            keep.checkpoint()
        return {name: values.tobytes() for name, values in m.state.items()}


def last(folder: Path) -> Checkpoint:
    return latest(folder)[0]


def measured(folder: Path) -> list[dict[str, str]]:
    """All rows of metrics.csv and steps.csv, but for the time things took."""
    rows = []
    for name in ("metrics.csv", "steps.csv"):
        with (folder / name).open(newline="") as file:
            rows += list(csv.DictReader(file))
    return [{key: text for key, text in row.items() if key not in ("images_per_second", "seconds")} for row in rows]
