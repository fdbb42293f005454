"""How an im2col matrix is cut: many whole images at a time, or some output rows of one image.

The planner sizes the matrix with `chunk_rows`; the devices walk it with `chunks`. Both devices cut alike, so both add
up weight gradients in the same order.
"""

from collections.abc import Iterator
from math import lcm


def chunk_rows(N: int, H2: int, W2: int, most: int) -> int:
    """Rows of the im2col matrix, one for each output position of a chunk, at most about `most`.

    A multiple of H2*W2 where a whole image fits, else of W2; never less than one output row, W2.
    """
    image = H2 * W2
    if most >= image:
        return min(N, most // image) * image
    return max(1, most // W2) * W2


def images_at_once(N: int, values: int, most: int) -> int:
    """How many images, of so many values each, are done at a time, so that there are at most `most`: at least one."""
    return max(1, min(N, most // max(1, values)))


def chunks(N: int, H2: int, W2: int, rows: int) -> Iterator[tuple[int, int, int, int]]:
    """The chunks that an im2col matrix of `rows` rows holds, in order: (image0, image1, row0, row1), half-open.

    Either whole images, with row0, row1 = 0, H2; or output rows row0:row1 of the single image image0.
    """
    images = rows // (H2 * W2)
    if images:
        for image in range(0, N, images):
            yield image, min(image + images, N), 0, H2
        return
    step = rows // W2
    for image in range(N):
        for row in range(0, H2, step):
            yield image, image + 1, row, min(row + step, H2)


def strips(N: int, H2: int, W2: int, rows: int, S: int) -> Iterator[list[tuple[int, int, int, int]]]:
    """The chunks put together to strips: whole images, or rows of an image from the first of a window on to the last.

    `S`  the stride of windows that do not overlap, which look at the output
    """
    strip: list[tuple[int, int, int, int]] = []
    for chunk in chunks(N, H2, W2, rows):
        strip.append(chunk)
        if chunk[3] == H2 or chunk[3] % S == 0:
            yield strip
            strip = []


def strip_rows(H2: int, W2: int, rows: int, S: int) -> int:
    """Output positions of the largest strip of chunks of `rows` positions."""
    return rows if rows >= H2 * W2 else min(lcm(rows // W2, S), H2) * W2
