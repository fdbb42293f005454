"""ReLU on CUDA: cuda/relu.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.division import by, magic
from gpunet.devices.cuda.launch import launch

__all__ = ["add_relu_backward", "relu_backward", "relu_backward_masked", "relu_forward", "relu_mask"]


def relu_forward(x: DeviceArray, y: DeviceArray) -> None:
    """y = max(0, x); see gpunet.devices.cpu.relu."""
    launch("relu", "relu_forward", x.size, x, y, x.size)


def relu_backward(dy: DeviceArray, y: DeviceArray, dx: DeviceArray) -> None:
    """dx = dy where y > 0, else 0; see gpunet.devices.cpu.relu."""
    launch("relu", "relu_backward", dy.size, dy, y, dx, dy.size)


def add_relu_backward(a: DeviceArray, b: DeviceArray, y: DeviceArray, dx: DeviceArray) -> None:
    """dx = a + b where y > 0, else 0; see gpunet.devices.cpu.relu."""
    launch("relu", "add_relu_backward", y.size, a, b, y, dx, y.size)


def relu_mask(y: DeviceArray, mask: DeviceArray) -> None:
    """A bit for each value, 1 where relu_backward lets gradients pass; see gpunet.devices.cpu.relu."""
    N, values = mask.shape[0], y.size // mask.shape[0]
    launch("relu", "relu_mask", y.size, y, mask, N, values, magic(-(-values // 8)))


def relu_backward_masked(dy: DeviceArray, mask: DeviceArray, dx: DeviceArray) -> None:
    """dx = dy where the mask has a 1, else 0; see gpunet.devices.cpu.relu."""
    N, values = mask.shape[0], dy.size // mask.shape[0]
    launch("relu", "relu_backward_masked", dy.size, dy, mask, dx, N, *by(values))
