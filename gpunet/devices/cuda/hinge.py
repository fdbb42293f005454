"""Multiclass SVM loss on CUDA: cuda/hinge.cu. The classes of an image are the last axes of its scores."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.launch import launch_blocks

__all__ = ["hinge_backward", "hinge_forward"]


def hinge_forward(
    scores: DeviceArray, labels: DeviceArray, losses: DeviceArray, hits: DeviceArray, *, margin: float, squared: int
) -> None:
    """The sum over the other classes of max(0, score - label's + margin); see gpunet.devices.cpu.hinge."""
    N = labels.size
    arrays = scores, labels, losses, hits
    launch_blocks("hinge", "hinge_forward", N, *arrays, N, scores.size // N, float(margin), squared)


def hinge_backward(
    scores: DeviceArray,
    labels: DeviceArray,
    dx: DeviceArray,
    *,
    margin: float,
    squared: int,
    images: int = 0,
    weight: float = 1.0,
) -> None:
    """Slopes of the other classes, minus their sum at the label; see gpunet.devices.cpu.hinge."""
    N = labels.size
    numbers = N, scores.size // N, images or N, float(margin), squared, float(weight)
    launch_blocks("hinge", "hinge_backward", N, scores, labels, dx, *numbers)
