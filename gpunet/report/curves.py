"""A picture of what runs measured: loss, accuracy and learning rate over epochs, or over steps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gpunet.report.canvas import INK, LINES, PALE, new_figure, shortened, style, title
from gpunet.train.history import History
from gpunet.train.metrics import best

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 1200, 1000
"""Pixels."""

MOST_RUNS = len(LINES)

POINTS = 400
"""The most points of a curve of steps; where there are more steps, each is the mean of several."""

WIDE = 30
"""A loss that falls to less than this part of what it was is drawn on a logarithmic axis."""


def draw_curves(runs: Sequence[History]) -> "Figure":
    """One run: its steps, the means of its epochs and its tests; of several, a colour each and no steps.

    Up to MOST_RUNS runs. Across go epochs; steps where a run has not finished one.
    """
    figure = new_figure(WIDTH, HEIGHT)
    loss, accuracy, rate = figure.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": (3, 3, 1.6), "hspace": 0.1})
    figure.subplots_adjust(left=0.085, right=0.975, top=0.85, bottom=0.075)
    in_epochs = all(run.epochs for run in runs)
    for color, run in zip(LINES, runs, strict=False):
        _draw_run(loss, accuracy, rate, run, color, in_epochs=in_epochs, alone=len(runs) == 1)
    for axes, label in ((loss, "loss"), (accuracy, "accuracy (%)"), (rate, "learning rate")):
        style(axes)
        axes.set_ylabel(label, fontsize=12, color=INK)
    _set_loss(loss)
    accuracy.set_ylim(top=min(101, accuracy.get_ylim()[1]))
    _set_across(rate, runs, in_epochs=in_epochs)
    figure.align_ylabels()
    _legend(figure, runs)
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


def _draw_run(
    loss: "Axes", accuracy: "Axes", rate: "Axes", run: History, color: str, *, in_epochs: bool, alone: bool
) -> None:
    """A run's lines: pale for steps, thin and broken for the training, thick for the test."""
    per_epoch = run.steps_per_epoch
    steps = np.array([row.step for row in run.steps], float) / (per_epoch or 1 if in_epochs else 1)
    shown = run.steps if per_epoch or not in_epochs else ()
    steps = steps[: len(shown)]
    train, test = (LINES[1], LINES[0]) if alone else (color, color)
    epochs = np.array([row.epoch for row in run.epochs], float)
    for axes, scale, name in ((loss, 1, "loss"), (accuracy, 100, "accuracy")):
        if alone or not in_epochs:
            values = scale * np.array([getattr(row, name) for row in shown], float)
            axes.plot(*binned(steps, values, POINTS), color=train, lw=0.9, alpha=0.4)
        if in_epochs:
            marker = "o" if len(epochs) <= 40 else ""
            of_train = scale * np.array([getattr(row, f"train_{name}") for row in run.epochs])
            of_test = scale * np.array([getattr(row, f"test_{name}") for row in run.epochs])
            # The mean over an epoch was taken in its course: it stands in the epoch's middle.
            axes.plot(epochs - 0.5, of_train, color=train, lw=1.4, ls=(0, (4, 2)), marker=marker, ms=3.5)
            axes.plot(epochs, of_test, color=test, lw=2.2, marker=marker, ms=5, clip_on=False, zorder=3)
    if len(shown):
        rate.plot(steps, [row.learning_rate for row in shown], color=color if not alone else INK, lw=1.6)
    else:
        rates = [row.learning_rate for row in run.epochs]
        rate.plot(epochs, rates, color=color if not alone else INK, lw=1.6, marker="o", ms=3)


def _set_loss(axes: "Axes") -> None:
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines])
    values = values[np.isfinite(values) & (values > 0)]
    if len(values) and values.max() > WIDE * values.min():
        axes.set_yscale("log")
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


def _legend(figure: "Figure", runs: Sequence[History]) -> None:
    """What the kinds of line are, and the colours of the runs."""
    from matplotlib.lines import Line2D

    alone = len(runs) == 1
    train, test = (LINES[1], LINES[0]) if alone else (PALE, PALE)
    lines = [
        Line2D([], [], color=test, lw=2.2, marker="o", ms=5, label="test, after the epoch"),
        Line2D([], [], color=train, lw=1.4, ls=(0, (4, 2)), marker="o", ms=3.5, label="training, mean over the epoch"),
    ]
    if alone and runs[0].steps:
        each = -(-len(runs[0].steps) // POINTS)
        words = "training, each step" if each == 1 else f"training, mean of {each:,} steps"
        lines.append(Line2D([], [], color=train, lw=1, alpha=0.5, label=words))
    if not alone:
        colors = zip(LINES, runs, strict=False)
        most = int((WIDTH / len(runs) - 60) / 8.5)
        names = [Line2D([], [], color=color, lw=3, label=shortened(run.name, most)) for color, run in colors]
        figure.legend(handles=names, loc="center left", bbox_to_anchor=(0.024, 0.932), **_plain(len(names)))
    figure.legend(handles=lines, loc="center left", bbox_to_anchor=(0.024, 0.89), **_plain(len(lines)))


def _plain(columns: int) -> dict[str, Any]:
    return {"frameon": False, "fontsize": 11, "ncols": columns, "columnspacing": 1.6, "handletextpad": 0.6}


def _headline(runs: Sequence[History]) -> str:
    return runs[0].name if len(runs) == 1 else f"{len(runs)} runs"


def _summary(run: History) -> str:
    """Where the run ended, and its best epoch."""
    if not run.epochs:
        now = run.steps[-1]
        return f"no epoch finished yet; after step {now.step:,}: loss {now.loss:.4f}, accuracy {now.accuracy:.1%}"
    last, top = run.epochs[-1], best(list(run.epochs))
    words = f"after epoch {last.epoch:,}: test loss {last.test_loss:.4f}, test accuracy {last.test_accuracy:.2%}"
    return words if top is last else f"{words}; best {top.test_accuracy:.2%} after epoch {top.epoch:,}"
