"""Multiclass SVM loss on the CPU, a few rows at a time. Source: CS231n "Multiclass Support Vector Machine loss"."""

import numpy as np

__all__ = ["hinge_backward", "hinge_forward"]

ROWS = 32
"""Rows done at once, so that temporaries do not grow with the batch."""


def hinge_forward(
    scores: np.ndarray, labels: np.ndarray, losses: np.ndarray, hits: np.ndarray, *, margin: float, squared: int
) -> None:
    """The loss of each image: the sum over the other classes of max(0, score - label's score + margin), the excess.

    scores   (N, H, W, D)   float32 or float64, in; C = H*W*D classes in the order of memory
    labels   (N,)           int32, in; 0 <= label < C
    losses   (N,)           same dtype as scores, out
    hits     (N,)           int32, out; 1 where the label's score is the row's first maximum, else 0
    squared  1: the sum of the squares of max(0, excess)
    A NaN excess, as of a NaN score or of two scores that are infinite alike, makes the loss of its row NaN.
    Source: CS231n "Multiclass Support Vector Machine loss"; squared: "L2-SVM" there. PyTorch's multi_margin_loss
    divides by the number of classes and takes NaN for 0.
    """
    rows = scores.reshape(len(labels), -1)
    for start in range(0, len(rows), ROWS):
        block = slice(start, start + ROWS)
        hits[block] = rows[block].argmax(axis=1) == labels[block]
        excess = _excess(rows[block], labels[block], margin)
        np.sum(np.square(excess) if squared else excess, axis=1, out=losses[block])


def hinge_backward(
    scores: np.ndarray,
    labels: np.ndarray,
    dx: np.ndarray,
    *,
    margin: float,
    squared: int,
    images: int = 0,
    weight: float = 1.0,
) -> None:
    """The gradient of weight * the mean loss: dx = weight * slope / images, at the label minus the row's sum of it.

    scores   (N, H, W, D)   float32 or float64, in
    labels   (N,)           int32, in; 0 <= label < C
    dx       (N, H, W, D)   same dtype, out; may be scores
    images   of the whole batch, where these are only some of it; 0: N
    The slope is 1 where the excess is above 0, else 0, also just at 0; squared: 2 * max(0, excess). A NaN excess
    has the slope NaN.
    Source: CS231n "Optimization", the gradient of the SVM loss.
    """
    rows, gradients = scores.reshape(len(labels), -1), dx.reshape(len(labels), -1)
    count = images or len(rows)
    for start in range(0, len(rows), ROWS):
        block = slice(start, start + ROWS)
        out, label = gradients[block], labels[block]
        excess = _excess(rows[block], label, margin)
        slopes = 2 * excess if squared else np.heaviside(excess, 0)
        slopes[np.arange(len(slopes)), label] = -slopes.sum(axis=1)
        np.divide(slopes, count, out=out)
        np.multiply(out, weight, out=out)


def _excess(rows: np.ndarray, labels: np.ndarray, margin: float) -> np.ndarray:
    """max(0, score - label's score + margin) of every class, 0 for the label; NaN stays."""
    here = np.arange(len(rows))
    with np.errstate(invalid="ignore"):
        excess: np.ndarray = rows - rows[here, labels][:, None]
    excess += margin
    excess[here, labels] = 0
    np.maximum(excess, 0, out=excess)
    return excess
