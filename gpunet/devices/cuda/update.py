"""Parameter updates on CUDA: cuda/update.cu. The formulas stand in gpunet.devices.cpu.update.

What depends on the settings alone is computed here, in float64: 1 - beta2 of a float32 beta2 would be off by 5e-5.
"""

from math import sqrt

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.launch import launch

__all__ = [
    "adagrad_update",
    "adam_update",
    "adamw_update",
    "momentum_update",
    "nesterov_update",
    "rmsprop_update",
    "sgd_update",
]


def sgd_update(dw: DeviceArray, w: DeviceArray, *, learning_rate: float, weight_decay: float) -> None:
    """w -= learning_rate * (dw + weight_decay*w)."""
    _launch("sgd_update", dw, w, numbers=(learning_rate, weight_decay))


def momentum_update(
    dw: DeviceArray, w: DeviceArray, v: DeviceArray, *, learning_rate: float, momentum: float, weight_decay: float
) -> None:
    """v = momentum*v + dw + weight_decay*w; w -= learning_rate*v."""
    _launch("momentum_update", dw, w, v, numbers=(learning_rate, momentum, weight_decay))


def nesterov_update(
    dw: DeviceArray, w: DeviceArray, v: DeviceArray, *, learning_rate: float, momentum: float, weight_decay: float
) -> None:
    """g = dw + weight_decay*w; v = momentum*v + g; w -= learning_rate*(g + momentum*v)."""
    _launch("nesterov_update", dw, w, v, numbers=(learning_rate, momentum, weight_decay))


def adagrad_update(
    dw: DeviceArray, w: DeviceArray, squares: DeviceArray, *, learning_rate: float, weight_decay: float, eps: float
) -> None:
    """g = dw + weight_decay*w; squares += g*g; w -= learning_rate*g / (sqrt(squares) + eps)."""
    _launch("adagrad_update", dw, w, squares, numbers=(learning_rate, weight_decay, eps))


def rmsprop_update(
    dw: DeviceArray,
    w: DeviceArray,
    squares: DeviceArray,
    *,
    learning_rate: float,
    weight_decay: float,
    alpha: float,
    eps: float,
) -> None:
    """As adagrad_update, with squares = alpha*squares + (1-alpha)*g*g."""
    _launch("rmsprop_update", dw, w, squares, numbers=(learning_rate, weight_decay, alpha, 1 - alpha, eps))


def adam_update(
    dw: DeviceArray,
    w: DeviceArray,
    m: DeviceArray,
    v: DeviceArray,
    *,
    learning_rate: float,
    step: int,
    weight_decay: float,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """w -= learning_rate*mean / (sqrt(mean square) + eps), means of g = dw + weight_decay*w that forget."""
    rate, scale = learning_rate / (1 - beta1**step), sqrt(1 - beta2**step)
    _launch("adam_update", dw, w, m, v, numbers=(rate, scale, weight_decay, 1 - beta1, beta2, 1 - beta2, eps))


def adamw_update(
    dw: DeviceArray,
    w: DeviceArray,
    m: DeviceArray,
    v: DeviceArray,
    *,
    learning_rate: float,
    step: int,
    weight_decay: float,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """w *= 1 - learning_rate*weight_decay, then as adam_update, of g = dw."""
    rate, scale = learning_rate / (1 - beta1**step), sqrt(1 - beta2**step)
    keep = 1 - learning_rate * weight_decay
    _launch("adamw_update", dw, w, m, v, numbers=(rate, scale, keep, 1 - beta1, beta2, 1 - beta2, eps))


def _launch(kernel: str, *arrays: DeviceArray, numbers: tuple[float, ...]) -> None:
    """Launch a kernel over all values of the arrays, which are alike."""
    count = arrays[0].size
    launch("update", kernel, count, *arrays, count, *map(float, numbers))
