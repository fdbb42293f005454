"""Softmax cross-entropy on CUDA: cuda/softmax.cu. The classes of an image are the last axes of its scores."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.division import by
from gpunet.devices.cuda.launch import BLOCK, launch

__all__ = ["softmax_backward", "softmax_forward"]

WARP = 32
"""Threads that share a row of up to MOST_OF_A_WARP classes; of more, all of a block do."""

MOST_OF_A_WARP = 1024
"""As in cuda/softmax.cu."""


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
    threads = N * (WARP if K <= MOST_OF_A_WARP else BLOCK)
    launch("softmax", "softmax_forward", threads, *arrays, N, K, *_wanted(smoothing, K))


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
    numbers = N, *by(K), images or N, *_wanted(smoothing, K), float(weight)
    launch("softmax", "softmax_backward", dx.size, probabilities, labels, dx, *numbers)


def _wanted(smoothing: float, classes: int) -> tuple[float, float]:
    """How much more probability is wanted of the label, and how much of every class."""
    return float(1 - smoothing), float(smoothing / classes)
