"""Random numbers on the CPU that are a function of where they are used: Philox 4x32 of ten rounds.

Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

import numpy as np

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10


def random_words(groups: np.ndarray, step: int, layer: int, seed: int) -> np.ndarray:
    """The four words of each group of a layer in a step, as cuda/common.cuh has them: (len(groups), 4), uint64.

    groups       (n,)  uint64
    step, layer  below 2**32
    seed         0 <= seed < 2**64: the key
    """
    a, b = groups & _LOW, groups >> _HALF
    c, d = np.full_like(groups, step), np.full_like(groups, layer)
    keys = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(_ROUNDS):
        one, two = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        first, second = (np.uint64(key) for key in keys)
        a, b, c, d = (two >> _HALF) ^ b ^ first, two & _LOW, (one >> _HALF) ^ d ^ second, one & _LOW
        keys = [(key + weyl) & 0xFFFFFFFF for key, weyl in zip(keys, _WEYL, strict=True)]
    return np.stack((a, b, c, d), axis=1)
