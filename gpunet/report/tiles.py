"""Many small images as one: shades from values, and tiles in rows and columns."""

from math import ceil, sqrt

import numpy as np


def shades(values: np.ndarray, low: float | None = None, high: float | None = None) -> np.ndarray:
    """Values brought to 0..1, float64: `low`, or the lowest, to 0, `high`, or the highest, to 1; all equal: 0.5.

    What is no finite number becomes 0.
    """
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return np.zeros(values.shape)
    low = float(finite.min()) if low is None else low
    high = float(finite.max()) if high is None else high
    if high <= low:
        return np.full(values.shape, 0.5)
    known = np.nan_to_num(values.astype(np.float64), nan=low, posinf=low, neginf=low)
    return np.asarray(np.clip((known - low) / (high - low), 0, 1))


def columns_for(count: int, width: float, height: float, aspect: float = 1.0) -> int:
    """How many columns bring so many tiles, `aspect` times as wide as high, into a room of that width and height."""
    best = sqrt(count * width / (height * aspect))
    return min(
        count, max(1, min((ceil(best), int(best)), key=lambda n: _waste(count, max(n, 1), width, height, aspect)))
    )


def _waste(count: int, columns: int, width: float, height: float, aspect: float) -> float:
    """The lower, the larger the tiles."""
    rows = ceil(count / columns)
    return -min(width / (columns * aspect), height / rows)


SMALLEST, GAP = 36, 3
"""Pixels of a tile's side, which grows by whole factors, and between tiles."""

GROUND = (0.80, 0.87, 0.93)
"""Between tiles: no grey, so that it is neither black nor white."""


def tiled(tiles: np.ndarray, columns: int) -> np.ndarray:
    """Tiles (n, h, w) or (n, h, w, 3), row by row on GROUND, as one RGB image. NaN: GROUND; no tile: white."""
    tiles = tiles if tiles.ndim == 4 else np.repeat(tiles[..., np.newaxis], 3, axis=3)
    tiles = np.where(np.isnan(tiles), GROUND, tiles)
    larger = max(1, SMALLEST // max(tiles.shape[1:3]))
    tiles = tiles.repeat(larger, axis=1).repeat(larger, axis=2)
    n, h, w, _ = tiles.shape
    rows = ceil(n / columns)
    image = np.ones((rows * (h + GAP) + GAP, columns * (w + GAP) + GAP, 3))
    for at in range(n):
        row, column = divmod(at, columns)
        top, left = row * (h + GAP), column * (w + GAP)
        image[top : top + h + 2 * GAP, left : left + w + 2 * GAP] = GROUND
    for at, tile in enumerate(tiles):
        row, column = divmod(at, columns)
        top, left = GAP + row * (h + GAP), GAP + column * (w + GAP)
        image[top : top + h, left : left + w] = tile
    return image


def squared(values: np.ndarray) -> np.ndarray:
    """(n,) values row by row in a square, or nearly: (h, w), the last row filled up with NaN."""
    w = ceil(sqrt(len(values)))
    h = ceil(len(values) / w)
    filled = np.full(h * w, np.nan)
    filled[: len(values)] = values
    return filled.reshape(h, w)


def viewable(images: np.ndarray, low: float | None = None, high: float | None = None) -> np.ndarray:
    """Images (n, H, W, D) as grey (n, H, W) or RGB (n, H, W, 3) in 0..1; of other depths the mean of the maps.

    uint8 RGB as it is; all else as `shades` of all values together.
    """
    if images.shape[3] == 3:
        return images / 255 if images.dtype == np.uint8 else shades(images, low, high)
    grey = images[..., 0] if images.shape[3] == 1 else images.mean(axis=3)
    return shades(grey, low, high)
