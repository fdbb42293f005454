"""Dropout on the CPU, with random numbers that are a function of where they are used.

Source: CS231n "Dropout", inverted; Srivastava et al. 2014. Random numbers: Philox 4x32 of ten rounds, Salmon et al.
2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

import numpy as np

from gpunet.devices.cpu.select import select
from gpunet.devices.cpu.threads import share_blocks

__all__ = ["dropout"]

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10


def dropout(
    x: np.ndarray, y: np.ndarray, *, p: float, seed: int, step: int, layer: int, first_image: int, training: int
) -> None:
    """y = 0 with probability p, else x / (1 - p); for x the input or a gradient alike. Where not training, y = x.

    x            (N, H, W, D)   float32 or float64, in
    y            (N, H, W, D)   same dtype, out; may be x
    seed         0 <= seed < 2**63: the key of Philox
    step, layer  below 2**32; with the place of a group of four values its counter: (place, upper half, step, layer)
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
        words = _philox(groups, step, layer, seed).reshape(-1)[start % 4 :][: stop - start]
        with np.errstate(over="ignore"):
            np.multiply(source[block], scale, out=target[block])
        select(target[block], np.greater_equal(words, threshold), target[block])

    share_blocks(source.size, one)


def _philox(groups: np.ndarray, step: int, layer: int, seed: int) -> np.ndarray:
    """(len(groups), 4): the four words of each group, uint64 below 2**32."""
    a, b = groups & _LOW, groups >> _HALF
    c, d = np.full_like(groups, step), np.full_like(groups, layer)
    keys = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(_ROUNDS):
        one, two = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        first, second = (np.uint64(key) for key in keys)
        a, b, c, d = (two >> _HALF) ^ b ^ first, two & _LOW, (one >> _HALF) ^ d ^ second, one & _LOW
        keys = [(key + weyl) & 0xFFFFFFFF for key, weyl in zip(keys, _WEYL, strict=True)]
    return np.stack((a, b, c, d), axis=1)
