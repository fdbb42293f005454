"""Images set aside, to choose by or to test on: drawn by a seed, of each class its share.

No part depends on the order in which a data set keeps its classes, and of every class something stays to be learnt.
"""

from dataclasses import replace

import numpy as np

from gpunet.data.dataset import Dataset, Part, Split
from gpunet.data.share import Share, parse_share
from gpunet.errors import DataError

FIFTH = Share(20, percent=True)
"""What is tested on where a data set has no images for that."""

TESTED, VALIDATED = 3, 4
"""Beside the seed: the two parts are drawn apart from each other, and from what else a run draws."""


def drawn(labels: np.ndarray, share: Share, seed: int, which: int) -> np.ndarray:
    """The indices of the images set aside, in rising order: of each class its share, and never all of one.

    labels  (n,) integers from 0
    which   what they are for, TESTED or VALIDATED

    Of a class the same ones are drawn whatever others there are. Fewer than asked for where classes are too small.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    taken = [np.empty(0, np.int64)]
    for label, size, count in zip(classes, sizes, _counts(sizes, share.of(len(labels))), strict=True):
        order = np.random.default_rng([seed, which, int(label)]).permutation(size)
        taken.append(np.flatnonzero(labels == label)[order[:count]])
    return np.asarray(np.sort(np.concatenate(taken)))


def _counts(sizes: np.ndarray, wanted: int) -> np.ndarray:
    """How many images of each class make `wanted` in all: its share rounded down, then those with the largest rests."""
    room = np.maximum(sizes - 1, 0)
    shares = sizes * (wanted / max(1, sizes.sum()))
    counts = np.minimum(np.floor(shares).astype(np.int64), room)
    order = np.argsort(counts - shares, kind="stable")
    while counts.sum() < min(wanted, room.sum()):
        for label in order[(counts < room)[order]][: wanted - counts.sum()]:
            counts[label] += 1
    return np.asarray(counts)


def rest_of(n: int, indices: np.ndarray) -> np.ndarray:
    """The indices of 0..n-1 that are not among these."""
    return np.asarray(np.setdiff1d(np.arange(n), indices, assume_unique=True))


def with_test(name: str, whole: Split, seed: int) -> Dataset:
    """A data set without images to test on: a fifth of each class is tested on, the rest learnt from.

    Where no class has two images, which nobody can learn, a fifth of all. Raises DataError for a single image.
    """
    if len(whole) < 2:
        raise DataError("holds one image; there must be one to learn from and one to test on")
    tested = drawn(whole.labels, FIFTH, seed, TESTED)
    if not len(tested):
        tested = drawn(np.zeros_like(whole.labels), FIFTH, seed, TESTED)
    note = (
        f"no test_images in {name}: a fifth of each class, {len(tested):,} of {len(whole):,} images drawn by the seed "
        f"{seed}, is tested on and not learnt from"
    )
    return Dataset(name, Part(whole, rest_of(len(whole), tested)), Part(whole, tested), note)


def with_validation(data: Dataset, validation: str | int, seed: int) -> Dataset:
    """The data set with a part to choose by, drawn from the images to learn from, as `parse_share` reads how many.

    One that has such a part keeps it, unless none is asked for. The note says where it is so small that some classes
    have no image in it. Raises DataError for more images than there are, and for a single one.
    """
    share = parse_share(validation)
    if not share.number:
        return data if data.validation is None else _without(data)
    if data.validation is not None:
        return data
    if share.number == 1 and not share.percent:
        raise DataError("no epoch can be chosen by a single image: set more aside to validate with, or 0")
    n, labels = len(data.train), data.train.labels
    chosen = drawn(labels, share, seed, VALIDATED)
    if len(chosen) < share.of(n) and not share.percent:
        raise DataError(
            f"{data.name}: {share.of(n):,} images cannot be set aside to validate with; there are {n:,}, and of every "
            f"class one must stay to be learnt: {len(chosen):,} at most"
        )
    if not len(chosen):
        return _noted(data, "no class has two images to learn from, so none is set aside to validate with")
    train, validated = Part(data.train, rest_of(n, chosen)), Part(data.train, chosen)
    made = replace(data, train=train, validation=validated)
    found, there = (len(np.unique(part)) for part in (labels[chosen], labels))
    return made if found == there else _noted(made, _too_few(len(chosen), there - found, there))


def _too_few(images: int, missed: int, classes: int) -> str:
    """What there is to say of so few images to validate with, where so many of the classes have none among them."""
    what = "1 image is" if images == 1 else f"{images:,} images are"
    return (
        f"only {what} set aside to validate with, and {missed:,} of the {classes:,} classes {_have(missed)} none among "
        "them: which epoch is best is little more than chance; set aside more, or 0"
    )


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def _without(data: Dataset) -> Dataset:
    line = f"the {len(data.validation or ()):,} images to validate with are left alone"
    if not data.has_test:
        line = f"the {len(data.test):,} images to validate with are tested on, as there are no others"
    return _noted(replace(data, validation=None), line)


def _noted(data: Dataset, line: str) -> Dataset:
    return replace(data, note=f"{data.note}\n{line}" if data.note else line)
