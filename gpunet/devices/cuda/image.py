"""Image batches on CUDA: cuda/image.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.launch import launch

__all__ = ["image_to_float"]


def image_to_float(x: DeviceArray, y: DeviceArray, *, scale: float, shift: float) -> None:
    """y = x*scale + shift; see gpunet.devices.cpu.image."""
    launch("image", "image_to_float", x.size, x, y, x.size, float(scale), float(shift))
