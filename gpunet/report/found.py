"""What was found on a page: the page, where something is, and what it was told to be."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gpunet.report.canvas import INK, RIGHT, WRONG, drawing, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Mark = tuple[int, int, str, bool]
"""Row and column of the first pixel of what was found, what it was told to be, and whether that is right."""

ZOOM = 5
"""Pixels of the picture for one of the page."""


def save_found(
    picture: np.ndarray, chances: np.ndarray, start: tuple[float, float], marks: Sequence[Mark], side: int, path: Path
) -> None:
    """Draw `draw_found` into a PNG. Raises DataError where it cannot be written."""
    save(draw_found(picture, chances, start, marks, side), path)


@drawing()
def draw_found(
    picture: np.ndarray, chances: np.ndarray, start: tuple[float, float], marks: Sequence[Mark], side: int
) -> "Figure":
    """The page (H, W, 1), the chance that something is at each pixel from `start` on, and `marks` of `side` pixels."""
    H, W, _ = picture.shape
    figure = new_figure(3 * W * ZOOM + 80, H * ZOOM + 60)
    figure.set_layout_engine("constrained")
    page, where, told = figure.subplots(1, 3)
    _show(page, picture, "the page")
    _show(where, picture, "how probable any digit is, around each pixel")
    top, left = start
    extent = (left - 0.5, left + chances.shape[1] - 0.5, top + chances.shape[0] - 0.5, top - 0.5)
    where.imshow(chances, cmap="inferno", vmin=0, vmax=1, extent=extent, interpolation="nearest")
    where.set_xlim(page.get_xlim())
    where.set_ylim(page.get_ylim())
    correct = sum(mark[3] for mark in marks)
    _show(told, picture // 2 + 127, f"what was found: {correct} right (blue), {len(marks) - correct} wrong (orange)")
    for mark in marks:
        _box(told, mark, side)
    return figure


def _show(axes: "Axes", picture: np.ndarray, words: str) -> None:
    axes.imshow(picture[..., 0], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_title(words, fontsize=12, color=INK)
    axes.set_axis_off()


def _box(axes: "Axes", mark: Mark, side: int) -> None:
    from matplotlib.patches import Rectangle

    row, column, words, right = mark
    color = RIGHT if right else WRONG
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), side, side, fill=False, edgecolor=color, lw=1.2))
    axes.text(column + side - 0.3, row - 0.3, words, color=color, fontsize=11, fontweight="bold", va="top", ha="left")
