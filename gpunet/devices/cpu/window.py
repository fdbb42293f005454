"""Which windows see something, and the blocks in which they are walked: shared by convolution and pooling."""

from collections.abc import Callable, Iterator

import numpy as np

from gpunet.devices.cpu.threads import BLOCK, share
from gpunet.program.chunks import chunk_rows, chunks

Chunk = tuple[int, int, int, int]
"""Images image0:image1, output rows row0:row1, as `gpunet.program.chunks.chunks` cuts them."""

Axes = tuple[int, int]
"""F, S or P along rows and along columns; P in front of the first row and column."""

Around = tuple[int, int, int, int]
"""Positions at the top, bottom, left and right of the input."""

NOTHING: Around = (0, 0, 0, 0)


def positions(size: int, first: int, last: int, offset: int, S: int, P: int) -> tuple[int, int]:
    """Those output positions of first:last whose window, at `offset` from its start, lies inside an axis of `size`.

    Half-open; empty (both ends equal, within first:last) where none does. Position p looks at p*S - P + offset.
    """
    begin = min(max(first, -((offset - P) // S)), last)
    end = max(begin, min(last, (size - 1 + P - offset) // S + 1))
    return begin, end


def counts(x: np.ndarray, y: np.ndarray, F: Axes, S: Axes, P: Axes, around: Around = NOTHING) -> np.ndarray:
    """(H2, W2, 1), of y's dtype: how many positions each window has within x and so many positions around it."""

    def along(axis: int, before: int, after: int) -> np.ndarray:
        starts = np.arange(y.shape[1 + axis]) * S[axis] - P[axis]
        return np.asarray(np.minimum(starts + F[axis], x.shape[1 + axis] + after) - np.maximum(starts, -before))

    top, bottom, left, right = around
    return np.asarray(along(0, top, bottom)[:, None, None] * along(1, left, right)[:, None], y.dtype)


def blocks(y: np.ndarray) -> Iterator[Chunk]:
    """The output in blocks that stay in a core's cache."""
    N, H2, W2, D = y.shape
    return chunks(N, H2, W2, chunk_rows(N, H2, W2, max(1, BLOCK // D)))


def each_position(
    x: np.ndarray, chunk: Chunk, W2: int, F: Axes, S: Axes, P: Axes, *, backwards: bool = False
) -> Iterator[tuple[int, slice, slice, np.ndarray]]:
    """For each position in a window: its number, the output rows and columns of the chunk where it lies inside x, and
    the values of x there, as a view. Backwards, windows meet a value of x in row-major order."""
    image0, image1, row0, row1 = chunk
    H, W = x.shape[1:3]
    places = F[0] * F[1]
    for number in reversed(range(places)) if backwards else range(places):
        i, j = divmod(number, F[1])
        down0, down1 = positions(H, row0, row1, i, S[0], P[0])
        right0, right1 = positions(W, 0, W2, j, S[1], P[1])
        if down1 > down0 and right1 > right0:
            top, left = down0 * S[0] - P[0] + i, right0 * S[1] - P[1] + j
            bottom, right = top + (down1 - down0) * S[0], left + (right1 - right0) * S[1]
            seen = x[image0:image1, top : bottom : S[0], left : right : S[1]]
            yield number, slice(down0 - row0, down1 - row0), slice(right0, right1), seen


def gather(dy: np.ndarray, dx: np.ndarray, add: Callable[[Chunk], None]) -> None:
    """dx = 0, then add(chunk) for all chunks of dy: those of the same images one after the other, in order."""
    N, H2, W2, D = dy.shape
    rows = chunk_rows(1, H2, W2, max(1, BLOCK // D))
    images = max(1, BLOCK // (H2 * W2 * D))

    def one(image: int, worker: int) -> None:
        last = min(image + images, N)
        dx[image:last] = 0
        for _, _, row0, row1 in chunks(1, H2, W2, rows):
            add((image, last, row0, row1))

    share(range(0, N, images), one)
