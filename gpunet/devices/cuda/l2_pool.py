"""L2-norm pooling on CUDA: cuda/l2_pool.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.launch import launch
from gpunet.devices.cuda.windows import window_numbers, window_numbers_backward

__all__ = ["l2_pool_backward", "l2_pool_forward"]


def l2_pool_forward(x: DeviceArray, y: DeviceArray, *, F: int, S: int, P: int) -> None:
    """The length of what each window sees; see gpunet.devices.cpu.l2_pool."""
    launch("l2_pool", "l2_pool_forward", y.size, x, y, *window_numbers(x, y, F, S, P))


def l2_pool_backward(
    dy: DeviceArray, x: DeviceArray, y: DeviceArray, dx: DeviceArray, *, F: int, S: int, P: int
) -> None:
    """dx = sum of dy * (x / y); see gpunet.devices.cpu.l2_pool."""
    launch("l2_pool", "l2_pool_backward", dx.size, dy, x, y, dx, *window_numbers_backward(dy, dx, F, S, P))
