"""What the scores (..., classes) of images say: probabilities, the first classes, and how far down a label comes."""

import numpy as np

from gpunet.errors import DataError


def softmax(scores: np.ndarray) -> np.ndarray:
    """The softmax of each row, in its dtype. Source: CS231n "Softmax classifier"."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    chances: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return chances


def require_finite(scores: np.ndarray, net: str) -> None:
    """Raise DataError where a score is infinite or NaN."""
    if not np.isfinite(scores).all():
        raise DataError(f"{net} gives scores that are infinite or NaN: its weights are of no use")


def first(scores: np.ndarray, count: int) -> np.ndarray:
    """(n, count) int64: the classes with the highest scores, the highest first; of equals the lower number."""
    order: np.ndarray = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return order


def ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) int64: how many classes come before the label of each row, in the order of `first`."""
    own = np.take_along_axis(scores, labels[:, np.newaxis].astype(np.int64), axis=1)
    before = np.arange(scores.shape[1]) < labels[:, np.newaxis]
    found: np.ndarray = ((scores > own) | ((scores == own) & before)).sum(axis=1)
    return found
