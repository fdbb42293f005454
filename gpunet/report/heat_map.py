"""Where on an image a class is: its probability in each crop, laid over the image at the middle of the crop."""

from collections.abc import Sequence
from math import ceil, sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gpunet.report.canvas import DPI, INK, drawing, fit, new_figure, save
from gpunet.report.names import told_apart
from gpunet.use.sliding import ScoreMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 3
"""Classes of which a map is drawn where none is named: the most probable ones."""

COLUMNS, PANEL = 3, 4.6
"""Panels that go in one row, and the inches of the longer side of one."""

NARROWEST = 2.6
"""Inches for a panel and its title."""

LETTER = 8.5
"""Pixels that a letter of a title takes."""

COLORS = "inferno"
CLEAR, DENSE = 0.15, 0.8
"""How much a probability of 0 and one of 1 hide of the image."""


def save_heat_map(
    picture: np.ndarray, scored: ScoreMap, labels: Sequence[int], names: Sequence[str], path: Path
) -> None:
    """Draw the image and a panel for each class into a PNG. Raises DataError where it cannot be written."""
    save(draw(picture, scored, labels, names), path)


@drawing()
def draw(picture: np.ndarray | None, scored: ScoreMap, labels: Sequence[int], names: Sequence[str]) -> "Figure":
    """The image, where there is one, and a panel for each class, all at the same scale and with the same colours."""
    shown = _blank(scored) if picture is None else picture
    panels = (picture is not None) + len(labels)
    columns = panels if panels <= COLUMNS else ceil(sqrt(panels))
    lines, longer = ceil(panels / columns), max(shown.shape[:2])
    width, height = (PANEL * side / longer for side in (shown.shape[1], shown.shape[0]))
    wide, high = columns * max(width, NARROWEST) + 1.2, lines * (height + 0.6) + 0.3
    figure = new_figure(round(wide * DPI), round(high * DPI))
    figure.set_layout_engine("constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for place in axes:
        place.set_axis_off()
    if picture is not None:
        _show(axes[0], picture, f"{picture.shape[0]}x{picture.shape[1]} pixels")
    room = DPI * max(width, NARROWEST)
    short = told_apart(names, int(room / LETTER) - len(": 99.9% on average"))
    for place, label in zip(axes[picture is not None :], labels, strict=False):
        _show(place, shown, f"{short[label]}: {scored.mean[label]:.1%} on average")
        fit(place.title, room)
        _overlay(place, scored, label)
    colors = axes[panels - 1].images[-1]
    figure.colorbar(colors, ax=axes, shrink=0.8, label="probability in the crop around")
    return figure


def _blank(scored: ScoreMap) -> np.ndarray:
    """(H, W, 1): white, as large as the part of an image that the crops see."""
    sizes = zip(scored.scores.shape, scored.crop, scored.stride, strict=False)
    H, W = (crop + (crops - 1) * stride for crops, crop, stride in sizes)
    return np.full((H, W, 1), 255, np.uint8)


def _show(axes: "Axes", picture: np.ndarray, title: str) -> None:
    shown = picture.squeeze(2) if picture.shape[2] == 1 else picture
    axes.imshow(shown, cmap="gray", vmin=0, vmax=255, extent=(0, picture.shape[1], picture.shape[0], 0))
    axes.set_title(title, fontsize=10, color=INK)


def _overlay(axes: "Axes", scored: ScoreMap, label: int) -> None:
    """Each crop as a cell of the stride's size around its middle."""
    values = scored.probabilities[:, :, label]
    top, left = ((crop - stride) / 2 for crop, stride in zip(scored.crop, scored.stride, strict=True))
    bottom, right = top + values.shape[0] * scored.stride[0], left + values.shape[1] * scored.stride[1]
    dense = CLEAR + (DENSE - CLEAR) * values
    limits = axes.axis()
    axes.imshow(
        values,
        cmap=COLORS,
        vmin=0,
        vmax=1,
        alpha=dense,
        extent=(left, right, bottom, top),
        interpolation="nearest",
    )
    axes.axis(limits)
