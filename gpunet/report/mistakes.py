"""A picture of the images that a net was most wrong about."""

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from gpunet.report.canvas import INK, PALE, RIGHT, WRONG, drawing, fit, new_figure, title
from gpunet.report.names import told_apart
from gpunet.report.tiles import viewable
from gpunet.train.judge import Judged

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL, WORDS = 200, 66
"""Pixels of an image's side, and of the words under it."""

GAP = 16
"""Pixels between two images."""

COLUMNS = 6
MOST = 60
"""Images of a picture."""

MOST_NAME = 16
"""Characters of a class's name."""


@drawing()
def draw_mistakes(images: np.ndarray, judged: Judged, worst: np.ndarray, classes: Sequence[str], head: str) -> "Figure":
    """Images (n, H, W, D) of which `worst` are the indices among all that were judged, in that order."""
    columns = max(4, min(COLUMNS, len(worst)))
    rows = ceil(len(worst) / columns)
    width, height = columns * (CELL + GAP) + 64, rows * (CELL + WORDS) + 120
    figure = new_figure(width, height)
    seen, names = viewable(images), told_apart(classes, MOST_NAME)
    for at, index in enumerate(worst):
        row, column = divmod(at, columns)
        left, top = 40 + column * (CELL + GAP), 96 + row * (CELL + WORDS)
        axes = figure.add_axes((left / width, 1 - (top + CELL) / height, CELL / width, CELL / height))
        _draw_image(axes, seen[at])
        _write(axes, judged, int(index), names)
    wrong = len(judged) - judged.correct
    more = f"the highest losses of {len(judged):,} test images, {wrong:,} of them taken for another class"
    if (judged.labels[worst] == judged.predictions[worst]).any():
        more += "; blue: right all the same"
    title(figure, head, more)
    return figure


def _draw_image(axes: "Axes", image: np.ndarray) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#aab2b9")


def _write(axes: "Axes", judged: Judged, index: int, names: Sequence[str]) -> None:
    """What the net said, what it is, and how wrong that was."""
    label, said = int(judged.labels[index]), int(judged.predictions[index])
    right = label == said
    lines = (
        (f"said {names[said]}, {percent(judged.probabilities[index])}", WRONG),
        (f"is {names[label]}, {percent(judged.label_probabilities[index])}", INK),
        (f"loss {judged.losses[index]:.3g}, image {index:,}", PALE),
    )
    for number, (words, color) in enumerate(lines):
        written = axes.annotate(
            words, (0, 0), xycoords="axes fraction", xytext=(0, -9 - 12.5 * number), textcoords="offset points",
            fontsize=9.5, color=RIGHT if right and number == 0 else color, va="center",
        )  # fmt: skip
        fit(written, CELL + GAP - 6)


def percent(probability: float) -> str:
    """With more digits near 0 and 1, which is said of neither that is not it."""
    if 0.1 <= probability <= 0.99 or probability in (0, 1):
        return f"{probability:.0%}"
    if probability < 1e-4:
        return "<0.01%"
    return ">99.99%" if probability > 0.9999 else f"{probability:.2%}"
