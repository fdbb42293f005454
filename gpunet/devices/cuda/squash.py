"""Sigmoid and tanh on CUDA: cuda/squash.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.launch import launch

__all__ = ["sigmoid_backward", "sigmoid_forward", "tanh_backward", "tanh_forward"]


def sigmoid_forward(x: DeviceArray, y: DeviceArray) -> None:
    """y = 1 / (1 + exp(-x)); see gpunet.devices.cpu.squash."""
    launch("squash", "sigmoid_forward", x.size, x, y, x.size)


def sigmoid_backward(dy: DeviceArray, y: DeviceArray, dx: DeviceArray) -> None:
    """dx = dy * (y * (1 - y)); see gpunet.devices.cpu.squash."""
    launch("squash", "sigmoid_backward", dy.size, dy, y, dx, dy.size)


def tanh_forward(x: DeviceArray, y: DeviceArray) -> None:
    """y = tanh(x); see gpunet.devices.cpu.squash."""
    launch("squash", "tanh_forward", x.size, x, y, x.size)


def tanh_backward(dy: DeviceArray, y: DeviceArray, dx: DeviceArray) -> None:
    """dx = dy * ((1 - y) * (1 + y)); see gpunet.devices.cpu.squash."""
    launch("squash", "tanh_backward", dy.size, dy, y, dx, dy.size)
