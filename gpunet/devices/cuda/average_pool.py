"""Average pooling on CUDA: cuda/average_pool.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.launch import launch
from gpunet.devices.cuda.windows import window_numbers, window_numbers_backward

__all__ = ["average_pool_backward", "average_pool_forward"]


def average_pool_forward(x: DeviceArray, y: DeviceArray, *, F: int, S: int, P: int) -> None:
    """Average of what each window sees; see gpunet.devices.cpu.average_pool."""
    launch("average_pool", "average_pool_forward", y.size, x, y, *window_numbers(x, y, F, S, P))


def average_pool_backward(dy: DeviceArray, dx: DeviceArray, *, F: int, S: int, P: int) -> None:
    """Every window shares its dy out; see gpunet.devices.cpu.average_pool."""
    launch("average_pool", "average_pool_backward", dx.size, dy, dx, *window_numbers_backward(dy, dx, F, S, P))
