"""ReLU on CUDA: cuda/relu.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.launch import launch

__all__ = ["relu_backward", "relu_forward"]


def relu_forward(x: DeviceArray, y: DeviceArray) -> None:
    """y = max(0, x); see gpunet.devices.cpu.relu."""
    launch("relu", "relu_forward", x.size, x, y, x.size)


def relu_backward(dy: DeviceArray, y: DeviceArray, dx: DeviceArray) -> None:
    """dx = dy where y > 0, else 0; see gpunet.devices.cpu.relu."""
    launch("relu", "relu_backward", dy.size, dy, y, dx, dy.size)
