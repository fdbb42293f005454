"""Batches as people hand them over: NumPy arrays, checked before a byte of them is copied to a device."""

import numpy as np

from gpunet.errors import DataError, ShapeError
from gpunet.net.net import Net, least_images
from gpunet.values.types import largest


def check_images(images: np.ndarray, net: Net, batch: int, dtype: str) -> np.ndarray:
    """The images as an array (n, H, W, D), n <= batch, uint8 of net.image, or floats of net.input that are finite in
    the net's dtype.

    Raises ShapeError or DataError.
    """
    try:
        images = np.asarray(images)
    except ValueError as error:
        raise ShapeError(f"images must be one array (n, H, W, D): {error}") from None
    volume = net.image if images.dtype == np.uint8 else net.input
    if images.ndim != 4 or images.shape[1:] != volume.shape:
        wanted = f"(n, {', '.join(map(str, volume.shape))})"
        H, W, D = volume.shape
        hint = "; the depth comes last: images.transpose(0, 2, 3, 1)" if images.shape[1:] == (D, H, W) else ""
        raise ShapeError(f"{net.name} takes images of shape {wanted}; got {images.shape}{hint}")
    if not 1 <= len(images) <= batch:
        raise ShapeError(f"got {len(images)} images; this model was planned for 1 to {batch} at a time")
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f":
        raise DataError(f"images must be uint8 or floats; got {images.dtype}")
    most = largest(dtype)
    if not (-most <= images.min() and images.max() <= most):  # false for NaN, too
        bad = next(i for i, image in enumerate(images) if not (-most <= image.min() and image.max() <= most))
        raise DataError(f"image {bad} of the batch holds NaN, or values that are infinite in {dtype}")
    return images


def check_enough(n: int, pairing: str) -> None:
    """Raise ShapeError where a training step takes more images than these n, for the layer `pairing`."""
    if n < least_images(pairing):
        raise ShapeError(
            f"{pairing} takes its statistics over the images of a batch, so a step on {n} image cannot be; "
            f"give at least {least_images(pairing)}, or leave it out (evaluating takes single ones)"
        )


def check_labels(labels: np.ndarray, n: int, classes: int) -> np.ndarray:
    """The labels as an array (n,) of integers from 0 to classes - 1. Raises ShapeError or DataError."""
    labels = np.asarray(labels)
    if labels.shape != (n,):
        hint = "; of one-hot labels give labels.argmax(axis=1)" if labels.shape == (n, classes) else ""
        raise ShapeError(f"{n} images need labels of shape ({n},); got {labels.shape}{hint}")
    if labels.dtype.kind not in "iu":
        raise DataError(f"labels must be integers; got {labels.dtype}")
    if labels.min() < 0 or labels.max() >= classes:
        worst = int(labels.min() if labels.min() < 0 else labels.max())
        raise DataError(f"label {worst} is out of range; {classes} classes are labelled 0 to {classes - 1}")
    return labels


def check_last_batch(images: int, batch: int, pairing: str, ranks: int = 1) -> None:
    """Raise DataError where an epoch of so many images ends with a batch too small to train on, for that layer.

    `ranks`  among how many each batch is divided: the smallest share counts
    """
    last = images % batch or batch
    if ranks > 1:
        _check_last_shares(last, ranks, pairing)
        return
    if last >= least_images(pairing):
        return
    better = next((size for size in (*range(batch, 1, -1), batch + 1) if images % size != 1), 0)
    way_out = f"use a batch of {better}, or one image fewer" if images > 1 else "add images"
    raise DataError(
        f"{images} images in batches of {batch} leave a last batch of {last}, and {pairing} takes its "
        f"statistics over at least {least_images(pairing)}; {way_out}"
    )


def _check_last_shares(last: int, ranks: int, pairing: str) -> None:
    """Raise DataError where the last batch leaves a rank with too few images, but some."""
    least = max(1, last // ranks)
    if least < least_images(pairing):
        raise DataError(
            f"the last batch of an epoch has {last} images, which leaves a rank of {ranks} with {least}, and {pairing} "
            f"takes its statistics over at least {least_images(pairing)}; use another batch, fewer ranks, or --sync-bn"
        )
