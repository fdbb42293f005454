"""The folder of a run: what it was told, planned, measured and learnt. Never a half-written file."""

import re
from itertools import count
from pathlib import Path

from gpunet import files
from gpunet.errors import ConfigError, DataError
from gpunet.train.metrics import EpochMetrics, as_csv
from gpunet.train.trainer import Trainer, Watcher
from gpunet.train.weights import save_weights

METRICS, WEIGHTS, CONFIG, PLAN = "metrics.csv", "weights.safetensors", "config.toml", "plan.json"
RUNS = Path("runs")


class RunFolder(Watcher):
    """Keeps a run in `path`: config.toml and plan.json from the start, weights and metrics after every epoch.

    `saved_epoch`  the epoch whose weights are on disk, 0 for none
    """

    def __init__(self, path: Path, config: str, plan: str) -> None:
        self.path = path
        self.saved_epoch = 0
        self._texts = {CONFIG: config, PLAN: plan}

    def started(self, trainer: Trainer) -> None:
        for name, text in self._texts.items():
            files.write_whole(self.path / name, text)

    def finished_epoch(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        about: dict[str, str | int] = {"net": trainer.model.net.name, "epoch": metrics.epoch}
        save_weights(self.path / WEIGHTS, trainer.model.parameters, about)
        self.saved_epoch = metrics.epoch
        files.write_whole(self.path / METRICS, as_csv(trainer.rows))

    def describe(self) -> str:
        """What the folder holds of what was learnt."""
        if self.saved_epoch:
            return f"{self.path / WEIGHTS} holds the weights after epoch {self.saved_epoch}"
        return f"no epoch was finished, so {self.path} holds no weights"


def open_folder(path: Path | None, net: str) -> Path:
    """The folder for a new run: `path`, or runs/NET-1, -2, ..., the first that is not there yet.

    Raises ConfigError where `path` holds a run already, DataError where the folder cannot be made.
    """
    if path is None:
        return _next_free(net)
    for name in (METRICS, WEIGHTS, CONFIG, PLAN):
        if (path / name).exists():
            raise ConfigError(f"{path} already holds a run ({name}); give another --out, or remove that folder first")
    return _make(path, exist_ok=True)


def _next_free(net: str) -> Path:
    for number in count(1):
        path = RUNS / f"{re.sub(r'[^A-Za-z0-9._-]', '_', net)}-{number}"
        if not path.exists():
            try:
                return _make(path, exist_ok=False)
            except FileExistsError:  # another run was faster
                continue
    raise AssertionError("count() does not end")


def _make(path: Path, *, exist_ok: bool) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=exist_ok)
    except FileExistsError:
        if not exist_ok:
            raise
        raise DataError(f"cannot make the folder {path}: a file is in its place") from None
    except OSError as error:
        raise DataError(f"cannot make the folder {path}: {error.strerror or error}") from None
    return path
