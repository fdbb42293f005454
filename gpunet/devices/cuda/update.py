"""Parameter updates on CUDA: cuda/update.cu. The formulas stand in gpunet.devices.cpu.update.

One launch updates all parameters that it is given. What depends on the settings alone is computed here, in float64:
1 - beta2 of a float32 beta2 would be off by 5e-5.
"""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.table import launch_each

__all__ = [
    "adagrad_update",
    "adam_update",
    "adamw_update",
    "momentum_update",
    "nesterov_update",
    "rmsprop_update",
    "sgd_update",
]


def sgd_update(loss: DeviceArray, numbers: DeviceArray, *arrays: DeviceArray, rate: int, weight_decay: float) -> None:
    """w -= learning_rate * (dw + weight_decay*w)."""
    _launch("sgd_update", loss, numbers, arrays, 1, (rate,), weight_decay)


def momentum_update(
    loss: DeviceArray,
    numbers: DeviceArray,
    *arrays: DeviceArray,
    rate: int,
    momentum: float,
    weight_decay: float,
) -> None:
    """v = momentum*v + dw + weight_decay*w; w -= learning_rate*v."""
    _launch("momentum_update", loss, numbers, arrays, 2, (rate,), momentum, weight_decay)


def nesterov_update(
    loss: DeviceArray,
    numbers: DeviceArray,
    *arrays: DeviceArray,
    rate: int,
    momentum: float,
    weight_decay: float,
) -> None:
    """g = dw + weight_decay*w; v = momentum*v + g; w -= learning_rate*(g + momentum*v)."""
    _launch("nesterov_update", loss, numbers, arrays, 2, (rate,), momentum, weight_decay)


def adagrad_update(
    loss: DeviceArray,
    numbers: DeviceArray,
    *arrays: DeviceArray,
    rate: int,
    weight_decay: float,
    eps: float,
) -> None:
    """g = dw + weight_decay*w; squares += g*g; w -= learning_rate*g / (sqrt(squares) + eps)."""
    _launch("adagrad_update", loss, numbers, arrays, 2, (rate,), weight_decay, eps)


def rmsprop_update(
    loss: DeviceArray,
    numbers: DeviceArray,
    *arrays: DeviceArray,
    rate: int,
    weight_decay: float,
    alpha: float,
    eps: float,
) -> None:
    """As adagrad_update, with squares = alpha*squares + (1-alpha)*g*g."""
    _launch("rmsprop_update", loss, numbers, arrays, 2, (rate,), weight_decay, alpha, 1 - alpha, eps)


def adam_update(
    loss: DeviceArray,
    numbers: DeviceArray,
    *arrays: DeviceArray,
    rate: int,
    root: int,
    weight_decay: float,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """w -= learning_rate*mean / (sqrt(mean square) + eps), means of g = dw + weight_decay*w that forget."""
    constants = weight_decay, 1 - beta1, beta2, 1 - beta2, eps
    _launch("adam_update", loss, numbers, arrays, 3, (rate, root), *constants)


def adamw_update(
    loss: DeviceArray,
    numbers: DeviceArray,
    *arrays: DeviceArray,
    rate: int,
    root: int,
    keep: int,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """w *= 1 - learning_rate*weight_decay, then as adam_update, of g = dw."""
    constants = 1 - beta1, beta2, 1 - beta2, eps
    _launch("adamw_update", loss, numbers, arrays, 3, (rate, root, keep), *constants)


def _launch(
    kernel: str,
    loss: DeviceArray,
    numbers: DeviceArray,
    arrays: tuple[DeviceArray, ...],
    states: int,
    places: tuple[int, ...],
    *constants: float,
) -> None:
    """Launch a kernel over all parameters: of each its gradient, then `states` arrays of each; `places`: in numbers."""
    count = len(arrays) // (1 + states)
    gradients, state = arrays[:count], arrays[count:]
    entries = [(dw, *state[at * states : (at + 1) * states]) for at, dw in enumerate(gradients)]
    launch_each("update", kernel, entries, loss, numbers, *places, *map(float, constants))
