"""Gradient clipping on CUDA: cuda/clip.cu. The norm stays on the GPU; the host never waits for it."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.launch import launch, launch_blocks

__all__ = ["add_square_sum", "clip_by_norm", "clip_by_value"]


def clip_by_value(dw: DeviceArray, *, most: float) -> None:
    """dw = dw between -most and most; see gpunet.devices.cpu.clip."""
    launch("clip", "clip_by_value", dw.size, dw, dw.size, float(most))


def add_square_sum(
    dw: DeviceArray, square_sum: DeviceArray, partials: DeviceArray, *, block_values: int, begins: int
) -> None:
    """square_sum += the sum of the squares of dw, by way of partial sums; = where `begins` is 1."""
    blocks = -(-dw.size // block_values)
    launch_blocks("clip", "square_sums", blocks, dw, partials, dw.size, block_values)
    launch_blocks("clip", "add_partials", 1, partials, square_sum, blocks, begins)


def clip_by_norm(square_sum: DeviceArray, dw: DeviceArray, *, most: float) -> None:
    """dw *= most / (root of square_sum + 1e-6) where that is below 1."""
    launch("clip", "clip_by_norm", dw.size, square_sum, dw, dw.size, float(most))
