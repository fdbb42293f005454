"""What all losses share on the CPU: the mean over the images, and the sum of several of them."""

import numpy as np

__all__ = ["add_loss", "mean_loss"]


def mean_loss(losses: np.ndarray, hits: np.ndarray, loss: np.ndarray, correct: np.ndarray) -> None:
    """The mean of the losses and the number of hits.

    losses   (N,)   float32 or float64, in
    hits     (N,)   int32, in
    loss     (1,)   same dtype as losses, out; summed in pairs, always in the same order
    correct  (1,)   int32, out
    A NaN loss makes the mean NaN.
    Source: CS231n "Softmax classifier": the data loss is the mean over the images.
    """
    loss[0] = np.add.reduce(losses) / len(losses)
    correct[0] = np.add.reduce(hits)


def add_loss(part: np.ndarray, total: np.ndarray, *, weight: float, training: int) -> None:
    """total += weight * part where `training` is 1; where it is 0, total stays as it is.

    part   (1,)   float32 or float64, in
    total  (1,)   same dtype, in and out
    Source: Szegedy et al. 2015, "Going deeper with convolutions": heads along the way count in training alone.
    """
    if training:
        total[0] += weight * part[0]
