"""Average pooling on CUDA: cuda/average_pool.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.launch import launch

__all__ = ["average_pool_backward", "average_pool_forward"]


def average_pool_forward(x: DeviceArray, y: DeviceArray, *, F: int, S: int, P: int) -> None:
    """Average of what each window sees; see gpunet.devices.cpu.average_pool."""
    launch("average_pool", "average_pool_forward", y.size, x, y, *x.shape, *y.shape[1:3], F, S, P)


def average_pool_backward(dy: DeviceArray, dx: DeviceArray, *, F: int, S: int, P: int) -> None:
    """Every window shares its dy out; see gpunet.devices.cpu.average_pool."""
    launch("average_pool", "average_pool_backward", dx.size, dy, dx, *dx.shape, *dy.shape[1:3], F, S, P)
