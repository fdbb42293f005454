"""The units of later nets on CUDA: cuda/units.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.launch import launch

__all__ = [
    "clip_backward",
    "clip_forward",
    "elu_backward",
    "elu_forward",
    "gelu_backward",
    "gelu_forward",
    "hard_sigmoid_backward",
    "hard_sigmoid_forward",
    "hard_swish_backward",
    "hard_swish_forward",
    "silu_backward",
    "silu_forward",
    "softplus_backward",
    "softplus_forward",
]


def clip_forward(x: DeviceArray, y: DeviceArray, *, low: float, high: float) -> None:
    """y = x brought into low..high; see gpunet.devices.cpu.units."""
    launch("units", "clip_forward", x.size, x, y, x.size, float(low), float(high))


def clip_backward(dy: DeviceArray, y: DeviceArray, dx: DeviceArray, *, low: float, high: float) -> None:
    """dx = dy where low < y < high; see gpunet.devices.cpu.units."""
    launch("units", "clip_backward", dy.size, dy, y, dx, dy.size, float(low), float(high))


def hard_sigmoid_forward(x: DeviceArray, y: DeviceArray) -> None:
    """y = min(max(0, x + 3), 6) / 6; see gpunet.devices.cpu.units."""
    launch("units", "hard_sigmoid_forward", x.size, x, y, x.size)


def hard_sigmoid_backward(dy: DeviceArray, y: DeviceArray, dx: DeviceArray) -> None:
    """dx = dy / 6 where 0 < y < 1; see gpunet.devices.cpu.units."""
    launch("units", "hard_sigmoid_backward", dy.size, dy, y, dx, dy.size)


def elu_forward(x: DeviceArray, y: DeviceArray, *, alpha: float) -> None:
    """y = x where x > 0, else alpha * (exp(x) - 1); see gpunet.devices.cpu.units."""
    launch("units", "elu_forward", x.size, x, y, x.size, float(alpha))


def elu_backward(dy: DeviceArray, y: DeviceArray, dx: DeviceArray, *, alpha: float) -> None:
    """dx = dy where y > 0, else dy * (y + alpha); see gpunet.devices.cpu.units."""
    launch("units", "elu_backward", dy.size, dy, y, dx, dy.size, float(alpha))


def softplus_forward(x: DeviceArray, y: DeviceArray) -> None:
    """y = log(1 + exp(x)); see gpunet.devices.cpu.units."""
    launch("units", "softplus_forward", x.size, x, y, x.size)


def softplus_backward(dy: DeviceArray, y: DeviceArray, dx: DeviceArray) -> None:
    """dx = dy * (1 - exp(-y)); see gpunet.devices.cpu.units."""
    launch("units", "softplus_backward", dy.size, dy, y, dx, dy.size)


def silu_forward(x: DeviceArray, y: DeviceArray) -> None:
    """y = x * sigmoid(x); see gpunet.devices.cpu.units."""
    launch("units", "silu_forward", x.size, x, y, x.size)


def silu_backward(dy: DeviceArray, x: DeviceArray, dx: DeviceArray) -> None:
    """dx = dy * s * (1 + x * (1 - s)), s = sigmoid(x); see gpunet.devices.cpu.units."""
    launch("units", "silu_backward", dy.size, dy, x, dx, dy.size)


def hard_swish_forward(x: DeviceArray, y: DeviceArray) -> None:
    """y = x * min(max(0, x + 3), 6) / 6; see gpunet.devices.cpu.units."""
    launch("units", "hard_swish_forward", x.size, x, y, x.size)


def hard_swish_backward(dy: DeviceArray, x: DeviceArray, dx: DeviceArray) -> None:
    """dx = dy * the slope at x; see gpunet.devices.cpu.units."""
    launch("units", "hard_swish_backward", dy.size, dy, x, dx, dy.size)


def gelu_forward(x: DeviceArray, y: DeviceArray, *, by_tanh: int) -> None:
    """y = x * p(x); see gpunet.devices.cpu.units."""
    launch("units", "gelu_forward", x.size, x, y, x.size, by_tanh)


def gelu_backward(dy: DeviceArray, x: DeviceArray, dx: DeviceArray, *, by_tanh: int) -> None:
    """dx = dy * (p(x) + x * p'(x)); see gpunet.devices.cpu.units."""
    launch("units", "gelu_backward", dy.size, dy, x, dx, dy.size, by_tanh)
