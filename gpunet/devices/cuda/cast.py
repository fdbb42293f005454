"""Values of one floating type as those of another on CUDA: cuda/cast.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.launch import launch
from gpunet.values.types import is_half

__all__ = ["cast_forward"]


def cast_forward(x: DeviceArray, y: DeviceArray) -> None:
    """y = x, each value rounded once; see gpunet.devices.cpu.cast."""
    launch("cast", "cast_wide" if is_half(x) else "cast_narrow", x.size, x, y, x.size)
