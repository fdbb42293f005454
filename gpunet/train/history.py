"""What a run measured, read back from its folder."""

import csv
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args

from gpunet.errors import DataError
from gpunet.system.files import read_regular
from gpunet.train.folder import METRICS, STEPS
from gpunet.train.metrics import EpochMetrics, Mean, StepMetrics
from gpunet.train.resume import DATA
from gpunet.values.shown import Shown
from gpunet.values.visible import told_path, visible

Row = TypeVar("Row", EpochMetrics, StepMetrics)


@dataclass(frozen=True, repr=False)
class History(Shown):
    """The rows of a run, in order; at least one of an epoch or of a step.

    `folder`  that the run is kept in; None where it is in none
    `title`   what a run in no folder is called
    """

    folder: Path | None
    epochs: tuple[EpochMetrics, ...]
    steps: tuple[StepMetrics, ...]
    title: str = ""

    @property
    def name(self) -> str:
        return self.title if self.folder is None else visible(self.folder.name)

    @property
    def steps_per_epoch(self) -> int | None:
        """None where no epoch was finished, or the steps were not kept."""
        last = self.epochs[-1].epoch if self.epochs else 0
        done = max((row.step for row in self.steps if row.epoch == last), default=0)
        return done // last if done else None


def read_history(run: str | PathLike[str]) -> History:
    """The history of the run in a folder.

    Raises DataError where the folder is no run's, a file is not as `RunFolder` writes it, or nothing was measured yet.
    """
    run = told_path(run)
    if not run.is_dir():
        raise DataError(f"there is no folder {run}; give the folder of a run, like runs/vgg_digits-1")
    if not any((run / name).is_file() for name in (METRICS, STEPS)):
        raise DataError(f"{run} is no folder of a run: it holds no {METRICS}")
    epochs, steps = read_rows(run / METRICS, EpochMetrics), read_rows(run / STEPS, StepMetrics)
    if not epochs and not steps:
        raise DataError(f"{run} holds no measurements yet: no step was finished")
    return History(run.resolve(), epochs, steps)


def read_rows(path: Path, kind: type[Row]) -> tuple[Row, ...]:
    """The rows of metrics.csv or steps.csv; none where the file is not there. Half a row at the end is left out.

    Raises DataError naming the line that is wrong.
    """
    try:
        text = read_regular(path).decode("utf-8")
    except FileNotFoundError:
        return ()
    except UnicodeDecodeError:
        text = "\0"
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    if "\0" in text:
        raise DataError(f"{path} is no text, and not the {path.name} of a run")
    whole = text[: text.rfind("\n") + 1]  # a run may be writing, or was killed while it did
    return tuple(_rows(path, whole, kind))


def steps_fault(run: Path, state: dict[str, Any]) -> str:
    """What is wrong with steps.csv in the folder of a run that goes on from the state of a checkpoint, in words: "" if
    nothing is.

    Its own rows give the loss of its last whole epoch, to the last bit.
    """
    path, done = run / STEPS, state["trainer"]["steps"]
    if not path.exists():
        return f"{path} is gone, and with it the rows of the first {done:,} steps" if done else ""
    try:
        rows = read_rows(path, StepMetrics)[:done]
    except DataError as error:
        return str(error)
    if [row.step for row in rows] != list(range(1, done + 1)):
        return f"{path} does not hold the rows of the {done:,} steps that were done"
    if state["trainer"]["rows"]:
        last = EpochMetrics(**state["trainer"]["rows"][-1])
        images = int(state["run"][DATA[0]].partition(" ")[0].replace(",", ""))
        mean, batch = Mean(), state["run"]["batch"]
        for at, row in enumerate(row for row in rows if row.epoch == last.epoch):
            mean.add(min(batch, images - at * batch), row.loss, 0)
        if mean.loss != last.train_loss:
            return f"{path} holds the rows of another run"
    return ""


def _rows(path: Path, text: str, kind: type[Row]) -> Iterator[Row]:
    reader = csv.DictReader(text.splitlines())
    there = [field for field in fields(kind) if field.name in (reader.fieldnames or ())]
    missing = [field.name for field in fields(kind) if field not in there and field.default is MISSING]
    if missing and text:
        raise DataError(f"{path} has no column {missing[0]}; it is not the {path.name} of a run")
    for row in _csv_rows(path, reader):
        try:
            values: dict[str, Any] = {field.name: _number(field.type, row[field.name]) for field in there}
        except (TypeError, ValueError):
            raise DataError(f"{path}, line {reader.line_num}: not a row of numbers") from None
        yield kind(**values)


def _csv_rows(path: Path, reader: "csv.DictReader[str]") -> Iterator[dict[str, str]]:
    """The rows as texts. Raises DataError for a line that the format does not have."""
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:
            raise DataError(f"{path}, line {reader.line_num}: not a row of numbers") from None


def _number(kind: Any, text: str) -> float | None:
    if text == "" and NoneType in get_args(kind):
        return None
    return int(text) if kind is int else float(text)
