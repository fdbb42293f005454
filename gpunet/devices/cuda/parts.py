"""Sums over the parts of a batch on CUDA: kernels of cuda/merge.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.launch import launch

__all__ = ["add_part"]


def add_part(part: DeviceArray, total: DeviceArray, *, accumulate: int) -> None:
    """total = total + part, or a copy of it; see gpunet.devices.cpu.parts."""
    if accumulate:
        launch("merge", "add", total.size, total, part, total, total.size)
    else:
        launch("merge", "scaled", total.size, part, total, total.size, 1.0)
