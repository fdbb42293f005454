"""What a data set is: splits of images with labels, to learn from, to test on, and perhaps to choose by."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from gpunet.errors import DataError
from gpunet.values.shown import Shown


class AnySplit(Protocol):
    """Images with labels, in memory (`Split`) or read only when they are asked for (`FileSplit`, `SyntheticSplit`).

    `take` gives the same arrays for the same indices, whatever was taken before and on whichever thread.
    """

    @property
    def labels(self) -> np.ndarray:
        """(n,) int32, from 0."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """H, W, D of each image."""

    @property
    def resizes(self) -> bool:
        """Whether another size can be had: by --size."""

    def __len__(self) -> int: ...

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (len(indices), H, W, D) and labels (len(indices),) at these indices, as copies."""


def file_of(split: AnySplit, index: int) -> Path | None:
    """The file of an image; None where a split has them otherwise, as arrays."""
    paths: Sequence[Path] | None = getattr(split, "paths", None)
    return None if paths is None else paths[index]


@dataclass(frozen=True, repr=False)
class Split:
    """Images (n, H, W, D), uint8 or floats finite in float32, and labels (n,), int32, from 0. Else raises DataError."""

    images: np.ndarray
    labels: np.ndarray
    resizes = False

    def __post_init__(self) -> None:
        images, labels = np.asarray(self.images), np.asarray(self.labels)
        object.__setattr__(self, "images", _checked_images(images))
        object.__setattr__(self, "labels", _checked_labels(labels, len(images)))

    def __repr__(self) -> str:
        return split_line(self)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """H, W, D of each image."""
        _, H, W, D = self.images.shape
        return H, W, D

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (len(indices), H, W, D) and labels (len(indices),) at these indices, as copies."""
        return self.images[indices], self.labels[indices]


@dataclass(frozen=True, repr=False)
class Part:
    """The images of a split at some indices; nothing is copied before it is asked for."""

    whole: AnySplit
    indices: np.ndarray

    def __repr__(self) -> str:
        return split_line(self)

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def labels(self) -> np.ndarray:
        """(n,) int32."""
        return np.asarray(self.whole.labels[self.indices])

    @cached_property
    def paths(self) -> Sequence[Path] | None:
        """The file of each image, where they are in files."""
        paths: Sequence[Path] | None = getattr(self.whole, "paths", None)
        return None if paths is None else [paths[index] for index in self.indices]

    @property
    def shape(self) -> tuple[int, int, int]:
        """H, W, D of each image."""
        return self.whole.shape

    @property
    def resizes(self) -> bool:
        """Whether another size can be had."""
        return self.whole.resizes

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (len(indices), H, W, D) and labels (len(indices),) at these indices of the part, as copies."""
        return self.whole.take(self.indices[indices])


def split_line(split: AnySplit) -> str:
    """What `repr` says of a split."""
    return f"<{type(split).__name__}: {len(split):,} images of {_by(split.shape)}>"


def in_memory(split: AnySplit) -> bool:
    """Whether images are there already: none is read from a disk or made anew."""
    return isinstance(split, Split) or (isinstance(split, Part) and in_memory(split.whole))


LEARNT, VALIDATED, TESTED = "to learn from", "to validate with", "to test on"
"""What the images of a split are for, in words."""


def nothing_to_test_on(chosen_by: str) -> str:
    """What is said of a data set that has images to validate with, and none to test on."""
    return f"no part to test on: the best epoch is chosen by {chosen_by}, and no other images measure it"


@dataclass(frozen=True, repr=False)
class Dataset(Shown):
    """What a run learns from, is tested on, and perhaps chooses its best weights by.

    `test`        images that are looked at once, at the end; where there are none, the same as `validation`
    `note`        what a reader of the results should know of the split
    `classes`     the name of each label, from 0; empty where they have none
    `white`       the value of a white pixel, where images are uint8
    `validation`  images that are neither learnt from nor tested on; None: there are none
    """

    name: str
    train: AnySplit
    test: AnySplit
    note: str = ""
    classes: tuple[str, ...] = ()
    white: int = 255
    validation: AnySplit | None = None

    def __post_init__(self) -> None:
        for split, words in self.splits[1:]:
            if self.train.shape != split.shape:
                raise DataError(
                    f"{self.name}: images to learn from are {_by(self.train.shape)}, those {words} "
                    f"{_by(split.shape)}; both must have the same height, width and depth"
                )

    @property
    def has_test(self) -> bool:
        """Whether there are images by which nothing was chosen."""
        return self.test is not self.validation

    @property
    def splits(self) -> tuple[tuple[AnySplit, str], ...]:
        """All splits, that to learn from first, and what each is for in words."""
        validation = () if self.validation is None else ((self.validation, VALIDATED),)
        return (self.train, LEARNT), *validation, *(((self.test, TESTED),) if self.has_test else ())

    @property
    def judged_by(self) -> tuple[AnySplit, str]:
        """The images that tell how good a net is, those to test on where there are any, and what they are for."""
        return self.splits[-1]

    @property
    def counted(self) -> str:
        """How many images it has for what, in words."""
        (train, words), *others = self.splits
        return ", ".join([f"{len(train):,} images {words}", *(f"{len(split):,} {words}" for split, words in others)])

    @property
    def class_count(self) -> int:
        """How many classes it has: so many names, or else up to the highest label."""
        return len(self.classes) or 1 + max(int(split.labels.max()) for split, _ in self.splits)

    def require(self, shape: tuple[int, int, int], classes: int) -> None:
        """Raise DataError unless a net that takes images of `shape` (H, W, D) and tells `classes` apart can use it."""
        self.require_shape(shape)
        first = self.train.labels[0]
        if len(self.train) > 1 and classes > 1 and (self.train.labels == first).all():
            raise DataError(
                f"{self.name}: all images to learn from have label {first}; there must be two classes or more"
            )
        if len(self.classes) > classes:
            shown = ", ".join(self.classes[:5]) + (", ..." if len(self.classes) > 5 else "")
            raise DataError(
                f"{self.name} has {len(self.classes)} classes ({shown}); the net tells {classes} apart; "
                f"end the net in FC-{len(self.classes)}"
            )
        for split, words in self.splits:
            at = int(split.labels.argmax())
            if split.labels[at] >= classes:
                raise DataError(
                    f"{self.name}: label {split.labels[at]} of image {at} {words} is out of range; "
                    f"the net's {classes} classes are labelled 0 to {classes - 1}"
                )

    def require_learnt(self) -> None:
        """Raise DataError where an image that is judged has a label that no image to learn from has."""
        learnt = np.unique(self.train.labels)
        for split, words in self.splits[1:]:
            strange = np.flatnonzero(~np.isin(split.labels, learnt))
            if len(strange):
                raise DataError(
                    f"{self.name}: image {strange[0]} {words} has label {split.labels[strange[0]]}, of which there is "
                    f"no image to learn from; {len(strange):,} of {len(split):,} are like that: leave them out, or add "
                    "images to learn from"
                )

    def require_shape(self, shape: tuple[int, int, int]) -> None:
        """Raise DataError, with the way out, unless a net that takes images of `shape` (H, W, D) can use these."""
        if self.train.shape == shape:
            return
        H, W, D = shape
        if self.train.resizes and self.train.shape[2] == D:
            way_out = f"bring them to its size (--size {H}x{W}), or use a net with that input"
        else:
            way_out = "use other data (--data NAME or PATH), or a net with that input"
        if self.train.shape == (D, H, W) and D != H:
            way_out = f"the depth comes last here, so move it: images.transpose(0, 2, 3, 1) are of {_by(shape)}"
        if self.train.shape == (W, D, H):
            way_out = f"did you mean {_by((W, D, H))}? The depth comes last"
        raise DataError(f"{self.name} holds images of {_by(self.train.shape)}; the net takes {_by(shape)}; {way_out}")


def _by(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))


def _checked_images(images: np.ndarray) -> np.ndarray:
    """Images as (n, H, W, D); (n, H, W) has one map."""
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or 0 in images.shape:
        raise DataError(f"images must have the shape (n, H, W, D), or (n, H, W), none of them 0; got {images.shape}")
    if images.dtype == np.uint8:
        return images
    if images.dtype not in (np.float32, np.float64):
        raise DataError(f"images must be uint8 (0 to 255), float32 or float64; got {images.dtype}")
    if not _are_finite(images):
        bad = next(i for i, image in enumerate(images) if not _are_finite(image))
        raise DataError(f"image {bad} holds NaN, infinite values or values too large for float32")
    return images


def _are_finite(values: np.ndarray) -> bool:
    """Whether they stay finite in float32, which nets compute in."""
    extremes = np.array([values.min(), values.max()])  # NaN where there is one
    with np.errstate(over="ignore"):
        return bool(np.isfinite(extremes.astype(np.float32)).all())


def _checked_labels(labels: np.ndarray, n: int) -> np.ndarray:
    if labels.shape != (n,):
        raise DataError(f"{n} images need labels of shape ({n},); got {labels.shape}")
    if labels.dtype.kind not in "iu":
        raise DataError(f"labels must be integers from 0; got {labels.dtype}")
    limit = np.iinfo(np.int32).max
    if labels.min() < 0 or labels.max() > limit:
        at = int(labels.argmin() if labels.min() < 0 else labels.argmax())
        raise DataError(f"label {labels[at]} of image {at} is out of range; labels are integers from 0 to {limit}")
    return labels.astype(np.int32)
