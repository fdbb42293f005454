"""The order in which a run sees its images."""

from collections.abc import Iterator

import numpy as np


def batches(n: int, batch: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
    """Indices of 0..n-1 in random order, `batch` at a time; the last are fewer where n is no multiple of it.

    The order depends on (seed, epoch) alone: not on the batch, and not on what was drawn before.
    """
    order = np.random.default_rng([seed, epoch]).permutation(n)
    for first in range(0, n, batch):
        yield order[first : first + batch]
