"""Softmax cross-entropy on CUDA: cuda/softmax.cu. The classes of an image are the last axes of its scores."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.launch import launch_blocks

__all__ = ["softmax_backward", "softmax_forward", "softmax_mean"]


def softmax_forward(
    scores: DeviceArray,
    labels: DeviceArray,
    probabilities: DeviceArray,
    losses: DeviceArray,
    hits: DeviceArray,
) -> None:
    """Probabilities, -log(probability of the label) and whether it has the highest score; see gpunet.devices.cpu.softmax."""
    arrays = scores, labels, probabilities, losses, hits
    launch_blocks(
        "softmax",
        "softmax_forward",
        labels.size,
        *arrays,
        labels.size,
        scores.size // labels.size,
    )


def softmax_mean(losses: DeviceArray, hits: DeviceArray, loss: DeviceArray, correct: DeviceArray) -> None:
    """loss = mean of losses, correct = sum of hits; see gpunet.devices.cpu.softmax."""
    launch_blocks("softmax", "softmax_mean", 1, losses, hits, loss, correct, losses.size)


def softmax_backward(probabilities: DeviceArray, labels: DeviceArray, dx: DeviceArray) -> None:
    """dx = (probabilities - 1 at the label) / N; see gpunet.devices.cpu.softmax."""
    K = probabilities.size // labels.size
    launch_blocks(
        "softmax",
        "softmax_backward",
        labels.size,
        probabilities,
        labels,
        dx,
        labels.size,
        K,
    )
