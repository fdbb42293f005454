"""The value of white: 255 in pictures, less in some data sets; a net knows that of the images it learnt from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gpunet.data.dataset import AnySplit, Dataset

WHITE = 255
"""In a picture."""


def to_white(images: np.ndarray, white: int, before: int = WHITE) -> np.ndarray:
    """Images (..., H, W, D), uint8, with the values from 0 to `before` brought to 0 to `white`, which is no more.

    An image of which no value is above `white` is taken to be of such values already.
    """
    if white >= before:
        return images
    bright = images.max(axis=(-3, -2, -1), keepdims=True) > white
    darker = np.rint(np.arange(256) * (white / before)).astype(np.uint8)
    return np.where(bright, darker[images], images)


def with_white(dataset: Dataset, white: int) -> Dataset:
    """The data set as `to_white` makes its images, which the note says; as it is, where its white is not above that."""
    if dataset.white <= white:
        return dataset
    train = _Darker(dataset.train, white, dataset.white)
    validation = dataset.validation and _Darker(dataset.validation, white, dataset.white)
    test = _Darker(dataset.test, white, dataset.white) if dataset.has_test or not validation else validation
    line = (
        f"white, {dataset.white} here, becomes {white} as in the images that were learnt from; images without a value "
        "above that stay as they are"
    )
    note = f"{dataset.note}\n{line}" if dataset.note else line
    return replace(dataset, train=train, test=test, validation=validation, note=note, white=white)


@dataclass(frozen=True)
class _Darker:
    """A split whose uint8 images come as `to_white` makes them; floats, which enter a net as they are, stay."""

    split: AnySplit
    white: int
    before: int

    def __len__(self) -> int:
        return len(self.split)

    @property
    def labels(self) -> np.ndarray:
        """(n,) int32."""
        return self.split.labels

    @property
    def shape(self) -> tuple[int, int, int]:
        """H, W, D of each image."""
        return self.split.shape

    @property
    def resizes(self) -> bool:
        """Whether another size can be had."""
        return self.split.resizes

    @property
    def paths(self) -> Sequence[Path] | None:
        """The file of each image, where they are in files."""
        return getattr(self.split, "paths", None)

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (len(indices), H, W, D) and labels (len(indices),)."""
        images, labels = self.split.take(indices)
        return to_white(images, self.white, self.before) if images.dtype == np.uint8 else images, labels
