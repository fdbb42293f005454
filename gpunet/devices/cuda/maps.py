"""Slices and shuffles of maps on CUDA: cuda/maps.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.division import by
from gpunet.devices.cuda.launch import launch

__all__ = ["shuffle", "slice_backward", "slice_forward"]


def slice_forward(x: DeviceArray, y: DeviceArray, *, first: int) -> None:
    """Maps of x from `first` on; see gpunet.devices.cpu.maps."""
    launch("maps", "shift_maps", y.size, x, y, x.size // x.shape[3], x.shape[3], *by(y.shape[3]), first)


def slice_backward(dy: DeviceArray, dx: DeviceArray, *, first: int) -> None:
    """dx = dy in the maps from `first` on, else 0; see gpunet.devices.cpu.maps."""
    launch("maps", "shift_maps", dx.size, dy, dx, dx.size // dx.shape[3], dy.shape[3], *by(dx.shape[3]), -first)


def shuffle(x: DeviceArray, y: DeviceArray, *, groups: int) -> None:
    """Map i of group g becomes map i*groups + g; see gpunet.devices.cpu.maps."""
    launch("maps", "shuffle", x.size, x, y, x.size // x.shape[3], *by(x.shape[3]), *by(groups))
