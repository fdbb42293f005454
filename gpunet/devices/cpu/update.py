"""Optimizer updates on the CPU. Source: CS231n "Parameter updates"; the definitions are those of torch.optim.

In every op
    loss     (1,)   float32 or float64, in: where it is infinite or NaN, nothing else is read or written
    numbers  (...)  float64, in: the numbers that change from step to step
    arrays   of one parameter or of several, first the gradients of all, then of each in turn itself and its caches:
      dw       (...)  dtype of the loss, in; holds no gradient afterwards
      w        (...)  shape and dtype of dw, in and out
      caches   (...)  shape and dtype of dw, in and out; all zeros before the first step
    rate     where the learning rate stands in numbers
and all work is done block by block, with one block of scratch for each worker.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from gpunet.devices.cpu.threads import BLOCK, share_blocks

__all__ = [
    "adagrad_update",
    "adam_update",
    "adamw_update",
    "momentum_update",
    "nesterov_update",
    "rmsprop_update",
    "sgd_update",
]


def sgd_update(loss: np.ndarray, numbers: np.ndarray, *arrays: np.ndarray, rate: int, weight_decay: float) -> None:
    """g = dw + weight_decay*w; w -= learning_rate*g.

    Source: CS231n "SGD"; weight decay is added to the gradient, as torch.optim.SGD does.
    """

    learning_rate = float(numbers[rate])

    def one(g: np.ndarray, weight: np.ndarray, spare: np.ndarray) -> None:
        _decay(g, weight, weight_decay, spare)
        np.multiply(g, learning_rate, out=g)
        np.subtract(weight, g, out=weight)

    _by_blocks(one, loss, arrays, 1)


def momentum_update(
    loss: np.ndarray,
    numbers: np.ndarray,
    *arrays: np.ndarray,
    rate: int,
    momentum: float,
    weight_decay: float,
) -> None:
    """g = dw + weight_decay*w; v = momentum*v + g; w -= learning_rate*v.

    v  the velocity
    Source: CS231n "Momentum update", with the learning rate outside v, as torch.optim.SGD has it. The notes and Caffe
    have it inside, v = momentum*v + learning_rate*g: the same weights as long as the learning rate stays the same;
    after a change theirs goes on for a while at the old one.
    """

    learning_rate = float(numbers[rate])

    def one(g: np.ndarray, weight: np.ndarray, velocity: np.ndarray, spare: np.ndarray) -> None:
        _decay(g, weight, weight_decay, spare)
        np.multiply(velocity, momentum, out=velocity)
        np.add(velocity, g, out=velocity)
        np.multiply(velocity, learning_rate, out=g)
        np.subtract(weight, g, out=weight)

    _by_blocks(one, loss, arrays, 2)


def nesterov_update(
    loss: np.ndarray,
    numbers: np.ndarray,
    *arrays: np.ndarray,
    rate: int,
    momentum: float,
    weight_decay: float,
) -> None:
    """g = dw + weight_decay*w; v = momentum*v + g; w -= learning_rate*(g + momentum*v).

    v  the velocity
    Source: CS231n "Nesterov Momentum", as torch.optim.SGD(nesterov=True) has it: w stands where the velocity will have
    carried it, so that the gradient is the one Nesterov 1983 asks for ahead of the step (Sutskever et al. 2013,
    rewritten by Bengio et al. 2013). The notes and Caffe have the learning rate inside v; see momentum_update.
    """

    learning_rate = float(numbers[rate])

    def one(g: np.ndarray, weight: np.ndarray, velocity: np.ndarray, spare: np.ndarray) -> None:
        _decay(g, weight, weight_decay, spare)
        np.multiply(velocity, momentum, out=velocity)
        np.add(velocity, g, out=velocity)
        np.multiply(velocity, momentum, out=spare)
        np.add(g, spare, out=g)
        np.multiply(g, learning_rate, out=g)
        np.subtract(weight, g, out=weight)

    _by_blocks(one, loss, arrays, 2)


def adagrad_update(
    loss: np.ndarray,
    numbers: np.ndarray,
    *arrays: np.ndarray,
    rate: int,
    weight_decay: float,
    eps: float,
) -> None:
    """g = dw + weight_decay*w; squares += g*g; w -= learning_rate*g / (sqrt(squares) + eps).

    squares  the sum of all squared gradients so far
    Source: CS231n "Adagrad"; Duchi et al. 2011, whose delta is eps. As torch.optim.Adagrad, without its decay of the
    learning rate, which a schedule does. Caffe's is the same with another eps, 1e-8.
    """

    learning_rate = float(numbers[rate])

    def one(g: np.ndarray, weight: np.ndarray, total: np.ndarray, spare: np.ndarray) -> None:
        _decay(g, weight, weight_decay, spare)
        np.multiply(g, g, out=spare)
        np.add(total, spare, out=total)
        _divide(g, total, 1, eps, spare)
        np.multiply(g, learning_rate, out=g)
        np.subtract(weight, g, out=weight)

    _by_blocks(one, loss, arrays, 2)


def rmsprop_update(
    loss: np.ndarray,
    numbers: np.ndarray,
    *arrays: np.ndarray,
    rate: int,
    weight_decay: float,
    alpha: float,
    eps: float,
) -> None:
    """g = dw + weight_decay*w; squares = alpha*squares + (1-alpha)*g*g; w -= learning_rate*g / (sqrt(squares) + eps).

    squares  the running mean of squared gradients
    Source: CS231n "RMSprop"; Tieleman & Hinton 2012, lecture 6e, which has alpha = 0.9 and no eps. As
    torch.optim.RMSprop, not centered, without momentum; Caffe's is the same; TensorFlow adds eps inside the root.
    """

    learning_rate = float(numbers[rate])

    def one(g: np.ndarray, weight: np.ndarray, mean: np.ndarray, spare: np.ndarray) -> None:
        _decay(g, weight, weight_decay, spare)
        _follow_squares(mean, g, alpha, spare)
        _divide(g, mean, 1, eps, spare)
        np.multiply(g, learning_rate, out=g)
        np.subtract(weight, g, out=weight)

    _by_blocks(one, loss, arrays, 2)


def adam_update(
    loss: np.ndarray,
    numbers: np.ndarray,
    *arrays: np.ndarray,
    rate: int,
    root: int,
    weight_decay: float,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """w -= learning_rate*mean / (sqrt(mean square) + eps), means of g = dw + weight_decay*w that forget.

    m     m = beta1*m + (1-beta1)*g;    mean = m / (1 - beta1**step)
    v     v = beta2*v + (1-beta2)*g*g;  mean square = v / (1 - beta2**step)
    rate, root  where learning_rate / (1 - beta1**step) and the root of 1 - beta2**step stand in numbers, step being 1
          for the first: the divisions make up for caches that begin at zero
    Source: CS231n "Adam"; Kingma & Ba 2015, algorithm 1, as torch.optim.Adam has it. Caffe does as the end of the
    paper's section 2 proposes: it adds eps to sqrt(v) before the correction, which in the first steps makes it larger.
    """
    take = _adam(float(numbers[rate]), float(numbers[root]), beta1, beta2, eps)

    def one(g: np.ndarray, weight: np.ndarray, first: np.ndarray, second: np.ndarray, spare: np.ndarray) -> None:
        _decay(g, weight, weight_decay, spare)
        take(g, weight, first, second, spare)

    _by_blocks(one, loss, arrays, 3)


def adamw_update(
    loss: np.ndarray,
    numbers: np.ndarray,
    *arrays: np.ndarray,
    rate: int,
    root: int,
    keep: int,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """w *= 1 - learning_rate*weight_decay, then as adam_update, of g = dw.

    keep  where 1 - learning_rate*weight_decay stands in numbers
    Source: Loshchilov & Hutter 2019, as torch.optim.AdamW has it. In the paper's algorithm 2 the decay is multiplied by
    the schedule alone and not by the learning rate at its start: its lambda is PyTorch's weight_decay times that.
    """
    take = _adam(float(numbers[rate]), float(numbers[root]), beta1, beta2, eps)
    kept = float(numbers[keep])

    def one(g: np.ndarray, weight: np.ndarray, first: np.ndarray, second: np.ndarray, spare: np.ndarray) -> None:
        np.multiply(weight, kept, out=weight)
        take(g, weight, first, second, spare)

    _by_blocks(one, loss, arrays, 3)


def _by_blocks(one: Callable[..., None], loss: np.ndarray, arrays: tuple[np.ndarray, ...], states: int) -> None:
    """Call one(dw, *state, spare) for every block of every parameter; `spare` is scratch of the same size.

    `states`  arrays of each parameter that change: itself and its caches
    Not where the loss is infinite or NaN.
    """
    if not np.isfinite(loss[0]):
        return
    spares: dict[int, np.ndarray] = {}

    def work(flat: Sequence[np.ndarray], block: slice, worker: int) -> None:
        if worker not in spares:
            spares[worker] = np.empty(BLOCK, loss.dtype)
        one(*(array[block] for array in flat), spares[worker][: block.stop - block.start])

    count = len(arrays) // (1 + states)
    for at, dw in enumerate(arrays[:count]):
        state = arrays[count + at * states : count + (at + 1) * states]
        flat = [array.reshape(-1) for array in (dw, *state)]
        share_blocks(dw.size, partial(work, flat))


def _decay(g: np.ndarray, weight: np.ndarray, weight_decay: float, spare: np.ndarray) -> None:
    """g += weight_decay*weight, for one block."""
    if weight_decay:
        np.multiply(weight, weight_decay, out=spare)
        np.add(g, spare, out=g)


def _follow_squares(mean: np.ndarray, g: np.ndarray, keep: float, spare: np.ndarray) -> None:
    """mean = keep*mean + (1-keep)*g*g, for one block."""
    np.multiply(mean, keep, out=mean)
    np.multiply(g, 1 - keep, out=spare)
    np.multiply(spare, g, out=spare)
    np.add(mean, spare, out=mean)


def _divide(g: np.ndarray, squares: np.ndarray, scale: float, eps: float, spare: np.ndarray) -> None:
    """g /= sqrt(squares)/scale + eps, for one block."""
    np.sqrt(squares, out=spare)
    if scale != 1:
        np.divide(spare, scale, out=spare)
    np.add(spare, eps, out=spare)
    np.divide(g, spare, out=g)


def _adam(rate: float, root: float, beta1: float, beta2: float, eps: float) -> Callable[..., None]:
    """Adam's step for one block, without weight decay; rate and root as they stand in numbers."""

    def take(g: np.ndarray, weight: np.ndarray, m: np.ndarray, v: np.ndarray, spare: np.ndarray) -> None:
        _follow_squares(v, g, beta2, spare)
        np.subtract(g, m, out=spare)
        np.multiply(spare, 1 - beta1, out=spare)
        np.add(m, spare, out=m)
        np.copyto(g, m)
        _divide(g, v, root, eps, spare)
        np.multiply(g, rate, out=g)
        np.subtract(weight, g, out=weight)

    return take
