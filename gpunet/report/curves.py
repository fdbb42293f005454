"""A picture of what runs measured: loss, accuracy and learning rate over epochs, or over steps."""

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from gpunet.report.canvas import INK, LINES, PALE, drawing, fit, log_ticks, new_figure, style, title
from gpunet.report.names import told_apart
from gpunet.train.history import History
from gpunet.train.metrics import StepMetrics, best

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 1200, 1000
"""Pixels; where the names of the runs take more than one row, the picture is higher."""

HEAD, FOOT, ROW = 150, 75, 24
"""Pixels above the curves, below them, and of a row of names."""

LEFT = 34
"""Pixels to the left of what the lines are."""

LETTER, KEY = 8.5, 62
"""Pixels that a letter of a name takes, and the line in its colour with the gap to the next."""

MOST_NAME = 58
"""Characters of a run's name: two of them go into a row."""

MOST_RUNS = len(LINES)

WORDS = {"val": "validation", "test": "test"}
"""What an epoch is judged by."""

POINTS = 400
"""The most points of a curve of steps; where there are more steps, each is the mean of several."""

WIDE = 30
"""A loss that falls to less than this part of what it was is drawn on a logarithmic axis."""


@drawing()
def draw_curves(runs: Sequence[History]) -> "Figure":
    """One run: its steps, the means of its epochs and its tests; of several, a colour each.

    Up to MOST_RUNS runs. Across go epochs; steps where a run has not finished one, whose steps are drawn.
    """
    names = told_apart(_labels(runs), MOST_NAME)
    columns = min(len(names), int((WIDTH - 2 * LEFT) / (KEY + LETTER * max(map(len, names)))))
    more = ROW * (ceil(len(names) / columns) - 1)
    height = HEIGHT + more
    figure = new_figure(WIDTH, height)
    loss, accuracy, rate = figure.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": (3, 3, 1.6), "hspace": 0.1})
    figure.subplots_adjust(left=0.085, right=0.975, top=1 - (HEAD + more) / height, bottom=FOOT / height)
    in_epochs = all(run.epochs for run in runs)
    alone = len(runs) == 1
    curves = [Curves(run, in_epochs=in_epochs, alone=alone) for run in runs]
    for color, one in zip(LINES, curves, strict=False):
        _draw_run(loss, accuracy, rate, one, color, alone=alone)
    for axes, label in ((loss, "loss"), (accuracy, "accuracy (%)"), (rate, "learning rate")):
        style(axes)
        axes.set_ylabel(label, fontsize=12, color=INK)
    _set_loss(loss)
    accuracy.set_ylim(top=min(101, accuracy.get_ylim()[1]))
    _set_across(rate, runs, in_epochs=in_epochs)
    figure.align_ylabels()
    _legend(figure, curves, 1 - (HEAD - 42 + more) / height, alone=alone)
    if not alone:
        _name_runs(figure, names, columns, 1 - 58 / height)
    title(figure, _headline(runs), "" if len(runs) > 1 else _summary(runs[0]))
    return figure


def binned(x: np.ndarray, y: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of at most so many points: means of runs of equally many, but for the last."""
    each = -(-len(x) // most) if len(x) else 1
    starts = np.arange(0, len(x), each)
    counts = np.diff([*starts, len(x)])
    if not len(x):
        return x, y
    return np.add.reduceat(x, starts) / counts, np.add.reduceat(y, starts) / counts


class Curves:
    """What is drawn of a run, and where: `across` the axis go epochs, or steps.

    `epochs`  those that have a place there: of a run without rows of steps nobody knows how many an epoch has
    `steps`   those that are drawn
    """

    def __init__(self, run: History, *, in_epochs: bool, alone: bool) -> None:
        each = run.steps_per_epoch
        self.epochs = run.epochs if in_epochs or each else ()
        self.rated = run.steps if each or not in_epochs else ()
        self.steps = self.rated if alone or not self.epochs else ()
        self._per_epoch, self._per_step = (1.0, 1.0 / (each or 1)) if in_epochs else (float(each or 1), 1.0)

    @property
    def binned(self) -> int:
        """How many steps a point of the curve stands for."""
        return -(-len(self.steps) // POINTS)

    def of_epochs(self, late: float = 0.0) -> np.ndarray:
        """Where the epochs ended, or so many epochs later."""
        return self._per_epoch * (np.array([row.epoch for row in self.epochs], float) + late)

    def of_steps(self, rows: Sequence[StepMetrics]) -> np.ndarray:
        return self._per_step * np.array([row.step for row in rows], float)


def _draw_run(loss: "Axes", accuracy: "Axes", rate: "Axes", run: Curves, color: str, *, alone: bool) -> None:
    """A run's lines: pale for steps, thin and broken for the training, thick for what epochs are judged by."""
    train, test = (LINES[1], LINES[0]) if alone else (color, color)
    for axes, scale, name in ((loss, 1, "loss"), (accuracy, 100, "accuracy")):
        if run.steps:
            values = scale * np.array([getattr(row, name) for row in run.steps], float)
            axes.plot(*binned(run.of_steps(run.steps), values, POINTS), color=train, lw=0.9, alpha=0.4)
        if run.epochs:
            marker = "o" if len(run.epochs) <= 40 else ""
            of_train = scale * np.array([getattr(row, f"train_{name}") for row in run.epochs])
            of_judged = scale * np.array([getattr(row, f"judged_{name}") for row in run.epochs])
            # The mean over an epoch was taken in its course: it stands in the epoch's middle.
            axes.plot(run.of_epochs(-0.5), of_train, color=train, lw=1.4, ls=(0, (4, 2)), marker=marker, ms=3.5)
            axes.plot(run.of_epochs(), of_judged, color=test, lw=2.2, marker=marker, ms=5, clip_on=False, zorder=3)
    color = INK if alone else color
    if run.rated:
        rate.plot(run.of_steps(run.rated), [row.learning_rate for row in run.rated], color=color, lw=1.6)
    else:
        rates = [row.learning_rate for row in run.epochs]
        rate.plot(run.of_epochs(), rates, color=color, lw=1.6, marker="o", ms=3)


def _set_loss(axes: "Axes") -> None:
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines])
    values = values[np.isfinite(values) & (values > 0)]
    if len(values) and values.max() > WIDE * values.min():
        axes.set_yscale("log")
        log_ticks(axes.yaxis, values.min(), values.max())
        axes.grid(axis="y", which="minor", color="#eceeef", lw=0.4)
        axes.tick_params(which="minor", left=False, labelleft=False)
    else:
        axes.set_ylim(bottom=0)


def _set_across(axes: "Axes", runs: Sequence[History], *, in_epochs: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_ylim(bottom=0)
    axes.margins(x=0)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=axes.get_xlim()[1] > 2))
    words = "epoch" if in_epochs else "step"
    each = {run.steps_per_epoch for run in runs}
    if in_epochs and len(each) == 1 and (count := each.pop()):
        words += f" ({count:,} steps each)"
    axes.set_xlabel(words, fontsize=12, color=INK)


def _legend(figure: "Figure", runs: Sequence[Curves], top: float, *, alone: bool) -> None:
    """What the kinds of line are that are there."""
    from matplotlib.lines import Line2D

    train, test = (LINES[1], LINES[0]) if alone else (PALE, PALE)
    lines = []
    if judges := _judges(runs):
        lines.append(Line2D([], [], color=test, lw=2.2, marker="o", ms=5, label=f"{judges}, after the epoch"))
    if any(run.epochs for run in runs):
        words = "training, mean over the epoch"
        lines.append(Line2D([], [], color=train, lw=1.4, ls=(0, (4, 2)), marker="o", ms=3.5, label=words))
    if each := {run.binned for run in runs if run.steps}:
        words = f"mean of {min(each):,} steps" if len(each) == 1 else "mean of some steps"
        words = f"training, {'each step' if each == {1} else words}"
        lines.append(Line2D([], [], color=train, lw=1, alpha=0.5, label=words))
    figure.legend(handles=lines, loc="center left", bbox_to_anchor=(LEFT / WIDTH, top), **_plain(len(lines)))


def _judges(runs: Sequence[Curves]) -> str:
    """What the epochs of these runs are judged by; "" where none is."""
    first = [run.epochs[0] for run in runs if run.epochs]
    return " or ".join(dict.fromkeys(WORDS[row.judged_by] for row in first if row.judged))


def _name_runs(figure: "Figure", names: Sequence[str], columns: int, top: float) -> None:
    """The colours of the runs."""
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=color, lw=3, label=name) for color, name in zip(LINES, names, strict=False)]
    legend = figure.legend(handles=lines, loc="upper left", bbox_to_anchor=(LEFT / WIDTH, top), **_plain(columns))
    for words in legend.get_texts():
        fit(words, (WIDTH - 2 * LEFT) / columns - KEY)


def _labels(runs: Sequence[History]) -> list[str]:
    """The names of the runs' folders, with as many of the folders around them as tell them apart."""
    paths = [(run.name,) if run.folder is None else run.folder.parts for run in runs]
    for count in range(1, max(map(len, paths))):
        labels = ["/".join(path[-count:]) for path in paths]
        if len(set(labels)) == len(set(paths)):
            return labels
    return [str(run.folder or run.name) for run in runs]


def _plain(columns: int) -> dict[str, Any]:
    return {
        "frameon": False,
        "fontsize": 11,
        "ncols": columns,
        "columnspacing": 1.6,
        "handletextpad": 0.6,
        "borderaxespad": 0,
    }


def _headline(runs: Sequence[History]) -> str:
    return runs[0].name if len(runs) == 1 else f"{len(runs)} runs"


def _summary(run: History) -> str:
    """Where the run ended, and its best epoch."""
    if not run.epochs:
        now = run.steps[-1]
        return f"no epoch finished yet; after step {now.step:,}: loss {now.loss:.4f}, accuracy {now.accuracy:.1%}"
    last, top = run.epochs[-1], best(list(run.epochs))
    if not last.judged:
        return f"after epoch {last.epoch:,}: training loss {last.train_loss:.4f}, accuracy {last.train_accuracy:.2%}"
    by = WORDS[last.judged_by]
    words = f"after epoch {last.epoch:,}: {by} loss {last.judged_loss:.4f}, {by} accuracy {last.judged_accuracy:.2%}"
    return words if top is last else f"{words}; best {top.judged_accuracy:.2%} after epoch {top.epoch:,}"
