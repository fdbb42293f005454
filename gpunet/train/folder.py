"""The folder of a run: what it was told, planned, measured and learnt. Never a half-written file."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from gpunet.errors import ConfigError, DataError, GpunetError
from gpunet.net.config import dump_net
from gpunet.optimize.span import Span
from gpunet.system import files
from gpunet.train.checkpoint import BEST, LAST, PREVIOUS, Broken, read, save
from gpunet.train.diverged import broken
from gpunet.train.entering import SEEN, as_plain, entering_of
from gpunet.train.metrics import EpochMetrics, StepMetrics, as_csv, best
from gpunet.train.resume import circumstances, identity
from gpunet.train.steps_file import StepsFile
from gpunet.train.trainer import Progress, Trainer, Watcher
from gpunet.train.weights import CONFIG, WEIGHTS, read_about, save_weights
from gpunet.values.visible import typable

METRICS, STEPS = "metrics.csv", "steps.csv"
PLAN, ENVIRONMENT, LOCK = "plan.json", "environment.json", ".lock"
RUNS = Path("runs")


class RunFolder(Watcher):
    """Keeps a run in `path`: config, plan and environment from the start; every step's row; all else every epoch.

    `environment`  of this start of the run; environment.json has one for each
    `every`        how often a checkpoint is kept within an epoch, in steps or minutes; None: never
    `saved_epoch`  the epoch whose weights are on disk, 0 for none
    `saved_step`   the step after which the last checkpoint was kept, 0 for none
    """

    def __init__(
        self,
        path: Path,
        config: str,
        plan: str,
        *,
        environment: Mapping[str, Any] | None = None,
        every: Span | None = None,
    ) -> None:
        self.path = path
        self.saved_epoch = 0
        self.saved_step = 0
        self._texts = {CONFIG: config, PLAN: plan}
        self._environment = dict(environment or {})
        self._every = every
        self._steps = StepsFile(path / STEPS)
        self._trainer: Trainer | None = None
        self._identity: dict[str, Any] = {}
        self._entered: dict[str, Any] = {}
        self._saved_at = monotonic()

    def started(self, trainer: Trainer) -> None:
        self._begin(trainer)
        files.sweep(self.path)
        if trainer.resumed:
            self._set_damaged_aside()
            self.saved_step, self.saved_epoch = trainer.model.steps, self._epoch_of_weights()
        for name, text in self._texts.items():
            files.write_whole(self.path / name, text)
        starts = [*starts_of(self.path), self._environment] if trainer.resumed else [self._environment]
        files.write_whole(self.path / ENVIRONMENT, json.dumps(starts, indent=2) + "\n")
        self._steps.begin(trainer.model.steps)
        if trainer.rows:
            self._catch_up(trainer)

    def finish(self, trainer: Trainer) -> None:
        """Keep what a run that has done all its epochs was stopped from keeping; of one that did, change nothing."""
        self._begin(trainer)
        self.saved_step, self.saved_epoch = trainer.model.steps, self._epoch_of_weights()
        self._catch_up(trainer)

    def stepped(self, progress: Progress) -> None:
        done, rate = progress.total_steps, progress.learning_rate
        accuracy = progress.correct / progress.images
        self._steps.add(StepMetrics(done, progress.epoch, progress.loss, accuracy, rate, progress.images_per_second))
        if self._due(done):
            self.checkpoint()

    def finished_epoch(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        self.checkpoint()
        self._keep_metrics(trainer)
        self._keep_learnt(trainer)

    def checkpoint(self) -> None:
        """Keep the run as it is now, between two steps, and the checkpoint before it."""
        assert self._trainer is not None  # it was started
        self._steps.write(flush=True)
        trainer = self._trainer
        try:
            save(self.path / LAST, trainer.model.state, self._state(trainer), previous=self.path / PREVIOUS)
        except Broken as error:
            images, _ = trainer.data.train.take(np.arange(min(SEEN, len(trainer.data.train))))
            raise broken(trainer.model, str(error), images, trainer.rates.learning_rate) from None
        self.saved_step = self._trainer.model.steps
        self._saved_at = monotonic()

    def rescue(self) -> None:
        """Keep a checkpoint after an error, where the run is between two steps and it can be written."""
        if self._trainer is None or self._trainer.model.plan.program.sharded:
            return  # the other ranks, who have their shares, are not there to give them
        if self._trainer.between_steps and self._trainer.model.steps > self.saved_step:
            with suppress(GpunetError):  # what went wrong first says more
                self.checkpoint()

    def close(self) -> None:
        """Write what still waits in memory; the disk may be full."""
        if self._trainer is not None:
            with suppress(DataError):
                self._steps.write()

    def describe(self) -> str:
        """What the folder holds of what was learnt."""
        if self.saved_epoch:
            return f"{self.path / WEIGHTS} holds the weights after epoch {self.saved_epoch}"
        if self._trainer is not None and self._trainer.rows and self.saved_step:
            return f"the weights after epoch {self._trainer.rows[-1].epoch} are in the last checkpoint alone"
        return f"no epoch was finished, so {self.path} holds no weights"

    def how_to_go_on(self) -> str:
        """From where the run can go on, and how."""
        if not self.saved_step:
            return f"{self.path} holds no checkpoint to go on from"
        return f"gpunet train --resume {typable(self.path)} goes on after step {self.saved_step:,}"

    def _begin(self, trainer: Trainer) -> None:
        self._trainer, self._identity = trainer, identity(trainer)
        self._entered = as_plain(entering_of(trainer.model.net, trainer.data.train))

    def _due(self, step: int) -> bool:
        if self._every is None or not self._every.number:
            return False
        if self._every.unit == "steps":
            return step % self._every.number == 0
        return monotonic() - self._saved_at >= 60 * self._every.number

    def _state(self, trainer: Trainer) -> dict[str, Any]:
        where = circumstances(trainer.model)
        return {"run": self._identity, "where": where, "trainer": trainer.state(), **self._about(trainer)}

    def _about(self, trainer: Trainer) -> dict[str, Any]:
        """What whoever uses the weights wants to know; see gpunet.train.weights."""
        net, data = trainer.model.net, trainer.data
        return {
            "net": net.name,
            "config": dump_net(net),
            "classes": data.classes,
            "white": data.white,
            "entered": self._entered,
        }

    def _catch_up(self, trainer: Trainer) -> None:
        """Keep what comes after the checkpoint of an epoch, where the run was stopped between the two.

        The weights are kept last: where they are of that epoch, so is the rest.
        """
        files.sweep(self.path)
        self._keep_metrics(trainer)
        last = trainer.rows[-1].epoch
        if trainer.step == 0 and self._is_kept(trainer, last) and self.saved_epoch != last:
            self._keep_learnt(trainer)

    def _epoch_of_weights(self) -> int:
        try:
            epoch = read_about(self.path / WEIGHTS).get("epoch")
        except DataError:
            return 0
        return epoch if isinstance(epoch, int) else 0

    def _keep_metrics(self, trainer: Trainer) -> None:
        path, text = self.path / METRICS, as_csv(trainer.rows)
        if not path.is_file() or path.read_bytes() != text.encode():
            files.write_whole(path, text)

    def _keep_learnt(self, trainer: Trainer) -> None:
        """If the last epoch is the best so far, a checkpoint of it; its weights, if they are the run's."""
        epoch = trainer.rows[-1].epoch
        if best(trainer.rows).epoch == epoch:
            save(self.path / BEST, trainer.model.state, self._state(trainer))
        if self._is_kept(trainer, epoch):
            save_weights(self.path / WEIGHTS, trainer.model.parameters, self._about(trainer) | {"epoch": epoch})
            self.saved_epoch = epoch

    def _is_kept(self, trainer: Trainer, epoch: int) -> bool:
        """Whether the weights after the last epoch are the run's: if nothing chooses, or if it is the best."""
        return trainer.data.validation is None or best(trainer.rows).epoch == epoch

    def _set_damaged_aside(self) -> None:
        """A broken last checkpoint must not take the place of the one before it, which is whole."""
        last = self.path / LAST
        try:
            read(last)
        except DataError:
            with suppress(FileNotFoundError):
                os.replace(last, last.with_name(f"{LAST}.damaged"))


def starts_of(folder: Path) -> list[Any]:
    """What environment.json says of each start of the run in a folder; none where it cannot be read."""
    try:
        starts = json.loads(files.read_regular(folder / ENVIRONMENT))
    except (OSError, ValueError, RecursionError):
        return []
    return starts if isinstance(starts, list) else []


def open_folder(path: Path | None, net: str) -> Path:
    """The folder for a new run: `path`, or runs/NET-1, -2, ..., the first that is not there yet.

    Raises ConfigError where `path` holds a run already, DataError where the folder cannot be made.
    """
    if path is None:
        return _next_free(net)
    require_no_run(path)
    return make_folder(path)


def require_no_run(path: Path) -> None:
    """Raise ConfigError where a folder holds a run already: nothing of it is to be overwritten."""
    for name in (METRICS, STEPS, WEIGHTS, CONFIG, PLAN, LAST, PREVIOUS, BEST):
        if (path / name).exists():
            raise ConfigError(f"{path} already holds a run ({name}); give another --out, or remove that folder first")


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep other processes from training in the folder of a run. Raises DataError while one does."""
    lock = path / LOCK
    words = f"{path} is in use: another process trains there; wait until it has ended, or stop it"
    try:
        with files.locked(lock, words):
            try:
                yield
            finally:
                with suppress(OSError):
                    lock.unlink()
    except OSError as error:
        if error.filename != str(lock):
            raise
        raise DataError(f"cannot write {lock}: {error.strerror or error}") from None


def _next_free(net: str) -> Path:
    for number in count(1):
        path = RUNS / f"{re.sub(r'[^A-Za-z0-9._-]', '_', net)}-{number}"
        if not path.exists():
            try:
                return make_folder(path, exist_ok=False)
            except FileExistsError:  # another run was faster
                continue
    raise AssertionError("count() does not end")


def make_folder(path: Path, *, exist_ok: bool = True) -> Path:
    """Make a folder and those around it. Raises DataError where that is not possible, FileExistsError where asked."""
    try:
        path.mkdir(parents=True, exist_ok=exist_ok)
    except FileExistsError:
        if not exist_ok:
            raise
        raise DataError(f"cannot make the folder {path}: a file is in its place") from None
    except OSError as error:
        raise DataError(f"cannot make the folder {path}: {error.strerror or error}") from None
    return path
