"""The same training on the CPU and on the GPU: whether the losses agree, what it reaches, whether bits repeat."""

from typing import Any

import numpy as np

from gpunet.data import digits
from gpunet.data.dataset import Dataset
from gpunet.devices import open_device
from gpunet.devices.device import Device
from gpunet.model import Model
from gpunet.net.config import Config, load_config
from gpunet.optimizers import optimizer
from gpunet.train.trainer import Progress, Trainer, Watcher

from .setting import Setting
from .table import Table, number

TITLE = "CPU and GPU agree"
SECONDS = 90
NEEDS = ("cupy",)

CONFIG = "vgg_digits"
TOLERANCE = 1e-3
"""Largest difference of the curve of losses, as a part of it: rounding differs, and that grows from step to step."""

LEAST_ACCURACY = 0.93


class Losses(Watcher):
    """Keeps the mean loss over the images so far, after every step."""

    def __init__(self) -> None:
        self.curve: list[float] = []

    def stepped(self, progress: Progress) -> None:
        self.curve.append(progress.so_far.loss)


def run(
    setting: Setting,
    data: Dataset | None = None,
    config: Config | None = None,
    least_accuracy: float = LEAST_ACCURACY,
) -> None:
    """One epoch on both devices, another on the GPU for its bits, and a whole training on the GPU."""
    findings = setting.findings
    data = data or digits()
    config = config or load_config(CONFIG)
    losses, weights = train(config, data, setting.device, epochs=1)
    cpu = open_device("cpu")
    expected, _ = train(config, data, cpu, epochs=1)
    cpu.close()
    gap = float(np.max(np.abs(np.subtract(losses, expected)) / np.abs(expected)))
    findings.note("losses", {setting.device.name: losses, "cpu": expected})
    findings.note("loss_difference", gap)
    findings.require(
        gap <= TOLERANCE, f"the losses of an epoch differ from the CPU's by up to {gap:.2g} of their value"
    )
    again, weights_again = train(config, data, setting.device, epochs=1)
    same = losses == again and all(np.array_equal(weights[name], weights_again[name]) for name in weights)
    findings.note("same_bits_twice", same)
    findings.require(same, "the same seed trained twice on the GPU gave different bits")
    if setting.quick:
        findings.skip("the accuracy after a whole training: left out of a quick run")
        return
    row = measure_accuracy(setting, config, data)
    findings.note("training", row)
    findings.require(
        row["test_accuracy"] >= least_accuracy,
        f"{config.net.name} reached {row['test_accuracy']:.1%} on the GPU; at least {least_accuracy:.0%} were expected",
    )


def train(config: Config, data: Dataset, device: Device, *, epochs: int) -> tuple[list[float], dict[str, np.ndarray]]:
    """(mean loss so far after each step, the weights afterwards) of a training with the config's settings."""
    watcher = Losses()
    with _model(config, device) as model:
        _trainer(config, model, data, epochs, watcher).run()
        return watcher.curve, dict(model.parameters)


def measure_accuracy(setting: Setting, config: Config, data: Dataset) -> dict[str, Any]:
    """What the config's own training comes to on the device."""
    with _model(config, setting.device) as model:
        rows = _trainer(config, model, data, config.train.epochs).run()
    last = rows[-1]
    return {
        "net": config.net.name,
        "epochs": last.epoch,
        "test_accuracy": last.test_accuracy,
        "test_loss": last.test_loss,
        "train_accuracy": last.train_accuracy,
        "images_per_second": last.images_per_second,
        "seconds": sum(row.seconds for row in rows),
    }


def _model(config: Config, device: Device) -> Model:
    settings = config.train
    kind = optimizer(settings.optimizer, momentum=settings.momentum, weight_decay=settings.weight_decay)
    return Model(
        config.net,
        settings.batch,
        device,
        optimizer=kind,
        seed=settings.seed,
        learning_rate=settings.learning_rate,
    )


def _trainer(config: Config, model: Model, data: Dataset, epochs: int, *watchers: Watcher) -> Trainer:
    settings = config.train
    return Trainer(model, data, epochs=epochs, seed=settings.seed, schedule=settings.schedule, watchers=watchers)


def tables(values: dict[str, Any]) -> list[Table]:
    rows: list[tuple[str, object]] = []
    if "loss_difference" in values:
        rows.append(
            (
                "largest difference of a loss to the CPU's in one epoch, as a part of it",
                f"{values['loss_difference']:.2g}",
            )
        )
    if "same_bits_twice" in values:
        rows.append(("the same seed twice gives the same bits", "yes" if values["same_bits_twice"] else "NO"))
    if row := values.get("training"):
        rows.append((f"{row['net']}, test accuracy after {row['epochs']} epochs", f"{row['test_accuracy']:.2%}"))
        rows.append((f"{row['net']}, seconds; images/s", f"{row['seconds']:.1f}; {number(row['images_per_second'])}"))
    return [Table("CPU and GPU", ("", "value"), rows)]
