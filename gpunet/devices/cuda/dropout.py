"""Dropout on CUDA: cuda/dropout.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.division import magic
from gpunet.devices.cuda.launch import launch

__all__ = ["dropout", "dropout_whole"]


def dropout(
    x: DeviceArray,
    numbers: DeviceArray,
    y: DeviceArray,
    *,
    p: float,
    seed: int,
    step: int,
    layer: int,
    first_image: int,
    training: int,
) -> None:
    """y = 0 with probability p, else x / (1 - p); see gpunet.devices.cpu.dropout."""
    first = first_image * (x.size // max(1, x.shape[0]))
    threshold, scale = (round(p * 2**32), 1 / (1 - p)) if training else (0, 1.0)
    launch("dropout", "dropout", x.size, x, numbers, y, x.size, first, threshold, seed, step, layer, scale)


def dropout_whole(
    x: DeviceArray,
    numbers: DeviceArray,
    y: DeviceArray,
    *,
    p: float,
    maps: int,
    seed: int,
    step: int,
    layer: int,
    first_image: int,
    training: int,
) -> None:
    """The same for whole maps, or images; see gpunet.devices.cpu.dropout."""
    N, H, W, D = x.shape
    threshold, scale = (round(p * 2**32), 1 / (1 - p)) if training else (0, 1.0)
    sizes, drawn = (N, H * W, D, magic(H * W * D), magic(D)), (threshold, seed, step, layer, scale)
    launch("dropout", "dropout_whole", x.size, x, numbers, y, *sizes, first_image, maps, *drawn)
