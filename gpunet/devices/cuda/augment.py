"""Augmentation on CUDA: cuda/augment.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.division import magic
from gpunet.devices.cuda.launch import launch, launch_blocks

__all__ = ["augment"]


def augment(
    x: DeviceArray,
    numbers: DeviceArray,
    y: DeviceArray,
    choices: DeviceArray,
    *,
    P: int,
    mirror: int,
    contrast: float,
    brightness: float,
    saturation: float,
    scale_0: float,
    scale_1: float,
    scale_2: float,
    shift_0: float,
    shift_1: float,
    shift_2: float,
    seed: int,
    seen: int,
    layer: int,
    first_image: int,
    training: int,
) -> None:
    """y = images cut out of x, perhaps mirrored and recoloured, scaled and shifted; see gpunet.devices.cpu.augment."""
    (N, H0, W0, D), (H, W) = x.shape, y.shape[1:3]
    sizes = N, H0, W0, D, H, W
    amounts = float(contrast), float(brightness), float(saturation)
    where = seed, layer, seen, first_image, int(training)
    chosen = magic(W), P, int(mirror), *amounts, *where
    launch_blocks("augment", "choose_augmentation", N, x, choices, numbers, *sizes, *chosen)
    normal = [float(number) for number in (scale_0, scale_1, scale_2, shift_0, shift_1, shift_2)]
    recolour = int(bool(training and any(amounts)))
    launch("augment", "augment", N * H * W, x, choices, y, *sizes, magic(H), magic(W), recolour, *normal)
