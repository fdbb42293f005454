"""ReLU on CUDA: cuda/relu.cu."""

from gpunet.devices.cuda.arrays import DeviceArray, Maps, lying
from gpunet.devices.cuda.division import by, magic
from gpunet.devices.cuda.launch import launch

__all__ = ["add_relu_backward", "relu_backward", "relu_backward_masked", "relu_forward", "relu_mask"]


def relu_forward(x: DeviceArray, y: DeviceArray) -> None:
    """y = max(0, x); see gpunet.devices.cpu.relu."""
    launch("relu", "relu_forward", x.size, x, y, x.size)


def relu_backward(dy: DeviceArray | Maps, y: DeviceArray | Maps, dx: DeviceArray) -> None:
    """dx = dy where y > 0, else 0; see gpunet.devices.cpu.relu."""
    if isinstance(dy, DeviceArray) and isinstance(y, DeviceArray):
        launch("relu", "relu_backward", dy.size, dy, y, dx, dy.size)
        return
    (dy, dy_row), (y, y_row), D = lying(dy), lying(y), dx.shape[-1]
    launch("relu", "relu_backward_maps", dx.size, dy, y, dx, dx.size // D, *by(D), dy_row, y_row)


def add_relu_backward(a: DeviceArray, b: DeviceArray, y: DeviceArray, dx: DeviceArray) -> None:
    """dx = a + b where y > 0, else 0; see gpunet.devices.cpu.relu."""
    launch("relu", "add_relu_backward", y.size, a, b, y, dx, y.size)


def relu_mask(y: DeviceArray | Maps, mask: DeviceArray) -> None:
    """A bit for each value, 1 where relu_backward lets gradients pass; see gpunet.devices.cpu.relu."""
    N, values = mask.shape[0], y.size // mask.shape[0]
    sizes = N, values, magic(-(-values // 8))
    if isinstance(y, DeviceArray):
        launch("relu", "relu_mask", y.size, y, mask, *sizes)
        return
    y, y_row = lying(y)
    launch("relu", "relu_mask_maps", mask.size, y, mask, *sizes, *by(y.shape[-1]), y_row)


def relu_backward_masked(dy: DeviceArray | Maps, mask: DeviceArray, dx: DeviceArray) -> None:
    """dx = dy where the mask has a 1, else 0; see gpunet.devices.cpu.relu."""
    N, values = mask.shape[0], dy.size // mask.shape[0]
    if isinstance(dy, DeviceArray):
        launch("relu", "relu_backward_masked", dy.size, dy, mask, dx, N, *by(values))
        return
    dy, dy_row = lying(dy)
    launch("relu", "relu_backward_masked_maps", dx.size, dy, mask, dx, N, *by(values), *by(dx.shape[-1]), dy_row)
