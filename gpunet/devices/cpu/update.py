"""Optimizer updates on the CPU. Source: CS231n "Parameter updates"; the definitions are PyTorch's."""

import numpy as np

from gpunet.devices.cpu.threads import share_blocks

__all__ = ["momentum_update", "sgd_update"]


def sgd_update(dw: np.ndarray, w: np.ndarray, *, learning_rate: float, weight_decay: float) -> None:
    """g = dw + weight_decay*w; w -= learning_rate*g.

    dw  (...)   float32 or float64, in; holds no gradient afterwards
    w   (...)   same shape and dtype, in and out
    Source: CS231n "SGD"; weight decay is added to the gradient, as torch.optim.SGD does.
    """
    gradients, weights = dw.reshape(-1), w.reshape(-1)

    def one(block: slice, worker: int) -> None:
        step, weight = gradients[block], weights[block]
        _decay(step, weight, weight_decay)
        np.multiply(step, learning_rate, out=step)
        np.subtract(weight, step, out=weight)

    share_blocks(weights.size, one)


def momentum_update(
    dw: np.ndarray, w: np.ndarray, v: np.ndarray, *, learning_rate: float, momentum: float, weight_decay: float
) -> None:
    """g = dw + weight_decay*w; v = momentum*v + g; w -= learning_rate*v.

    dw  (...)   float32 or float64, in; holds no gradient afterwards
    w   (...)   same shape and dtype, in and out
    v   (...)   same shape and dtype, in and out: the velocity, all zeros before the first step
    Source: CS231n "Momentum update", with the learning rate outside v, as torch.optim.SGD has it.
    """
    gradients, weights, velocities = dw.reshape(-1), w.reshape(-1), v.reshape(-1)

    def one(block: slice, worker: int) -> None:
        step, weight, velocity = gradients[block], weights[block], velocities[block]
        _decay(step, weight, weight_decay)
        np.multiply(velocity, momentum, out=velocity)
        np.add(velocity, step, out=velocity)
        np.multiply(velocity, learning_rate, out=step)
        np.subtract(weight, step, out=weight)

    share_blocks(weights.size, one)


def _decay(gradient: np.ndarray, weight: np.ndarray, weight_decay: float) -> None:
    """gradient += weight_decay*weight, for one block."""
    if weight_decay:
        np.add(gradient, weight * weight_decay, out=gradient)
