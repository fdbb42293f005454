"""What a fit learns from and is judged by, epoch by epoch: a split, arrays, or batches that somebody else makes."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Sized
from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np

from gpunet.data.batches import batches
from gpunet.data.dataset import AnySplit, Dataset, Split
from gpunet.data.loader import loader
from gpunet.errors import ConfigError, DataError
from gpunet.model.ahead import Batch
from gpunet.model.batch import check_labels, check_last_batch
from gpunet.model.model import Model
from gpunet.model.parts import in_parts, is_split
from gpunet.train.trainer import check_bytes

FORMS = (
    "give a data set, (images, labels), or an iterable of batches, each a pair (images, labels) of no more images than "
    "the model was planned for"
)


class Source(ABC):
    """Batches for one epoch after the other. `steps`: how many in an epoch; None: nobody knows."""

    steps: int | None

    @abstractmethod
    def epoch(self, number: int) -> Generator[Batch, None, None]:
        """The batches of an epoch of this fit, counted from 0."""


class Shuffled(Source):
    """The images of a split, in an order that depends on the seed and on how many epochs of them the model has seen."""

    def __init__(self, split: AnySplit, model: Model, seed: int, steps: int | None) -> None:
        whole = -(-len(split) // model.batch)
        self.steps = min(steps or whole, whole)
        self._split, self._batch, self._seed = split, model.batch, seed
        self._seen = model.seen // len(split)

    def epoch(self, number: int) -> Generator[Batch, None, None]:
        order = batches(len(self._split), self._batch, self._seed, 1 + self._seen + number)
        with closing(loader(self._split, islice(order, self.steps))) as found:
            yield from found


class InOrder(Source):
    """The images of a split as they stand."""

    def __init__(self, split: AnySplit, model: Model) -> None:
        self.steps = -(-len(split) // model.batch)
        self._split, self._batch = split, model.batch

    def epoch(self, number: int) -> Generator[Batch, None, None]:
        return in_parts(self._split, self._batch)


class Batches(Source):
    """Batches as they come: from the beginning in each epoch, or of a generator the next ones."""

    def __init__(self, batches: Iterable[Any], steps: int | None = None) -> None:
        self.once = isinstance(batches, Iterator)
        self.steps = steps or (len(batches) if isinstance(batches, Sized) else None)
        self._batches = batches

    def epoch(self, number: int) -> Generator[Batch, None, None]:
        count = 0
        for batch in islice(iter(self._batches), self.steps):
            yield _pair(batch, count)
            count += 1
        if count < (self.steps or 1):
            of = f" of {self.steps:,}" if self.steps else ""
            raise DataError(f"the batches ended after {count:,}{of} in epoch {number + 1}; give more, or fewer epochs")


def source(data: Any, model: Model, *, epochs: int, seed: int, steps: int | None) -> Source:
    """What to learn from, whatever was handed over. Raises ConfigError for what cannot be, DataError for bad data."""
    if isinstance(data, Dataset):
        data.require(model.net.image.shape, model.net.classes)
        check_bytes(data, model.net)
        data = data.train
    if (split := _as_split(data, model)) is not None:
        check_last_batch(len(split), model.batch, model.pairing)
        return Shuffled(split, model, seed, steps)
    found = Batches(_iterable(data), steps)
    if found.once and epochs > 1 and steps is None:
        raise ConfigError(
            f"a generator is gone through once, and {epochs:,} epochs were asked for; say steps_per_epoch: so many "
            "batches of it are an epoch"
        )
    return found


def judged_by(data: Any, validation: Any, model: Model) -> Source | None:
    """What epochs are judged by: `validation`, else what the data have for it; None: nothing.

    Raises ConfigError for what cannot be gone through more than once, DataError for bad data.
    """
    if validation is None:
        validation = data.validation if isinstance(data, Dataset) else None
        if validation is None:
            return None
    if isinstance(validation, Dataset):
        raise ConfigError(f"of {validation.name}, say which images are to validate with, like validation=data.test")
    if (split := _as_split(validation, model)) is not None:
        return InOrder(split, model)
    found = Batches(_iterable(validation))
    if found.once:
        raise ConfigError("epochs are judged by the same images, and a generator is gone through once: give a list")
    return found


def _as_split(data: Any, model: Model) -> AnySplit | None:
    """A split, or (images, labels), as a split; None for anything else. Raises DataError for bad arrays."""
    if isinstance(data, tuple) and len(data) == 2 and not isinstance(data[0], tuple | list):
        images, labels = np.asarray(data[0]), np.asarray(data[1])
        data = Split(images, check_labels(labels, len(images), model.net.classes))
    if not is_split(data):
        return None
    check_labels(data.labels, len(data), model.net.classes)
    return data


def _iterable(data: Any) -> Iterable[Any]:
    """An iterable of batches. Raises ConfigError for what is none."""
    if isinstance(data, Iterable) and not isinstance(data, str | bytes | dict) and not hasattr(data, "dtype"):
        return data
    what = f"an array of shape {data.shape} without labels" if hasattr(data, "shape") else repr(data)[:60]
    named = f"load({data!r}) of gpunet.data may give a data set; or " if isinstance(data, str) else ""
    raise ConfigError(f"there is nothing to learn from in {what}; {named}{FORMS}")


def _pair(batch: Any, number: int) -> Batch:
    """A batch as a pair of arrays. Raises DataError for anything else."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        of = f" of {len(batch)}" if isinstance(batch, Sized) else ""
        raise DataError(f"batch {number} is no pair (images, labels) but a {type(batch).__name__}{of}; {FORMS}")
    images, labels = batch
    return np.asarray(images), np.asarray(labels)
