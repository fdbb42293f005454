"""The gradient before a max-pool, of that behind it and switches, a part at a time on the CPU.

Windows of F x F at stride S >= F, so that each position belongs to one window at most.
"""

import numpy as np

from gpunet.devices.cpu.select import select
from gpunet.devices.cpu.switches import apart
from gpunet.devices.cpu.threads import BLOCK, share, thread_count
from gpunet.devices.cpu.window import Chunk

__all__: tuple[str, ...] = ()  # no ops here


def unpool(dy: np.ndarray, switches: np.ndarray, out: np.ndarray, chunk: Chunk, W2: int, F: int, S: int) -> None:
    """out (positions, K) = the gradient of a chunk before the pool: dy where a switch points, else 0."""
    image0, image1, row0, row1 = chunk
    H3, K = dy.shape[1], dy.shape[3]
    volume = out.reshape(image1 - image0, row1 - row0, W2, K)
    step, rows = max(1, BLOCK // ((row1 - row0) * W2 * K)), max(1, BLOCK // (S * W2 * K)) * S
    for image in range(image0, image1, step):
        images = slice(image, min(image + step, image1))
        for row in range(row0 // S * S, row1, rows):
            first, last = max(row, row0), min(row + rows, row1)
            target = volume[images.start - image0 : images.stop - image0, first - row0 : last - row0]
            down = slice(row // S, min(-(-last // S), H3))
            _block(dy[images, down], apart(switches[images, down], K), target, first - row, F, S)


def _block(dy: np.ndarray, switches: np.ndarray, out: np.ndarray, above: int, F: int, S: int) -> None:
    """out (images, rows, W2, K), whose first row is row number `above` of the first windows."""
    out[...] = 0
    rows, W2 = out.shape[1:3]
    for number in range(F * F):
        i, j = divmod(number, F)
        first = -(-max(above - i, 0) // S)  # the first window whose row i is there
        last = min((above + rows - 1 - i) // S + 1, dy.shape[1])
        across = min((W2 - 1 - j) // S + 1, dy.shape[2])
        if first < last and across > 0:
            target = out[:, first * S + i - above :: S, j::S][:, : last - first, :across]
            chosen = np.equal(switches[:, first:last, :across], number)
            select(dy[:, first:last, :across], chosen, target)


def unpool_together(
    dy: np.ndarray, switches: np.ndarray, out: np.ndarray, chunk: Chunk, W2: int, F: int, S: int
) -> None:
    """`unpool` by all workers, each with some images of the chunk or, where it has one, some rows."""
    image0, image1, row0, row1 = chunk
    rows = (image1 - image0) * (row1 - row0)
    several = image1 - image0 > 1

    def one(band: tuple[int, int], worker: int) -> None:
        first, last = band
        part = (image0 + first, image0 + last, row0, row1) if several else (image0, image1, row0 + first, row0 + last)
        unpool(dy, switches, positions_of(out[first * rows // count * W2 :], part, W2), part, W2, F, S)

    count = image1 - image0 if several else row1 - row0
    step = -(-count // thread_count())
    share(((first, min(first + step, count)) for first in range(0, count, step)), one)


def rows_of_piece(
    dy: np.ndarray,
    switches: np.ndarray,
    piece: tuple[int, int],
    wanted: tuple[int, int],
    output: tuple[int, int],
    F: int,
    S: int,
) -> np.ndarray:
    """Those of the positions wanted[0]:wanted[1], over all images, that lie in the images piece[0]:piece[1]."""
    (image0, image1), (H2, W2), K = piece, output, dy.shape[3]
    start = image0 * H2 * W2
    first, last = max(wanted[0] - start, 0), min(wanted[1] - start, (image1 - image0) * H2 * W2)
    row0, row1 = (0, H2) if image1 - image0 > 1 else (first // W2, -(-last // W2))
    values = np.empty(((image1 - image0) * (row1 - row0) * W2, K), dy.dtype)
    unpool(dy, switches, values, (image0, image1, row0, row1), W2, F, S)
    return values[first - row0 * W2 : last - row0 * W2]


def positions_of(strip: np.ndarray, chunk: Chunk, W2: int) -> np.ndarray:
    """As many rows of a strip as a chunk has positions."""
    image0, image1, row0, row1 = chunk
    return strip[: (image1 - image0) * (row1 - row0) * W2]
