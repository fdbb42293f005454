"""Max pooling on the CPU: one pass for each of the F*F positions in a window, over cache-sized blocks of the output.

Source: CS231n "Pooling Layer"; the name "switches" from Zeiler & Fergus 2014.
"""

from collections.abc import Iterator
from itertools import chain

import numpy as np

from gpunet.devices.cpu.halves import by_image
from gpunet.devices.cpu.select import select
from gpunet.devices.cpu.switches import apart, room, together
from gpunet.devices.cpu.threads import share
from gpunet.devices.cpu.window import Axes, Chunk, blocks, each_position, gather

__all__ = ["max_pool_backward", "max_pool_forward", "max_pool_infer"]


@by_image("y")
def max_pool_forward(x: np.ndarray, y: np.ndarray, switches: np.ndarray, *, F: int, S: int, P: int) -> None:
    """Maximum over each F x F window, stride S, P rows and columns around x; remembers where it was.

    x         (N, H, W, D)    float32 or float64, in
    y         (N, H2, W2, D)  same dtype, out; any H2, W2: windows may hang over the edges
    switches  (N, H2, W2, D)  uint8 (F <= 16) or int32, out; row*F + column inside the window; or, F <= 3,
              (N, H2, W2, ceil(D/2))  uint8: two neighbouring maps a byte, the first in its lower half, or 0
    A NaN in a window is its maximum: the first one. Ties: the first in row-major order. Positions outside x never win;
    a window of nothing but -inf has the switch of its first position inside x.
    Source: CS231n "Pooling Layer"; Zeiler & Fergus 2014 for the name.
    """
    max_forward(x, y, switches, (F, F), (S, S), (P, P))


@by_image("y")
def max_pool_infer(x: np.ndarray, y: np.ndarray, *, F: int, S: int, P: int) -> None:
    """Maximum over each F x F window, as max_pool_forward, without remembering where it was.

    x   (N, H, W, D)    float32 or float64, in
    y   (N, H2, W2, D)  same dtype, out; any H2, W2: windows may hang over the edges
    A NaN in a window is its maximum. Positions outside x never win.
    Source: CS231n "Pooling Layer".
    """
    max_infer(x, y, (F, F), (S, S), (P, P))


@by_image("dx")
def max_pool_backward(dy: np.ndarray, switches: np.ndarray, dx: np.ndarray, *, F: int, S: int, P: int) -> None:
    """Each value of dx is the sum of dy over the windows whose maximum it was.

    dy        (N, H2, W2, D)  float32 or float64, in
    switches  (N, H2, W2, D)  uint8 or int32, or halves of bytes, in: as max_pool_forward writes them; F*F is nowhere
    dx        (N, H, W, D)    same dtype as dy, out; exactly 0 where no switch points
    Sums run over the windows in row-major order.
    Source: CS231n "Pooling Layer", "Backpropagation".
    """
    max_backward(dy, switches, dx, (F, F), (S, S), (P, P))


def max_forward(x: np.ndarray, y: np.ndarray, switches: np.ndarray, F: Axes, S: Axes, P: Axes) -> None:
    """As max_pool_forward says, F, S and P for rows and for columns."""
    starts, D = _first_positions(y.shape[1:3], F, S, P, switches.dtype), y.shape[3]

    def one(chunk: Chunk, worker: int) -> None:
        image0, image1, row0, row1 = chunk
        best, kept = y[image0:image1, row0:row1], switches[image0:image1, row0:row1]
        where = room(kept, D)
        where[...] = starts[row0:row1, :, None]
        take_maxima(x, best, where, chunk, F, S, P)
        together(where, kept)

    share(blocks(y), one)


def max_infer(x: np.ndarray, y: np.ndarray, F: Axes, S: Axes, P: Axes) -> None:
    """As max_pool_infer says, F, S and P for rows and for columns."""

    def one(chunk: Chunk, worker: int) -> None:
        image0, image1, row0, row1 = chunk
        take_maxima(x, y[image0:image1, row0:row1], None, chunk, F, S, P)

    share(blocks(y), one)


def max_backward(dy: np.ndarray, switches: np.ndarray, dx: np.ndarray, F: Axes, S: Axes, P: Axes) -> None:
    """As max_pool_backward says, F, S and P for rows and for columns."""

    def add(chunk: Chunk) -> None:
        image0, image1, row0, row1 = chunk
        above, where = dy[image0:image1, row0:row1], apart(switches[image0:image1, row0:row1], dy.shape[3])
        for number, down, across, target in each_position(dx, chunk, dy.shape[2], F, S, P, backwards=True):
            chosen = np.equal(where[:, down, across], number)
            if S[0] >= F[0] and S[1] >= F[1]:  # windows do not overlap: nothing to add to
                select(above[:, down, across], chosen, target)
                continue
            gradients = np.empty(chosen.shape, dx.dtype)
            select(above[:, down, across], chosen, gradients)
            np.add(target, gradients, out=target)

    gather(dy, dx, add)


def take_maxima(
    x: np.ndarray, best: np.ndarray, where: np.ndarray | None, chunk: Chunk, F: Axes, S: Axes, P: Axes
) -> None:
    """What the windows of a chunk see at most, and where, which holds the first position of each window before.

    best   (images, rows, W2, D)  out
    where  (images, rows, W2, D)  in and out; None: nobody asks where
    """
    for number, rows, columns, seen in _begun(best, x, chunk, F, S, P):
        take_maximum(seen, best[:, rows, columns], None if where is None else where[:, rows, columns], number)


def take_maximum(seen: np.ndarray, best: np.ndarray, where: np.ndarray | None, number: int) -> None:
    """best = max(best, seen); where seen is more, `where` becomes `number`, which grows from call to call."""
    if where is not None:
        stays = np.less_equal(seen, best)
        wins = np.equal(best, best)  # a NaN that came first stays
        np.greater(wins, stays, out=wins)
        np.maximum(where, np.multiply(wins.view(np.uint8), number, dtype=where.dtype), out=where)
    np.maximum(best, seen, out=best)


def relu_of_maxima(best: np.ndarray, where: np.ndarray | None, nowhere: int) -> None:
    """best = max(best, 0); where it becomes 0, `where` becomes `nowhere`, which is more than any number."""
    if where is not None:
        gone = np.less_equal(best, 0).view(np.uint8)
        np.maximum(where, np.multiply(gone, nowhere, dtype=where.dtype), out=where)
    np.maximum(best, 0, out=best)


def _begun(
    best: np.ndarray, x: np.ndarray, chunk: Chunk, F: Axes, S: Axes, P: Axes
) -> Iterator[tuple[int, slice, slice, np.ndarray]]:
    """As `each_position`, but `best` has begun: where all windows have their first position inside x, with that one,
    which does not come again; else with -inf."""
    found = each_position(x, chunk, best.shape[2], F, S, P)
    first = next(found, None)
    if first is not None and first[0] == 0 and first[3].shape == best.shape:
        np.copyto(best, first[3])
        return found
    best[...] = -np.inf
    return found if first is None else chain([first], found)


def _first_positions(outputs: tuple[int, ...], F: Axes, S: Axes, P: Axes, dtype: np.dtype) -> np.ndarray:
    """(H2, W2): row*F_columns + column of the first position of each window that lies inside the input."""
    rows, columns = (np.maximum(0, P[axis] - np.arange(size) * S[axis]) for axis, size in enumerate(outputs))
    return (rows[:, None] * F[1] + columns).astype(dtype)
