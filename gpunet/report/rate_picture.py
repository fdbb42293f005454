"""A picture of a learning-rate range test: loss over rate, the steepest descent, and where it diverges."""

from typing import TYPE_CHECKING

import numpy as np

from gpunet.report.canvas import INK, LINES, new_figure, style, title
from gpunet.train.lr_find import RateTest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 1200, 720
"""Pixels."""


def draw_rates(found: RateTest) -> "Figure":
    """The losses, pale, and their smoothed curve with what is to be read from it."""
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.add_axes((0.075, 0.1, 0.9, 0.72))
    curve = found.smoothed
    axes.set_xscale("log")
    axes.plot(found.rates, found.losses, color=LINES[0], lw=0.9, alpha=0.4)
    axes.plot(found.rates, curve, color=LINES[0], lw=2.4)
    axes.set_xlim(found.rates[0], found.diverged or found.rates[-1])
    high, low = float(curve.max()), float(min(curve.min(), found.losses.min()))
    axes.set_ylim(max(0.0, low - 0.1 * (high - low)), high + 0.25 * (high - low or 1))
    style(axes)
    axes.set_xlabel("learning rate", fontsize=12, color=INK)
    axes.set_ylabel("loss of the batch", fontsize=12, color=INK)
    for rate, words, color in _marks(found):
        at = float(np.interp(np.log(rate), np.log(found.rates), curve))
        early = np.log(rate / found.rates[0]) < 0.85 * np.log(found.rates[-1] / found.rates[0])
        axes.plot([rate], [at], marker="o", ms=9, color=color, zorder=4)
        axes.annotate(
            f"{words}\n{rate:.2g}", (rate, at), xytext=(10 if early else -10, 10), textcoords="offset points",
            fontsize=12, color=color, fontweight="bold", ha="left" if early else "right", va="bottom", zorder=5,
            bbox={"boxstyle": "round,pad=0.18", "facecolor": "white", "edgecolor": "none", "alpha": 0.82},
        )  # fmt: skip
    title(figure, f"{found.net}: range test of the learning rate", _note(found))
    return figure


def _marks(found: RateTest) -> list[tuple[float, str, str]]:
    marks = [(found.lowest, "lowest", LINES[2])]
    if found.suggestion is None:
        return []
    return [(found.suggestion, "steepest descent", LINES[1]), *marks]


def _note(found: RateTest) -> str:
    steps = len(found.losses)
    end = f"diverges at {found.diverged:.2g}" if found.diverged else f"does not diverge up to {found.rates[-1]:.2g}"
    return f"{steps:,} steps, each at a higher rate than the one before; it {end}"
