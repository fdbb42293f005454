"""A picture of the images that a net was most wrong about."""

from collections.abc import Iterator, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpunet.net.words import encodable
from gpunet.report.canvas import INK, PALE, WRONG, drawing, fit, new_figure, title
from gpunet.report.names import shortened, told_apart
from gpunet.report.tiles import viewable
from gpunet.train.judge import Judged
from gpunet.values.visible import visible

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

MOST_FILE = 24
"""Characters of a file's name."""

MOST_NAME = 16
"""Characters of a class's name."""


@drawing()
def draw_mistakes(
    images: np.ndarray,
    judged: Judged,
    worst: np.ndarray,
    classes: Sequence[str],
    head: str,
    files: Sequence[Path | None] = (),
) -> "Figure":
    """Images (n, H, W, D) of which `worst` are the indices among all that were judged, in that order.

    `files`  of each, where it lies in one
    """
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
        _write(axes, judged, int(index), names, files[at] if files else None)
    wrong = len(judged) - judged.correct
    more = f"{len(worst):,} of the {wrong:,} among {len(judged):,} test images that were taken for another class"
    title(figure, head, more)
    return figure


def _draw_image(axes: "Axes", image: np.ndarray) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#aab2b9")


def _write(axes: "Axes", judged: Judged, index: int, names: Sequence[str], file: Path | None) -> None:
    """What the net said, what it is, how wrong that was, and which image it is."""
    label, said = int(judged.labels[index]), int(judged.predictions[index])
    which = f"image {index:,}" if file is None else shortened(file.name, MOST_FILE)
    lines = (
        (f"said {names[said]}, {percent(judged.probabilities[index])}", WRONG),
        (f"is {names[label]}, {percent(judged.label_probabilities[index])}", INK),
        (f"loss {judged.losses[index]:.3g}, {which}", PALE),
    )
    for number, (words, color) in enumerate(lines):
        written = axes.annotate(
            words, (0, 0), xycoords="axes fraction", xytext=(0, -9 - 12.5 * number), textcoords="offset points",
            fontsize=9.5, color=color, va="center",
        )  # fmt: skip
        fit(written, CELL + GAP - 6)


def mistake_lines(
    judged: Judged, worst: np.ndarray, classes: Sequence[str], files: Sequence[Path | None]
) -> Iterator[str]:
    """What each is, what the net said, and how sure it was; with its file, where it lies in one."""
    for index, file in zip(worst, files, strict=True):
        said, label = classes[judged.predictions[index]], classes[judged.labels[index]]
        sure, right = percent(judged.probabilities[index]), percent(judged.label_probabilities[index])
        which = f"image {index:,}" if file is None else f"image {index:,}, {visible(str(file))}"
        yield f"{which}: said {said} ({sure}), is {label} ({right}), loss {judged.losses[index]:.4f}"


def mistakes_json(
    judged: Judged, worst: np.ndarray, classes: Sequence[str], files: Sequence[Path | None]
) -> dict[str, Any]:
    """The same as plain values; `file` is null where images are arrays."""
    return {
        "images": len(judged),
        "correct": judged.correct,
        "mistakes": [
            {
                "image": int(index),
                "file": None if file is None else encodable(str(file)),
                "label": int(judged.labels[index]),
                "name": classes[judged.labels[index]],
                "said": int(judged.predictions[index]),
                "said_name": classes[judged.predictions[index]],
                "probability": float(judged.probabilities[index]),
                "label_probability": float(judged.label_probabilities[index]),
                "loss": float(judged.losses[index]),
            }
            for index, file in zip(worst, files, strict=True)
        ],
    }


def percent(probability: float) -> str:
    """With more digits near 0 and 1, which is said of neither that is not it."""
    if 0.1 <= probability <= 0.99 or probability in (0, 1):
        return f"{probability:.0%}"
    if probability < 1e-4:
        return "<0.01%"
    return ">99.99%" if probability > 0.9999 else f"{probability:.2%}"
