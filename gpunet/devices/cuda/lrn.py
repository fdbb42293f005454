"""Local response normalization on CUDA: cuda/lrn.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.division import magic
from gpunet.devices.cuda.launch import launch

__all__ = ["lrn_backward", "lrn_forward"]


def lrn_forward(x: DeviceArray, y: DeviceArray, *, F: int, maps: int, alpha: float, beta: float, k: float) -> None:
    """y = x / (k + alpha * sum of squares around x)**beta; see gpunet.devices.cpu.lrn."""
    launch("lrn", "lrn_forward", x.size, x, y, *_sizes(x, F, maps), float(alpha), float(beta), float(k))


def lrn_backward(
    dy: DeviceArray, x: DeviceArray, dx: DeviceArray, *, F: int, maps: int, alpha: float, beta: float, k: float
) -> None:
    """The scale is made again; see gpunet.devices.cpu.lrn."""
    launch("lrn", "lrn_backward", x.size, dy, x, dx, *_sizes(x, F, maps), float(alpha), float(beta), float(k))


def _sizes(x: DeviceArray, F: int, maps: int) -> tuple[int, ...]:
    """N, H, W, D, F, maps and the magics of H, W and D."""
    return *x.shape, F, maps, *map(magic, x.shape[1:])
