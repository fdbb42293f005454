"""What a run's history looks like: a line, a row for each epoch, and plain values."""

from dataclasses import asdict, fields
from math import isfinite
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gpunet.report.figures import NOTHING
from gpunet.train.history import History
from gpunet.train.metrics import EpochMetrics, StepMetrics

Row = EpochMetrics | StepMetrics

MOST_STEPS = 20
"""Steps that are shown where no epoch was finished: the last ones."""


def history_line(history: History) -> str:
    """How far the run came, in one line."""
    steps = f"{len(history.steps):,} steps"
    if not history.epochs:
        return f"{history.name}: {steps}, no epoch finished"
    last = history.epochs[-1]
    said = [f"{name.replace('_', ' ')} {_cell(name, getattr(last, name))}" for name in _columns([last])[1:]]
    figures = ", ".join(one for one in said if "loss" in one or "accuracy" in one)
    epochs = f"{len(history.epochs):,} epoch{'' if len(history.epochs) == 1 else 's'}"
    return f"{history.name}: {epochs}, {figures}"


def history_parts(history: History) -> list[Table | str]:
    """A history, ready to show."""
    return [history_line(history), "", history_table(history)]


def history_table(history: History) -> Table:
    """A row for each epoch; of a run that has finished none, for each of its last steps."""
    rows: list[Row] = list(history.epochs or history.steps[-MOST_STEPS:])
    columns = _columns(rows)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(name.replace("_", "\n", 1).replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(_cell(name, getattr(row, name)) for name in columns))
    return table


def history_json(history: History) -> dict[str, Any]:
    """All of a history; a number that nobody measured is null."""
    return {
        "name": history.name,
        "folder": None if history.folder is None else str(history.folder),
        "epochs": [_known(row) for row in history.epochs],
        "steps": [_known(row) for row in history.steps],
    }


def _columns(rows: list[Row]) -> list[str]:
    """The names of what was measured in any of the rows."""
    names = [field.name for field in fields(rows[0])]
    return [name for name in names if any(_is_known(getattr(row, name)) for row in rows)]


def _known(row: Row) -> dict[str, Any]:
    return {name: value if _is_known(value) else None for name, value in asdict(row).items()}


def _is_known(value: Any) -> bool:
    return value is not None and isfinite(value)


def _cell(name: str, value: Any) -> str:
    if not _is_known(value):
        return NOTHING
    if "accuracy" in name:
        return f"{value:.2%}"
    if name in ("images_per_second", "epoch", "step"):
        return f"{value:,.0f}"
    return f"{value:.1f}" if name == "seconds" else f"{value:.3g}" if "rate" in name else f"{value:.4f}"
