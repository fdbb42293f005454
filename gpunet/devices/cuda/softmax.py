"""Softmax cross-entropy on CUDA: cuda/softmax.cu. The classes of an image are the last axes of its scores."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.launch import launch_blocks

__all__ = ["softmax_backward", "softmax_forward", "softmax_mean"]


def softmax_forward(
    scores: DeviceArray, labels: DeviceArray, probabilities: DeviceArray, losses: DeviceArray, hits: DeviceArray
) -> None:
    """Probabilities, -log(probability of the label), whether its score is the best; see gpunet.devices.cpu.softmax."""
    arrays = scores, labels, probabilities, losses, hits
    launch_blocks("softmax", "softmax_forward", labels.size, *arrays, labels.size, scores.size // labels.size)


def softmax_mean(losses: DeviceArray, hits: DeviceArray, loss: DeviceArray, correct: DeviceArray) -> None:
    """loss = mean of losses, correct = sum of hits; see gpunet.devices.cpu.softmax."""
    launch_blocks("softmax", "softmax_mean", 1, losses, hits, loss, correct, losses.size)


def softmax_backward(probabilities: DeviceArray, labels: DeviceArray, dx: DeviceArray, *, images: int = 0) -> None:
    """dx = (probabilities - 1 at the label) / images; see gpunet.devices.cpu.softmax."""
    N = labels.size
    numbers = N, probabilities.size // N, images or N
    launch_blocks("softmax", "softmax_backward", N, probabilities, labels, dx, *numbers)
