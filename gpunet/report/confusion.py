"""A picture of a confusion matrix: which classes a net takes for which."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gpunet.report.canvas import INK, PALE, drawing, new_figure, title
from gpunet.report.names import told_apart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEAD, LABELS = 1100, 100, 84
"""Pixels of the picture across, at least, above the matrix, and for the axes' words and what is around them."""

NONE = "#e9e9e6"
"""The shade of rows without images."""

LETTER = 0.88
"""Pixels that a letter takes, as a part of its size in points."""

WRITTEN = 25
"""The most classes whose counts are written into the cells."""

SMALLEST, LARGEST = 7, 15
"""Points of the counts in the cells."""

NAMED = 60
"""The most classes whose names are written."""

MOST_NAME = 18
"""Characters of a class's name."""

MOST_WORDS = 120
"""Characters of the line under the headline."""


@drawing()
def draw_confusion(counts: np.ndarray, classes: Sequence[str], headline: str) -> "Figure":
    """Labels in rows, predictions in columns; a cell's shade is its part of the row's images.

    counts  (C, C) integers;  classes  the C names
    """
    names = told_apart(classes, MOST_NAME)
    longest = max(map(len, names)) if len(names) <= NAMED else 4
    size = 12 if len(names) <= WRITTEN else 7.5
    left = LABELS + LETTER * size * (longest + len(f" ({counts.sum(axis=1).max():,})"))
    bottom = LABELS + LETTER * size * longest
    side = WIDTH - left - 40
    if len(names) <= WRITTEN:
        side = max(side, len(names) * _cell(counts, SMALLEST))
    width, height = round(left + side + 40), round(HEAD + side + bottom)
    figure = new_figure(width, height)
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    _draw_cells(axes, counts, side)
    _name_axes(axes, counts, names, size)
    images, right = int(counts.sum()), int(counts.trace())
    note = f"{right:,} of {images:,} images right, {right / max(images, 1):.2%}"
    for mistake in confusions(counts, names, 3):
        if len(note) + len(mistake) < MOST_WORDS:
            note += f"; {mistake}"
    title(figure, headline, note)
    return figure


def fractions(counts: np.ndarray) -> np.ndarray:
    """(C, C) each cell's part of its row's images; NaN in rows without any."""
    with np.errstate(invalid="ignore"):
        return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def confusions(counts: np.ndarray, classes: Sequence[str], most: int) -> list[str]:
    """The most frequent mistakes in words, like "8 taken for 1: 5", the first label's first where they are as many."""
    wrong = counts * (1 - np.eye(len(counts), dtype=counts.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    found = [(classes[row], classes[column], int(wrong[row, column])) for row, column in pairs]
    return [f"{label} taken for {said}: {count:,}" for label, said, count in found if count]


def _cell(counts: np.ndarray, points: float) -> float:
    """Pixels that a cell needs for the largest count at that size."""
    return LETTER * points * max(2, len(str(counts.max()))) + 12


def _draw_cells(axes: "Axes", counts: np.ndarray, side: float) -> None:
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    ramp = LinearSegmentedColormap.from_list("shades", ["#ffffff", "#9ecae1", "#3a87bd", "#08306b"])
    parts = fractions(counts)
    # The root brings the few mistakes of a good net into sight.
    cells = np.ma.masked_invalid(parts)
    axes.imshow(cells, cmap=ramp.with_extremes(bad=NONE), norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    if len(counts) <= WRITTEN:
        size = min(LARGEST, max(SMALLEST, LARGEST * side / len(counts) / _cell(counts, LARGEST)))
        for row, column in np.argwhere(counts):
            color = "white" if parts[row, column] > 0.25 else INK
            axes.text(column, row, str(counts[row, column]), fontsize=size, color=color, ha="center", va="center")


def _name_axes(axes: "Axes", counts: np.ndarray, names: list[str], size: float) -> None:
    """Names along both axes, images of each label on the left; of very many classes only some numbers."""
    n = len(names)
    if n <= NAMED:
        totals = counts.sum(axis=1)
        upright = 90 if max(map(len, names)) > 3 else 0
        axes.set_xticks(range(n), names, fontsize=size, rotation=upright)
        axes.set_yticks(range(n), [f"{name} ({total:,})" for name, total in zip(names, totals, strict=True)])
        axes.tick_params(axis="y", labelsize=size)
        axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="#e3e6e8", lw=0.8 if n <= WRITTEN else 0.4)
    axes.tick_params(which="both", length=0, colors=PALE)
    axes.set_xlabel("prediction", fontsize=13, color=INK)
    axes.set_ylabel("label (images)" if n <= NAMED else "label", fontsize=13, color=INK)
    for spine in axes.spines.values():
        spine.set_color("#aab2b9")
