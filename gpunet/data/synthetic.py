"""Images of no file, for a net of any size: to try a run, or to see how fast it goes without a disk."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gpunet.data.dataset import Dataset, split_line
from gpunet.errors import DataError

TRAIN_IMAGES, TEST_IMAGES = 1_000, 200
CELLS = 4
"""Rows and columns of a class's pattern, before it is as large as an image."""
NOISE = 64


@dataclass(frozen=True, repr=False)
class SyntheticSplit:
    """`n` images, uint8: the pattern of a class, noise upon it. Each depends on seed, split and index alone."""

    n: int
    shape: tuple[int, int, int]
    classes: int
    seed: int
    which: int
    resizes = False

    def __repr__(self) -> str:
        return split_line(self)

    def __len__(self) -> int:
        return self.n

    @cached_property
    def labels(self) -> np.ndarray:
        """(n,) int32: every class as often as any other, give or take one."""
        order = np.random.default_rng([self.seed, self.which]).permutation(self.n)
        return (order % self.classes).astype(np.int32)

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (len(indices), H, W, D) and labels (len(indices),)."""
        images = np.empty((len(indices), *self.shape), np.uint8)
        for image, index in zip(images, indices, strict=True):
            rng = np.random.default_rng([self.seed, self.which, int(index)])
            noise = rng.integers(0, NOISE, self.shape, dtype=np.uint8)
            np.add(self._pattern(int(self.labels[index])), noise, out=image)
        return images, self.labels[indices]

    def _pattern(self, label: int) -> np.ndarray:
        """(H, W, D) uint8 up to 255 - NOISE: a few random cells, as large as the image."""
        H, W, D = self.shape
        cells = np.random.default_rng([self.seed, 2, label]).integers(0, 256 - NOISE, (CELLS, CELLS, D), dtype=np.uint8)
        rows, columns = (np.arange(extent) * CELLS // extent for extent in (H, W))
        return cells[rows[:, None], columns]


def synthetic(shape: tuple[int, int, int], classes: int, seed: int = 0) -> Dataset:
    """1,000 images to learn from and 200 to test on, of `shape` (H, W, D) and in `classes` classes, told from noise."""
    if min(shape) < 1 or classes < 1:
        raise DataError(f"synthetic images need a shape and classes; got {shape} and {classes}")
    n = max(TRAIN_IMAGES, classes)
    train, test = SyntheticSplit(n, shape, classes, seed, 0), SyntheticSplit(TEST_IMAGES, shape, classes, seed, 1)
    return Dataset(
        "synthetic", train, test, "synthetic images: how well they are told apart says nothing of any others"
    )
