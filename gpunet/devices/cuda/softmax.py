"""Softmax cross-entropy on CUDA: cuda/softmax.cu. The classes of an image are the last axes of its scores."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.launch import launch_blocks

__all__ = ["softmax_backward", "softmax_forward"]


def softmax_forward(
    scores: DeviceArray,
    labels: DeviceArray,
    probabilities: DeviceArray,
    losses: DeviceArray,
    hits: DeviceArray,
    *,
    smoothing: float = 0.0,
) -> None:
    """Probabilities, -log(probability of the label), whether its score is the best; see gpunet.devices.cpu.softmax."""
    N = labels.size
    K = scores.size // N
    arrays = scores, labels, probabilities, losses, hits
    launch_blocks("softmax", "softmax_forward", N, *arrays, N, K, *_wanted(smoothing, K))


def softmax_backward(
    probabilities: DeviceArray,
    labels: DeviceArray,
    dx: DeviceArray,
    *,
    images: int = 0,
    smoothing: float = 0.0,
    weight: float = 1.0,
) -> None:
    """dx = weight * (probabilities - what is wanted) / images; see gpunet.devices.cpu.softmax."""
    N = labels.size
    K = probabilities.size // N
    numbers = N, K, images or N, *_wanted(smoothing, K), float(weight)
    launch_blocks("softmax", "softmax_backward", N, probabilities, labels, dx, *numbers)


def _wanted(smoothing: float, classes: int) -> tuple[float, float]:
    """How much more probability is wanted of the label, and how much of every class."""
    return float(1 - smoothing), float(smoothing / classes)
