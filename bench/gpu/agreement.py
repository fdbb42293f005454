"""The same training on the CPU and on the GPU: whether the losses agree, what it reaches, whether bits repeat."""

from typing import Any

import numpy as np

from gpunet.data import digits
from gpunet.data.dataset import Dataset
from gpunet.devices import open_device
from gpunet.devices.device import Device
from gpunet.model.model import Model
from gpunet.net.config import Config, load_config
from gpunet.program.program import Dtype
from gpunet.train.trainer import Progress, Trainer, Watcher

from .setting import Setting
from .table import Table, number

TITLE = "CPU and GPU agree"
SECONDS = 90
NEEDS = ("cupy",)

CONFIG = "vgg_digits"
BOUNDS: dict[Dtype, tuple[float, int | None]] = {"float64": (1e-9, None), "float32": (1e-3, 5)}
"""By dtype: largest difference of the curve of losses, as a part of it, and over how many steps (None: the epoch).

Rounding differs and training makes differences grow. Two CPU runs that differ only in where the im2col matrix is cut
agree to 1e-15 in float64; in float32 to 2e-5 after 5 steps, and after 90 they are up to 2 % apart, by the seed.
"""

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
    """An epoch on both devices in both dtypes, two on the GPU for their bits, and a whole training on the GPU."""
    findings = setting.findings
    data = data or digits()
    config = config or load_config(CONFIG)
    for dtype in BOUNDS:
        compare(setting, config, data, dtype)
    (curve, weights), (curve_again, weights_again) = (train(config, data, setting.device, "float32") for _ in range(2))
    same = curve == curve_again and all(map(np.array_equal, weights, weights_again))
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


def compare(setting: Setting, config: Config, data: Dataset, dtype: Dtype) -> None:
    """The curve of losses over an epoch, beside the CPU's."""
    found, _ = train(config, data, setting.device, dtype)
    cpu = open_device("cpu")
    expected, _ = train(config, data, cpu, dtype)
    cpu.close()
    gaps = np.abs(np.subtract(found, expected)) / np.abs(expected)
    bound, steps = BOUNDS[dtype]
    difference = float(gaps[:steps].max())
    row = {"dtype": dtype, "gpu": found, "cpu": expected, "bound": bound, "steps": len(gaps[:steps])}
    row |= {"difference": difference, "difference_over_the_epoch": float(gaps.max())}
    setting.findings.append("losses", row)
    setting.findings.require(
        difference <= bound,
        f"the losses in {dtype} differ from the CPU's by up to {difference:.2g} of their value; {bound} is allowed",
    )


def train(config: Config, data: Dataset, device: Device, dtype: Dtype) -> tuple[list[float], list[np.ndarray]]:
    """(mean loss so far after each step, the weights afterwards) of an epoch with the config's settings."""
    watcher = Losses()
    with _model(config, device, dtype) as model:
        _trainer(config, model, data, 1, watcher).run()
        return watcher.curve, list(model.parameters.values())


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


def _model(config: Config, device: Device, dtype: Dtype = "float32") -> Model:
    settings = config.train
    return Model(
        config.net,
        settings.batch,
        device,
        optimizer=settings.rule,
        dtype=dtype,
        seed=settings.seed,
        learning_rate=settings.learning_rate,
    )


def _trainer(config: Config, model: Model, data: Dataset, epochs: int, *watchers: Watcher) -> Trainer:
    settings = config.train
    return Trainer(model, data, epochs=epochs, seed=settings.seed, schedule=settings.schedule, watchers=watchers)


def tables(values: dict[str, Any]) -> list[Table]:
    rows: list[tuple[str, object]] = []
    for row in values.get("losses", ()):
        what = f"losses in {row['dtype']}, largest difference to the CPU's as a part of them"
        rows.append((f"{what}, {row['steps']} steps", f"{row['difference']:.1e}"))
        rows.append((f"{what}, the epoch of {len(row['cpu'])} steps", f"{row['difference_over_the_epoch']:.1e}"))
    if "same_bits_twice" in values:
        rows.append(("the same seed twice gives the same bits", "yes" if values["same_bits_twice"] else "NO"))
    if row := values.get("training"):
        rows.append((f"{row['net']}, test accuracy after {row['epochs']} epochs", f"{row['test_accuracy']:.2%}"))
        rows.append((f"{row['net']}, seconds; images/s", f"{row['seconds']:.1f}; {number(row['images_per_second'])}"))
    return [Table("CPU and GPU", ("", "value"), rows)]
