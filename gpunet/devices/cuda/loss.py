"""What all losses share on CUDA: cuda/loss.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.launch import launch, launch_blocks

__all__ = ["add_loss", "mean_loss"]


def mean_loss(losses: DeviceArray, hits: DeviceArray, loss: DeviceArray, correct: DeviceArray) -> None:
    """loss = mean of losses, correct = sum of hits; see gpunet.devices.cpu.loss."""
    launch_blocks("loss", "mean_loss", 1, losses, hits, loss, correct, losses.size)


def add_loss(part: DeviceArray, total: DeviceArray, *, weight: float, training: int) -> None:
    """total += weight * part in training; see gpunet.devices.cpu.loss."""
    if training:
        launch("loss", "add_loss", 1, part, total, float(weight))
