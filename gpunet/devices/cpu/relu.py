"""ReLU on the CPU. Source: CS231n "Layers used to build ConvNets"."""

from collections.abc import Iterator

import numpy as np

from gpunet.devices.cpu.halves import by_position
from gpunet.devices.cpu.select import select, select_risen
from gpunet.devices.cpu.threads import BLOCK, share, share_blocks, share_values, spare

__all__ = ["add_relu_backward", "relu_backward", "relu_backward_masked", "relu_forward", "relu_mask"]

_Tile = tuple[slice, slice, slice]
"""Images, values of each of them, and the bytes of a mask that hold their bits."""


@by_position("y")
def relu_forward(x: np.ndarray, y: np.ndarray) -> None:
    """y = max(0, x), elementwise.

    x   (N, H, W, D)   float32 or float64, in
    y   (N, H, W, D)   same dtype, out; may be x
    NaN stays NaN.
    Source: CS231n "Layers used to build ConvNets".
    """
    source, target = x.reshape(-1), y.reshape(-1)

    def one(block: slice, worker: int) -> None:
        np.maximum(source[block], 0, out=target[block])

    share_blocks(source.size, one)


@by_position("dx")
def relu_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    """dx = dy where the output y was positive or NaN, else exactly 0.

    dy  (N, H, W, D)   float32 or float64, in; may be maps of a wider volume
    y   (N, H, W, D)   same dtype, in: what relu_forward wrote; may be maps of a wider volume
    dx  (N, H, W, D)   same dtype, out; may be dy or y
    Where y is 0, dx is +0 even if dy is NaN or infinite.
    Source: CS231n "Backpropagation": max routes the gradient.
    """

    share_values(select_risen, dy, y, dx)


@by_position("dx")
def add_relu_backward(a: np.ndarray, b: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    """dx = a + b where the output y was positive or NaN, else exactly 0: the bits of `add` and of relu_backward.

    a, b  (N, H, W, D)   float32 or float64, in
    y     (N, H, W, D)   same dtype, in: what relu_forward wrote
    dx    (N, H, W, D)   same dtype, out; may be a, b or y
    """
    first, second, output, target = (array.reshape(-1) for array in (a, b, y, dx))

    def one(block: slice, worker: int) -> None:
        left = first[block]
        total = np.add(left, second[block], out=spare("total", left.shape, left.dtype))
        select_risen(total, output[block], target[block])

    share_blocks(output.size, one)


def relu_mask(y: np.ndarray, mask: np.ndarray) -> None:
    """Where relu_backward lets gradients pass, a bit for each value: all that it needs to know of y.

    y     (N, H, W, D)             float32 or float64, in: what relu_forward wrote; may be maps of a wider volume
    mask  (N, ceil(H*W*D / 8))     uint8, out; the values of an image in C order, lowest bit first: 1 where y is
                                   positive or NaN. Bits behind the last value of an image are 0.
    Source: Jain et al. 2018, "Gist: efficient data encoding for deep neural network training", binarize.
    """
    if not y.flags.c_contiguous:
        share(range(len(y)), lambda n, worker: np.copyto(mask[n], np.packbits(~(y[n] <= 0), bitorder="little")))
        return
    rows = _rows(y, mask)
    outputs, masks = y.reshape(rows, -1), mask.reshape(rows, -1)

    def one(tile: _Tile, worker: int) -> None:
        images, values, octets = tile
        passed = np.less_equal(outputs[images, values], 0)
        np.logical_not(passed, out=passed)  # so that a NaN passes
        masks[images, octets] = np.packbits(passed, axis=1, bitorder="little")

    share(_tiles(*outputs.shape), one)


def relu_backward_masked(dy: np.ndarray, mask: np.ndarray, dx: np.ndarray) -> None:
    """dx = dy where the mask has a 1, else exactly +0: bit for bit what relu_backward gives.

    dy    (N, H, W, D)             float32 or float64, in; may be maps of a wider volume
    mask  (N, ceil(H*W*D / 8))     uint8, in: what relu_mask wrote
    dx    (N, H, W, D)             same dtype as dy, out; may be dy
    Source: CS231n "Backpropagation": max routes the gradient.
    """
    if not dy.flags.c_contiguous:
        _backward_by_image(dy, mask, dx)
        return
    rows = _rows(dy, mask)
    above, masks, target = dy.reshape(rows, -1), mask.reshape(rows, -1), dx.reshape(rows, -1)

    def one(tile: _Tile, worker: int) -> None:
        images, values, octets = tile
        gradients = above[images, values]
        passed = np.unpackbits(masks[images, octets], axis=1, count=gradients.shape[1], bitorder="little")
        select(gradients, passed.view(bool), target[images, values])

    share(_tiles(*above.shape), one)


def _backward_by_image(dy: np.ndarray, mask: np.ndarray, dx: np.ndarray) -> None:
    """As relu_backward_masked where the values of an image do not lie side by side."""

    def one(n: int, worker: int) -> None:
        passed = np.unpackbits(mask[n], count=dy[n].size, bitorder="little")
        select(dy[n], passed.view(bool).reshape(dy[n].shape), dx[n])

    share(range(len(dy)), one)


def _rows(values: np.ndarray, mask: np.ndarray) -> int:
    """One for each image; where no bits are left over, all images are one row."""
    return 1 if values.size == 8 * mask.size else len(mask)


def _tiles(rows: int, columns: int) -> Iterator[_Tile]:
    """About BLOCK values at a time: parts of a row, or several short rows."""
    width = min(columns, BLOCK)
    height = max(1, BLOCK // columns)
    for row in range(0, rows, height):
        for column in range(0, columns, width):
            last = min(column + width, columns)
            yield slice(row, row + height), slice(column, last), slice(column // 8, -(-last // 8))
