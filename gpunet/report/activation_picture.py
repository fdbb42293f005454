"""Pictures of what layers make of an image: some maps of every layer side by side, or all maps of one layer.

Source: CS231n "Convolutional Neural Networks", the figures of a VGG-style net's activations and of typical ones.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from gpunet.layers.batch_norm import BatchNorm
from gpunet.layers.conv import Conv
from gpunet.layers.elementwise import Elementwise
from gpunet.layers.layer import Layer
from gpunet.layers.local import LocallyConnected
from gpunet.layers.lrn import LRN
from gpunet.net.graph import INPUT
from gpunet.net.net import Net
from gpunet.report.canvas import INK, LINES, PALE, drawing, fit, new_figure, title
from gpunet.report.names import shortened, told_apart
from gpunet.report.tiles import GROUND, columns_for, shades, squared, tiled, viewable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 1500
"""Pixels."""

ACROSS, BANDS = 16, 3
"""Layers side by side, and rows of them in a picture."""

MAPS = {1: 8, 2: 6, 3: 4}
"""Maps of each layer, by how many rows of layers there are."""

MOST_MAPS = 400
"""Maps of one layer."""

TOP = 8
"""Classes whose probabilities are shown."""

BARS = 250
"""Pixels for them, on the right."""

BRIGHTEST = 99.5
"""Percent of a layer's values below its brightest shade: one spike must not leave all else dark."""

MARGIN, HEAD, NAMES = 40, 96, 44
"""Pixels around, above, and above each row for the layers' names."""


@drawing()
def draw_activations(
    net: Net, volumes: Mapping[str, np.ndarray], probabilities: np.ndarray, classes: Sequence[str], headline: str
) -> "Figure":
    """The volumes (H, W, D) by layer, the image among them as "input", and what the scores (C,) come to.

    Of the layers those that `shown_layers` names.
    """
    layers = shown_layers(net, volumes)
    chosen = [INPUT, *layers]
    bands = ceil(len(chosen) / ACROSS)
    across = ceil(len(chosen) / bands)
    maps = MAPS[bands]
    wide = min((WIDTH - 2 * MARGIN - BARS) / across, 150)
    high = NAMES + maps * (wide - 8) + 14
    height = round(HEAD + bands * high + 20)
    figure = new_figure(WIDTH, height)
    for at, name in enumerate(chosen):
        band, column = divmod(at, across)
        left, top = MARGIN + column * wide, HEAD + band * high
        _draw_layer(figure, name, volumes[name], maps, (left, top, wide - 8), height)
    top = HEAD + NAMES
    axes = figure.add_axes(((WIDTH - BARS) / WIDTH, 1 - (top + 300) / height, (BARS - 90) / WIDTH, 300 / height))
    _draw_bars(axes, probabilities, classes)
    left_out = "" if len(chosen) == len(volumes) else f"{len(layers)} of {len(volumes) - 1} layers; "
    span = f"from its lowest value (black) to its {BRIGHTEST}th percentile (white)"
    title(figure, headline, f"{left_out}the first {maps} maps of each, {span}")
    return figure


@drawing()
def draw_layer(volume: np.ndarray, headline: str) -> "Figure":
    """All maps of one volume (H, W, D), the first MOST_MAPS of them."""
    H, W, D = volume.shape
    tiles = _maps(volume)[:MOST_MAPS]
    room = WIDTH - 2 * MARGIN
    columns = columns_for(len(tiles), room, room * 0.66, tiles.shape[2] / tiles.shape[1])
    image = tiled(tiles, columns)
    scale = min(room / image.shape[1], 1000 / image.shape[0])
    wide, high = scale * image.shape[1], scale * image.shape[0]
    height = round(HEAD + high + MARGIN)
    figure = new_figure(WIDTH, height)
    axes = figure.add_axes((MARGIN / WIDTH, MARGIN / height, wide / WIDTH, high / height))
    _show(axes, image)
    first = f"the first {MOST_MAPS} of its " if len(tiles) < D and H * W > 1 else "its "
    zeros = float((volume == 0).mean())
    what = f"{first}{D:,} maps of {H}x{W}" if H * W > 1 else f"its {D:,} values, row by row"
    title(figure, headline, f"{what}, {_span(volume)}; {zeros:.0%} of the values are 0")
    return figure


def shown_layers(net: Net, volumes: Mapping[str, np.ndarray]) -> list[str]:
    """The layers that a picture of all shows; where there are too many, those that say most, evenly spread.

    The first and the last come before all; then what pools, merges or is fully connected; then convolutions.
    """
    layers = [node for node in net.nodes if node.name in volumes]
    chosen = {layers[0].name, layers[-1].name}
    for rank in range(3):
        more = [node.name for node in layers if node.name not in chosen and _rank(node.layer) == rank]
        chosen.update(spread(more, ACROSS * BANDS - 1 - len(chosen)))
    return [node.name for node in layers if node.name in chosen]


def spread(names: Sequence[str], most: int) -> list[str]:
    """All names, or `most` of them, evenly spread, the first and, but for one alone, the last among them."""
    if len(names) <= most:
        return list(names)
    return [names[round(at)] for at in np.linspace(0, len(names) - 1, most)]


def _rank(layer: Layer) -> int:
    """The lower, the more its output says of what became of the image."""
    if isinstance(layer, Elementwise | BatchNorm | LRN):
        return 2
    return 1 if isinstance(layer, Conv | LocallyConnected) else 0


def _maps(volume: np.ndarray) -> np.ndarray:
    """(n, h, w) shades of the maps of a volume (H, W, D); of one of 1x1xD the values in a square, as one map."""
    H, W, D = volume.shape
    finite = volume[np.isfinite(volume)]
    high = (_brightest(finite) or 1.0) if finite.size else None  # what is 0 everywhere is dead, and black
    if H * W == 1:
        values = squared(volume.reshape(-1))
        return np.where(np.arange(values.size).reshape(values.shape) < D, shades(values, high=high), np.nan)[np.newaxis]
    return shades(volume.transpose(2, 0, 1), high=high)


def _brightest(finite: np.ndarray) -> float:
    """The value that is white, and all above it."""
    high = float(np.percentile(finite, BRIGHTEST, method="higher"))
    return high if high > finite.min() else float(finite.max())


def _span(volume: np.ndarray) -> str:
    """Which values are black, and which white, in words."""
    finite = volume[np.isfinite(volume)]
    if not finite.size:
        return "none of them finite"
    low, high, most = float(finite.min()), _brightest(finite), float(finite.max())
    if low == most:
        return f"all of them {low:.4g}"
    above = f" and above; the highest is {most:.4g}" if high < most else ""
    return f"from {low:.4g} (black) to {high:.4g} (white{above})"


def _draw_layer(
    figure: "Figure", name: str, volume: np.ndarray, maps: int, box: tuple[float, float, float], height: int
) -> None:
    """A layer's name and size, and its first maps below one another; `box`: left, top, side, in pixels."""
    left, top, side = box
    H, W, D = volume.shape
    size = f"{H}x{W}x{D:,}" if H * W > 1 else f"{D:,}"
    for words, at, points, color in ((shortened(name, int(side / 8.8)), 12, 11, INK), (size, 29, 9, PALE)):
        figure.text(left / WIDTH, 1 - (top + at) / height, words, fontsize=points, color=color, va="center")
    tiles = viewable(volume[np.newaxis]) if name == INPUT and D == 3 else _maps(volume)
    for number, tile in enumerate(tiles[:maps]):
        shrunk = side / max(tile.shape[:2])
        wide, high = shrunk * tile.shape[1], shrunk * tile.shape[0]
        above = top + NAMES + number * side
        axes = figure.add_axes((left / WIDTH, 1 - (above + high - 4) / height, (wide - 4) / WIDTH, (high - 4) / height))
        _show(axes, tile)


def _show(axes: "Axes", image: np.ndarray) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    axes.set_facecolor(GROUND)  # where a square has no values left
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():  # what is white at the edge is seen
        spine.set_color(GROUND)


def _draw_bars(axes: "Axes", probabilities: np.ndarray, classes: Sequence[str]) -> None:
    """The most probable classes, the most probable on top."""
    top = np.argsort(-probabilities, kind="stable")[:TOP]
    axes.barh(range(len(top)), probabilities[top], color=[LINES[0]] + ["#9ecae1"] * (len(top) - 1), height=0.32)
    axes.set_xlim(0, 1)
    axes.set_ylim(TOP - 0.5, -0.7)
    axes.set_axis_off()
    names = told_apart(classes, 20)
    for row, label in enumerate(top):
        words = f"{names[label]}  {probabilities[label]:.1%}"
        weight = "bold" if row == 0 else "normal"
        fit(axes.text(0, row - 0.36, words, fontsize=11, color=INK, va="center", fontweight=weight), BARS - 10)
