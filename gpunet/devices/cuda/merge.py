"""Merges on CUDA: cuda/merge.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.division import by
from gpunet.devices.cuda.launch import launch

__all__ = ["add", "concat_backward", "concat_forward"]


def add(a: DeviceArray, b: DeviceArray, y: DeviceArray) -> None:
    """y = a + b; see gpunet.devices.cpu.merge."""
    launch("merge", "add", y.size, a, b, y, y.size)


def concat_forward(*arrays: DeviceArray) -> None:
    """The maps of each input, one after another; see gpunet.devices.cpu.merge."""
    *xs, y = arrays
    first = 0
    for x in xs:
        D = x.shape[3]
        launch("merge", "copy_maps", x.size, x, y, x.size // D, *by(D), D, 0, y.shape[3], first)
        first += D


def concat_backward(*arrays: DeviceArray) -> None:
    """Each input gets the gradient of its maps; see gpunet.devices.cpu.merge."""
    dy, *dxs = arrays
    first = 0
    for dx in dxs:
        D = dx.shape[3]
        launch("merge", "copy_maps", dx.size, dy, dx, dx.size // D, *by(D), dy.shape[3], first, D, 0)
        first += D
