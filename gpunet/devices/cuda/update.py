"""Parameter updates on CUDA: cuda/update.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.launch import launch

__all__ = ["momentum_update", "sgd_update"]


def sgd_update(dw: DeviceArray, w: DeviceArray, *, learning_rate: float, weight_decay: float) -> None:
    """w -= learning_rate * (dw + weight_decay*w); see gpunet.devices.cpu.update."""
    launch("update", "sgd_update", w.size, dw, w, w.size, float(learning_rate), float(weight_decay))


def momentum_update(
    dw: DeviceArray, w: DeviceArray, v: DeviceArray, *, learning_rate: float, momentum: float, weight_decay: float
) -> None:
    """v = momentum*v + dw + weight_decay*w; w -= learning_rate*v; see gpunet.devices.cpu.update."""
    numbers = float(learning_rate), float(momentum), float(weight_decay)
    launch("update", "momentum_update", w.size, dw, w, v, w.size, *numbers)
