"""Batch normalization with ReLU behind it on CUDA, and a sum between: the kernels of cuda/batch_norm.cu."""

from gpunet.devices.cuda.arrays import DeviceArray, Maps, lying
from gpunet.devices.cuda.batch_norm import numbers, pass_on, sum_gradients
from gpunet.devices.cuda.launch import launch

__all__ = ["batch_norm_relu_backward", "batch_norm_relu_backward_sums", "batch_norm_relu_forward"]


def batch_norm_relu_forward(
    x: DeviceArray | Maps,
    mean: DeviceArray,
    variance: DeviceArray,
    scale: DeviceArray,
    shift: DeviceArray,
    z: DeviceArray | None,
    y: DeviceArray | Maps,
    *,
    eps: float,
) -> None:
    """y = max(0, (x - mean) / sqrt(variance + eps) * scale + shift + z); see gpunet.devices.cpu.batch_norm."""
    given, (x, x_row), (y, y_row) = (mean, variance, scale, shift, z), lying(x), lying(y)
    launch("batch_norm", "batch_norm_relu_forward", x.size, x, *given, y, *numbers(x), x_row, y_row, float(eps))


def batch_norm_relu_backward_sums(
    dy: DeviceArray | Maps,
    x: DeviceArray | Maps,
    mean: DeviceArray,
    variance: DeviceArray,
    scale: DeviceArray,
    shift: DeviceArray,
    counters: DeviceArray,
    dscale: DeviceArray,
    dshift: DeviceArray,
    partials: DeviceArray,
    *,
    block_rows: int,
    eps: float,
) -> None:
    """As batch_norm_backward_sums, with a ReLU behind; see gpunet.devices.cpu.batch_norm."""
    given = mean, variance, scale, shift, counters, dscale, dshift, partials
    sum_gradients("batch_norm_relu_backward_sums", dy, x, given, block_rows, eps)


def batch_norm_relu_backward(
    dy: DeviceArray | Maps,
    x: DeviceArray | Maps,
    mean: DeviceArray,
    variance: DeviceArray,
    scale: DeviceArray,
    shift: DeviceArray,
    dscale: DeviceArray,
    dshift: DeviceArray,
    dx: DeviceArray,
    *,
    eps: float,
) -> None:
    """As batch_norm_backward, with a ReLU behind; see gpunet.devices.cpu.batch_norm."""
    pass_on("batch_norm_relu_backward", dy, x, (mean, variance, scale, shift, dscale, dshift), dx, eps)
