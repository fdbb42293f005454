"""What a data set is: two splits of images with labels."""

from dataclasses import dataclass

import numpy as np

from gpunet.errors import DataError


@dataclass(frozen=True)
class Split:
    """Images (n, H, W, D), uint8 or finite floats, and labels (n,), int32, from 0. Raises DataError for anything else.

    A split that reads its images only when they are needed has the same `labels`, `shape`, `len()` and `take`.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        images, labels = np.asarray(self.images), np.asarray(self.labels)
        object.__setattr__(self, "images", _checked_images(images))
        object.__setattr__(self, "labels", _checked_labels(labels, len(images)))

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


@dataclass(frozen=True)
class Dataset:
    """What a run learns from and is tested on. `note`: what a reader of the results should know of the split."""

    name: str
    train: Split
    test: Split
    note: str = ""

    def __post_init__(self) -> None:
        if self.train.shape != self.test.shape:
            raise DataError(
                f"{self.name}: images to learn from are {_by(self.train.shape)}, those to test on "
                f"{_by(self.test.shape)}; both must have the same height, width and depth"
            )

    def require(self, shape: tuple[int, int, int], classes: int) -> None:
        """Raise DataError unless a net that takes images of `shape` (H, W, D) and tells `classes` apart can use it."""
        if self.train.shape != shape:
            raise DataError(
                f"{self.name} holds images of {_by(self.train.shape)}; the net takes {_by(shape)}; "
                "use other data (--data PATH of an .npz file), or a net with that input"
            )
        for split, words in ((self.train, "to learn from"), (self.test, "to test on")):
            at = int(split.labels.argmax())
            if split.labels[at] >= classes:
                raise DataError(
                    f"{self.name}: label {split.labels[at]} of image {at} {words} is out of range; "
                    f"the net's {classes} classes are labelled 0 to {classes - 1}"
                )


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
    if not (np.isfinite(images.min()) and np.isfinite(images.max())):
        bad = next(i for i, image in enumerate(images) if not np.isfinite(image).all())
        raise DataError(f"image {bad} holds NaN or infinite values")
    return images


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
