"""Leaky ReLU on CUDA: cuda/leaky_relu.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.launch import launch

__all__ = ["leaky_relu_backward", "leaky_relu_forward"]


def leaky_relu_forward(x: DeviceArray, y: DeviceArray, *, alpha: float) -> None:
    """y = x where x > 0, else alpha * x; see gpunet.devices.cpu.leaky_relu."""
    launch("leaky_relu", "leaky_relu_forward", x.size, x, y, x.size, float(alpha))


def leaky_relu_backward(dy: DeviceArray, y: DeviceArray, dx: DeviceArray, *, alpha: float) -> None:
    """dx = dy where y > 0, else alpha * dy; see gpunet.devices.cpu.leaky_relu."""
    launch("leaky_relu", "leaky_relu_backward", dy.size, dy, y, dx, dy.size, float(alpha))
