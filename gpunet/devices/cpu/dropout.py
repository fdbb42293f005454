"""Dropout on the CPU, with random numbers that are a function of where they are used.

Sources: CS231n "Dropout", inverted; Srivastava et al. 2014; whole maps and branches: see gpunet.layers.dropout.
"""

import numpy as np

from gpunet.devices.cpu.halves import by_image
from gpunet.devices.cpu.random import random_words
from gpunet.devices.cpu.select import select
from gpunet.devices.cpu.threads import share, share_blocks

__all__ = ["dropout", "dropout_whole"]


@by_image("y", whole=("numbers",))
def dropout(
    x: np.ndarray,
    numbers: np.ndarray,
    y: np.ndarray,
    *,
    p: float,
    seed: int,
    step: int,
    layer: int,
    first_image: int,
    training: int,
) -> None:
    """y = 0 with probability p, else x / (1 - p); for x the input or a gradient alike. Where not training, y = x.

    x            (N, H, W, D)   float32 or float64, in
    numbers      (...)          float64, in: the numbers that change from step to step
    y            (N, H, W, D)   x's dtype, out; may be x
    seed         0 <= seed < 2**63: the key of Philox
    step         where the number of the step stands in numbers; like layer below 2**32
    layer        with step and the place of a group of four values the counter: (place, upper half, step, layer)
    first_image  where in the batch x begins: value i of image n has place (first_image + n)*H*W*D + i
    training     1 or 0

    A value is dropped where its 32 random bits, the (place mod 4)-th word of those of place // 4, are below
    round(p * 2**32): the same values on every device. What is dropped is +0, even if it was NaN or infinite.
    """
    if not training:
        np.copyto(y, x)
        return
    source, target = x.reshape(-1), y.reshape(-1)
    first = first_image * (source.size // max(1, len(x)))
    threshold, scale = round(p * 2**32), x.dtype.type(1 / (1 - p))

    def one(block: slice, worker: int) -> None:
        start, stop = first + block.start, first + block.stop
        groups = np.arange(start // 4, -(-stop // 4), dtype=np.uint64)
        words = random_words(groups, int(numbers[step]), layer, seed).reshape(-1)[start % 4 :][: stop - start]
        with np.errstate(over="ignore"):
            np.multiply(source[block], scale, out=target[block])
        select(target[block], np.greater_equal(words, threshold), target[block])

    share_blocks(source.size, one)


@by_image("y", whole=("numbers",))
def dropout_whole(
    x: np.ndarray,
    numbers: np.ndarray,
    y: np.ndarray,
    *,
    p: float,
    maps: int,
    seed: int,
    step: int,
    layer: int,
    first_image: int,
    training: int,
) -> None:
    """As dropout, but what goes is a whole map of an image, or all of an image. Where not training, y = x.

    x        (N, H, W, D)   float32 or float64, in
    numbers  (...)          float64, in: the numbers that change from step to step
    y        (N, H, W, D)   x's dtype, out; may be x
    maps     D: each map of each image has a random number, of place (first_image + n)*D + d; 1: each image has one, of
             place first_image + n
    All else as in dropout: a place is dropped where its 32 random bits are below round(p * 2**32).
    """
    if not training:
        np.copyto(y, x)
        return
    first, count = first_image * maps, len(x) * maps
    groups = np.arange(first // 4, -(-(first + count) // 4), dtype=np.uint64)
    words = random_words(groups, int(numbers[step]), layer, seed).reshape(-1)[first % 4 :][:count]
    stays, scale = np.greater_equal(words, round(p * 2**32)).reshape(len(x), maps), x.dtype.type(1 / (1 - p))

    def one(n: int, worker: int) -> None:
        with np.errstate(over="ignore"):
            np.multiply(x[n], scale, out=y[n])
        select(y[n], np.broadcast_to(stays[n], y[n].shape), y[n])

    share(range(len(x)), one)
