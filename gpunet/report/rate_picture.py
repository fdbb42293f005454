"""A picture of a learning-rate range test: loss over rate, the steepest descent, and where it diverges."""

from typing import TYPE_CHECKING

import numpy as np

from gpunet.report.canvas import INK, LINES, drawing, log_ticks, new_figure, style, title
from gpunet.report.rate_lines import plain
from gpunet.train.lr_find import RateTest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 1200, 720
"""Pixels."""


@drawing()
def draw_rates(found: RateTest) -> "Figure":
    """The losses, pale, and their smoothed curve with what is to be read from it."""
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.add_axes((0.075, 0.1, 0.9, 0.72))
    curve = found.smoothed
    axes.set_xscale("log")
    axes.plot(found.rates, found.losses, color=LINES[0], lw=0.9, alpha=0.4)
    axes.plot(found.rates, curve, color=LINES[0], lw=2.4)
    last = float(found.diverged or found.rates[-1])
    axes.set_xlim(found.rates[0], last)
    log_ticks(axes.xaxis, float(found.rates[0]), last)
    _set_losses(axes, min(curve.min(), found.losses.min()), curve.max())
    style(axes)
    axes.set_xlabel("learning rate", fontsize=12, color=INK)
    axes.set_ylabel("loss of the batch", fontsize=12, color=INK)
    if found.suggestion is not None:
        _mark(axes, found, found.suggestion, "steepest descent", LINES[1])
        _mark(axes, found, found.lowest, "lowest", LINES[2])
    title(figure, f"{found.net}: range test of the learning rate", _note(found))
    return figure


def _set_losses(axes: "Axes", low: float, high: float) -> None:
    """The axis of the loss, with room for words above and below the curve."""
    span = high - low or 1
    limits = low - 0.2 * span, high + 0.25 * span
    axes.set_ylim(limits)
    axes.set_yticks([tick for tick in axes.get_yticks() if low < 0 or tick >= 0])
    axes.set_ylim(limits)


def _mark(axes: "Axes", found: RateTest, rate: float, words: str, color: str) -> None:
    """A dot on the curve, and words where the curve, which falls to its lowest, is not: above on the right or below."""
    at = float(np.interp(np.log(rate), np.log(found.rates), found.smoothed))
    early = np.log(rate / found.rates[0]) < 0.85 * np.log(found.rates[-1] / found.rates[0])
    above = early and rate < found.lowest
    axes.plot([rate], [at], marker="o", ms=9, color=color, zorder=4)
    axes.annotate(
        f"{words}\n{plain(rate)}", (rate, at), xytext=(10 if early else -10, 10 if above else -10),
        textcoords="offset points", fontsize=12, color=color, fontweight="bold", zorder=5,
        ha="left" if early else "right", va="bottom" if above else "top",
        bbox={"boxstyle": "round,pad=0.18", "facecolor": "white", "edgecolor": "none", "alpha": 0.82},
    )  # fmt: skip


def _note(found: RateTest) -> str:
    steps = len(found.losses)
    end = (
        f"diverges at {plain(found.diverged)}" if found.diverged else f"does not diverge up to {plain(found.rates[-1])}"
    )
    return f"{steps:,} steps, each at a higher rate than the one before; it {end}"
