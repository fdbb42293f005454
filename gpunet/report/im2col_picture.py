"""A convolution as the notes lay it out for a matrix product: the image, X_col, W_row and what comes of them."""

from typing import TYPE_CHECKING

import numpy as np

from gpunet.layers.conv import Conv
from gpunet.program.volume import Volume
from gpunet.report.canvas import INK, LINES, drawing, new_figure, title
from gpunet.report.tiles import viewable
from gpunet.use.im2col import im2col

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 1200, 720
LEFT, RIGHT, TOP, BOTTOM, SIDE = 40, 390, 130, 500, 300
"""Pixels: where the two columns and the two rows begin, and the side of the image."""


@drawing()
def draw_im2col(layer: Conv, x: np.ndarray, w: np.ndarray) -> "Figure":
    """x (H, W, D) of one or three maps, its matrix X_col with the places of three windows, W_row of the weights
    w (K, F, F, D), and their product."""
    H, W, D = x.shape
    columns = im2col(layer, x).T
    K = len(w)
    out = layer.output(Volume(H, W, D))
    chosen = [0, out.values // K // 2 + out.W // 3, out.values // K - 1]
    figure = new_figure(WIDTH, HEIGHT)
    wide = WIDTH - RIGHT - LEFT
    _draw_image(_place(figure, LEFT, TOP, SIDE, SIDE), layer, x, chosen, out)
    shown = _matrix(_place(figure, RIGHT, TOP, wide, SIDE), columns, f"X_col, {_by(columns)}: a window in each column")
    for number, at in enumerate(chosen):
        color = LINES[number]
        shown.annotate("", (at, -1), (at, -18), arrowprops={"arrowstyle": "-|>", "color": color, "lw": 1.6})
    rows, product = w.reshape(K, -1), w.reshape(K, -1) @ columns
    _matrix(_place(figure, LEFT, BOTTOM, SIDE, 130), rows, f"W_row, {_by(rows)}: a filter in each row")
    _matrix(_place(figure, RIGHT, BOTTOM, wide, 130), product, f"W_row @ X_col, {_by(product)}: a map in each row")
    head = f"CONV{layer.F}-{K} with S={layer.S}, P={layer.padding} over {H}x{W}x{D} as one matrix product"
    title(figure, head, f"each row of the product, {out.H}x{out.W} numbers, is one map of the output {out}")
    return figure


def _place(figure: "Figure", left: int, top: int, width: int, height: int) -> "Axes":
    """Axes at so many pixels from the top left."""
    return figure.add_axes((left / WIDTH, 1 - (top + height) / HEIGHT, width / WIDTH, height / HEIGHT))


def _draw_image(axes: "Axes", layer: Conv, x: np.ndarray, chosen: list[int], out: Volume) -> None:
    """The image and three windows on it."""
    from matplotlib.patches import Rectangle

    axes.imshow(viewable(x[np.newaxis])[0], cmap="gray", interpolation="nearest")
    down, across = layer.window(Volume(*x.shape))
    for number, at in enumerate(chosen):
        row, column = divmod(at, out.W)
        corner = column * across.S - across.before - 0.5, row * down.S - down.before - 0.5
        axes.add_patch(Rectangle(corner, across.extent, down.extent, fill=False, ec=LINES[number], lw=2.2))
    _labelled(axes, f"the image, {'x'.join(map(str, x.shape))}, and three windows")


def _matrix(axes: "Axes", values: np.ndarray, words: str) -> "Axes":
    axes.imshow(values, cmap="gray", interpolation="antialiased", aspect="auto")
    return _labelled(axes, words)


def _labelled(axes: "Axes", words: str) -> "Axes":
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#aab2b9")
    axes.annotate(
        words, (0, 0), xycoords="axes fraction", xytext=(0, -14), textcoords="offset points",
        fontsize=11, color=INK, va="center",
    )  # fmt: skip
    return axes


def _by(matrix: np.ndarray) -> str:
    return " x ".join(f"{size:,}".replace(",", "") for size in matrix.shape)
