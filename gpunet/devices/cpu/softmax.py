"""Softmax cross-entropy on the CPU, a few rows at a time. Source: CS231n "Softmax classifier"."""

import numpy as np

__all__ = ["softmax_backward", "softmax_forward"]

ROWS = 32
"""Rows done at once, so that temporaries do not grow with the batch."""


def softmax_forward(
    scores: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    losses: np.ndarray,
    hits: np.ndarray,
    *,
    smoothing: float = 0.0,
) -> None:
    """Probabilities of each class, the loss of each image, and whether its label has the highest score.

    scores         (N, H, W, D)   float32 or float64, in; C = H*W*D classes in the order of memory
    labels         (N,)           int32, in; 0 <= label < C
    probabilities  (N, H, W, D)   same dtype, out; exp(score) over the row's sum; may be scores
    losses         (N,)           same dtype, out; -log(probability of the label), finite even where that underflows
    hits           (N,)           int32, out; 1 where the label's score is the row's first maximum, else 0
    smoothing      s, 0 <= s < 1: losses are (1 - s) * -log(p of the label) + s * (mean of -log(p) over all classes)
    The row's maximum is subtracted first, so finite scores never overflow. A NaN score makes its row's outputs NaN.
    With smoothing a score of -inf makes the loss infinite.
    Source: CS231n "Softmax classifier", "Practical issues: Numeric stability"; smoothing: Szegedy et al. 2016,
    "Rethinking the Inception architecture for computer vision".
    """
    rows, outputs = scores.reshape(len(labels), -1), probabilities.reshape(len(labels), -1)
    classes = rows.shape[1]
    for start in range(0, len(rows), ROWS):
        block = slice(start, start + ROWS)
        row, out, label = rows[block], outputs[block], labels[block]
        hits[block] = row.argmax(axis=1) == label
        np.subtract(row, row.max(axis=1, keepdims=True), out=out)
        wanted = out[np.arange(len(out)), label]
        if smoothing:
            wanted = (1 - smoothing) * wanted + smoothing / classes * out.sum(axis=1)
        np.exp(out, out=out)
        total = out.sum(axis=1, keepdims=True)
        np.divide(out, total, out=out)
        np.subtract(np.log(total[:, 0]), wanted, out=losses[block])


def softmax_backward(
    probabilities: np.ndarray,
    labels: np.ndarray,
    dx: np.ndarray,
    *,
    images: int = 0,
    smoothing: float = 0.0,
    weight: float = 1.0,
) -> None:
    """The gradient of weight * the mean loss: dx = weight * (p - (1 - s)*onehot(label) - s/C) / images.

    probabilities  (N, H, W, D)   float32 or float64, in
    labels         (N,)           int32, in; 0 <= label < C
    dx             (N, H, W, D)   same dtype, out; may be probabilities
    images         of the whole batch, where these are only some of it; 0: N
    smoothing      s, as in softmax_forward
    Source: CS231n "Putting it together: Minimal Neural Network Case Study".
    """
    rows, gradients = probabilities.reshape(len(labels), -1), dx.reshape(len(labels), -1)
    classes = rows.shape[1]
    count = images or len(rows)
    for start in range(0, len(rows), ROWS):
        block = slice(start, start + ROWS)
        out, label = gradients[block], labels[block]
        np.copyto(out, rows[block])
        out[np.arange(len(out)), label] -= 1 - smoothing
        np.subtract(out, smoothing / classes, out=out)
        np.divide(out, count, out=out)
        np.multiply(out, weight, out=out)
