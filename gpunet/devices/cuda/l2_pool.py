"""L2-norm pooling on CUDA: cuda/l2_pool.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.launch import launch

__all__ = ["l2_pool_backward", "l2_pool_forward"]


def l2_pool_forward(x: DeviceArray, y: DeviceArray, *, F: int, S: int, P: int) -> None:
    """The length of what each window sees; see gpunet.devices.cpu.l2_pool."""
    launch("l2_pool", "l2_pool_forward", y.size, x, y, *x.shape, *y.shape[1:3], F, S, P)


def l2_pool_backward(
    dy: DeviceArray, x: DeviceArray, y: DeviceArray, dx: DeviceArray, *, F: int, S: int, P: int
) -> None:
    """dx = sum of dy * (x / y); see gpunet.devices.cpu.l2_pool."""
    launch("l2_pool", "l2_pool_backward", dx.size, dy, x, y, dx, *dx.shape, *dy.shape[1:3], F, S, P)
