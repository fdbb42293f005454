"""Softmax cross-entropy on the CPU, a few rows at a time. Source: CS231n "Softmax classifier"."""

import numpy as np

__all__ = ["softmax_backward", "softmax_forward", "softmax_mean"]

ROWS = 32
"""Rows done at once, so that temporaries do not grow with the batch."""


def softmax_forward(
    scores: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, losses: np.ndarray, hits: np.ndarray
) -> None:
    """Probabilities of each class, the loss of each image, and whether its label has the highest score.

    scores         (N, 1, 1, C)   float32 or float64, in
    labels         (N,)           int32, in; 0 <= label < C
    probabilities  (N, 1, 1, C)   same dtype, out; exp(score) over the row's sum; may be scores
    losses         (N,)           same dtype, out; -log(probability of the label), finite even where that underflows
    hits           (N,)           int32, out; 1 where the label's score is the row's first maximum, else 0
    The row's maximum is subtracted first, so finite scores never overflow. A NaN score makes its row's outputs NaN.
    Source: CS231n "Softmax classifier", "Practical issues: Numeric stability".
    """
    classes = scores.shape[-1]
    rows, outputs = scores.reshape(-1, classes), probabilities.reshape(-1, classes)
    for start in range(0, len(rows), ROWS):
        block = slice(start, start + ROWS)
        row, out, label = rows[block], outputs[block], labels[block]
        hits[block] = row.argmax(axis=1) == label
        np.subtract(row, row.max(axis=1, keepdims=True), out=out)
        chosen = out[np.arange(len(out)), label]
        np.exp(out, out=out)
        total = out.sum(axis=1, keepdims=True)
        np.divide(out, total, out=out)
        np.subtract(np.log(total[:, 0]), chosen, out=losses[block])


def softmax_mean(losses: np.ndarray, hits: np.ndarray, loss: np.ndarray, correct: np.ndarray) -> None:
    """The mean of the losses and the number of hits.

    losses   (N,)   float32 or float64, in
    hits     (N,)   int32, in
    loss     (1,)   same dtype as losses, out; summed in pairs, always in the same order
    correct  (1,)   int32, out
    Source: CS231n "Softmax classifier": the data loss is the mean over the images.
    """
    loss[0] = np.add.reduce(losses) / len(losses)
    correct[0] = np.add.reduce(hits)


def softmax_backward(probabilities: np.ndarray, labels: np.ndarray, dx: np.ndarray, *, images: int = 0) -> None:
    """The gradient of the mean loss: dx = (p - onehot(label)) / images.

    probabilities  (N, 1, 1, C)   float32 or float64, in
    labels         (N,)           int32, in; 0 <= label < C
    dx             (N, 1, 1, C)   same dtype, out; may be probabilities
    images         of the whole batch, where these are only some of it; 0: N
    Source: CS231n "Putting it together: Minimal Neural Network Case Study".
    """
    classes = dx.shape[-1]
    rows, gradients = probabilities.reshape(-1, classes), dx.reshape(-1, classes)
    count = images or len(rows)
    for start in range(0, len(rows), ROWS):
        block = slice(start, start + ROWS)
        out, label = gradients[block], labels[block]
        np.copyto(out, rows[block])
        out[np.arange(len(out)), label] -= 1
        np.divide(out, count, out=out)
