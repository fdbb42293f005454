"""A picture of a layer's filters, as the notes show the 96 of AlexNet's first layer. Source: CS231n "Convolutional
Neural Networks", figure of the filters that Krizhevsky et al. learnt."""

from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from gpunet.report.canvas import INK, PALE, drawing, new_figure, title
from gpunet.report.tiles import columns_for, shades, tiled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, TALLEST = 1200, 1000
"""Pixels of the picture, and of the tiles in it."""

MOST = 400
"""Filters of a picture."""

DEEP_ROWS, DEEP_MAPS = 10, 16
"""Rows of maps, and maps in each, where filters are too deep to be images."""


@drawing()
def draw_filters(w: np.ndarray, headline: str) -> "Figure":
    """Filters (K, F, F, D): as grey (D=1) or RGB (D=3) images; deeper ones as rows of maps, those of 1x1 as a matrix.

    Each filter is brought to the full range of shades by itself, so shades say nothing of one against another.
    """
    K, rows, columns, D = w.shape
    size = f"{K:,} filters of {rows}x{columns}x{D:,}"
    if rows == columns == 1:
        return _draw_matrix(w.reshape(K, D), f"{headline}: {size}")
    if D in (1, 3):
        tiles = np.stack([shades(one) for one in w[:MOST]])
        shown = "" if K <= MOST else f"the first {MOST} of them; "
        across = columns_for(len(tiles), WIDTH, TALLEST * 0.8, columns / rows)
        note = f"{shown}each brought to its own full range of {'colours' if D == 3 else 'shades'}"
        image = tiled(tiles[..., 0] if D == 1 else tiles, across)
        return _framed(image, f"{headline}: {size}", note)
    return _draw_deep(w, headline, size)


def _draw_deep(w: np.ndarray, headline: str, size: str) -> "Figure":
    """The first maps of the first filters: in each row one, or several with an empty place between two."""
    K, rows, columns, D = w.shape
    maps = min(D, DEEP_MAPS)
    across = min(K, (DEEP_MAPS + 1) // (maps + 1) or 1)
    few = min(K, across * DEEP_ROWS)
    places = np.full((ceil(few / across) * across, maps + 1, rows, columns), np.nan)
    places[:few, :maps] = [shades(one).transpose(2, 0, 1)[:maps] for one in w[:few]]
    lines = places.reshape(-1, across * (maps + 1), rows, columns)[:, :-1]
    image = tiled(lines.reshape(-1, rows, columns), lines.shape[1])
    which = "" if few == K else f"the first {few} of them; "
    which += f"{across} filters in a row, " if across > 1 else "a filter in each row, "
    which += "all maps of each" if maps == D else f"the first {maps} maps of each"
    return _framed(image, f"{headline}: {size}", f"{which}; each filter brought to its own full range of shades")


def _framed(image: np.ndarray, headline: str, note: str) -> "Figure":
    """A large image of tiles under a headline."""
    side = WIDTH - 80
    scale = min(side / image.shape[1], TALLEST / image.shape[0])
    width, height = ceil(scale * image.shape[1]), ceil(scale * image.shape[0])
    figure = new_figure(WIDTH, height + 130)
    axes = figure.add_axes((40 / WIDTH, 40 / (height + 130), width / WIDTH, height / (height + 130)))
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    title(figure, headline, note)
    return figure


def _draw_matrix(w: np.ndarray, headline: str) -> "Figure":
    """(K, D): filters of one position are columns of numbers, shown as the matrix that they are."""
    figure = new_figure(WIDTH, 900)
    axes = figure.add_axes((0.075, 0.08, 0.83, 0.8))
    largest = float(np.abs(w).max()) or 1.0
    seen = axes.imshow(w, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest", aspect="auto")
    axes.set_xlabel("map of the input", fontsize=12, color=INK)
    axes.set_ylabel("filter", fontsize=12, color=INK)
    axes.tick_params(labelsize=11, colors=PALE, length=3)
    bar = figure.colorbar(seen, cax=figure.add_axes((0.925, 0.08, 0.016, 0.8)))
    bar.ax.tick_params(labelsize=11, colors=PALE, length=3)
    bar.outline.set_edgecolor("#aab2b9")
    title(figure, headline, "a filter of 1x1 is a weight for each map: blue is negative, white 0, red positive")
    return figure
