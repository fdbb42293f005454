"""A picture of a learning-rate range test: loss over rate, where it is lowest, and what that suggests."""

from typing import TYPE_CHECKING

import numpy as np

from gpunet.report.canvas import INK, LINES, drawing, log_ticks, new_figure, style, title
from gpunet.report.rate_lines import plain
from gpunet.train.lr_find import RateTests

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 1200, 720
"""Pixels."""


@drawing()
def draw_rates(found: RateTests) -> "Figure":
    """The losses of the tests, pale, and their smoothed curves with what is to be read from them."""
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.add_axes((0.075, 0.1, 0.9, 0.72))
    axes.set_xscale("log")
    for test in found.tests:
        axes.plot(test.rates, test.losses, color=LINES[0], lw=0.9, alpha=0.4 / len(found.tests))
        axes.plot(test.rates, test.smoothed, color=LINES[0], lw=2.4)
    first, last = float(found.tests[0].rates[0]), max(float(test.diverged or test.rates[-1]) for test in found.tests)
    axes.set_xlim(first, last)
    log_ticks(axes.xaxis, first, last)
    low = min(min(test.smoothed.min(), test.losses.min()) for test in found.tests)
    _set_losses(axes, low, max(test.smoothed.max() for test in found.tests))
    style(axes)
    axes.set_xlabel("learning rate", fontsize=12, color=INK)
    axes.set_ylabel("loss of the batch", fontsize=12, color=INK)
    if found.suggestion is not None:
        _mark(axes, found, found.lowest, "lowest", LINES[2], before=True)
        _mark(axes, found, found.suggestion, "to begin with", LINES[1], before=False)
    title(figure, f"{found.net}: range test of the learning rate", _note(found))
    return figure


def _set_losses(axes: "Axes", low: float, high: float) -> None:
    """The axis of the loss, with room for words below the curve."""
    span = high - low or 1
    limits = low - 0.25 * span, high + 0.1 * span
    axes.set_ylim(limits)
    axes.set_yticks([tick for tick in axes.get_yticks() if low < 0 or tick >= 0])
    axes.set_ylim(limits)


def _mark(axes: "Axes", found: RateTests, rate: float, words: str, color: str, *, before: bool) -> None:
    """A dot on the first curve, and words below it: before the dot, or behind it unless it stands at the end."""
    first = found.tests[0]
    at = float(np.interp(np.log(rate), np.log(first.rates), first.smoothed))
    low, high = (float(np.log(end)) for end in axes.get_xlim())
    behind = not before and np.log(rate) < low + 0.85 * (high - low)
    axes.plot([rate], [at], marker="o", ms=9, color=color, zorder=4)
    axes.annotate(
        f"{words}\n{plain(rate)}", (rate, at), xytext=(12 if behind else -12 if before else -140, -12),
        textcoords="offset points", fontsize=12, color=color, fontweight="bold", zorder=5,
        ha="left" if behind else "right", va="top",
        bbox={"boxstyle": "round,pad=0.18", "facecolor": "white", "edgecolor": "none", "alpha": 0.82},
    )  # fmt: skip


def _note(found: RateTests) -> str:
    steps, count = sum(len(test.losses) for test in found.tests), len(found.tests)
    last = plain(found.tests[0].rates[-1])
    end = f"diverges at {plain(found.diverged)}" if found.diverged else f"does not diverge up to {last}"
    tests = "" if count == 1 else f" in {count} tests"
    return f"{steps:,} steps{tests}, each at a higher rate than the one before; it {end}"
