"""Any number of images, as many at a time as a model takes."""

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any, Protocol, TypeGuard

import numpy as np

from gpunet.data.dataset import AnySplit, Dataset
from gpunet.data.loader import loader
from gpunet.errors import ConfigError, DataError
from gpunet.memory.plan import Plan
from gpunet.model.batch import check_images, check_labels
from gpunet.net.net import Net

Images = np.ndarray | AnySplit
"""An array (n, H, W, D), or a split of a data set."""


class Planned(Protocol):
    """A model, as far as parts must know it."""

    net: Net
    plan: Plan

    @property
    def batch(self) -> int: ...


def whole_or_parts(
    model: Planned, images: Any, labels: np.ndarray | None = None, *, labelled: bool = False
) -> Iterator[tuple[np.ndarray, Any]]:
    """(images, labels or None), at most model.batch at a time; what fits at once comes as it was handed over.

    `labelled`  whether labels are needed

    More than fit are checked before the first part comes. Raises ShapeError, DataError or ConfigError.
    """
    if isinstance(images, Dataset):
        raise ConfigError(f"{images.name} is a whole data set: say which images, like data.test")
    if is_split(images):
        if labels is not None:
            raise ConfigError("a split of a data set has its own labels; leave the others out")
        if not len(images):
            raise DataError("there is no image in this split of a data set")
        check_labels(images.labels, len(images), model.net.classes)
        yield from in_parts(images, model.batch)
        return
    n = _count(images)
    if n <= model.batch:
        yield images, labels
        return
    images = check_images(images, model.net, n, model.plan.dtype)
    if labelled:
        labels = check_labels(np.asarray(labels), n, model.net.classes)
    for start in range(0, n, model.batch):
        part = slice(start, start + model.batch)
        yield images[part], None if labels is None else labels[part]


def is_split(data: object) -> TypeGuard[AnySplit]:
    """Whether it is a split of a data set: images that are taken by their indices."""
    return hasattr(data, "take") and hasattr(data, "labels")


def _count(images: Any) -> int:
    """How many there are; 0 for what is no array of any, which whoever takes it refuses."""
    try:
        return len(images)
    except TypeError:
        return 0


def in_parts(split: AnySplit, batch: int) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    """(images, labels) of a split as they stand, so many at a time."""
    order = (np.arange(start, min(start + batch, len(split))) for start in range(0, len(split), batch))
    with closing(loader(split, order)) as source:
        yield from source
