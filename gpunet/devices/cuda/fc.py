"""Fully connected layers on CUDA: matrix products, then the bias."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.bias import add_bias
from gpunet.devices.cuda.gemm import matmul

__all__ = ["fc_backward_input", "fc_backward_weights", "fc_forward"]


def fc_forward(
    x: DeviceArray, w: DeviceArray, b: DeviceArray | None, y: DeviceArray, workspace: DeviceArray | None
) -> None:
    """y = x @ w.T + b; see gpunet.devices.cpu.fc."""
    scores = _rows(y)
    matmul(_rows(x), w, scores, transpose_b=True, workspace=workspace)
    if b is not None:
        add_bias(b, scores)


def fc_backward_weights(
    x: DeviceArray, dy: DeviceArray, dw: DeviceArray, workspace: DeviceArray | None, *, accumulate: int = 0
) -> None:
    """dw = dy.T @ x, or dw += where accumulate is 1; see gpunet.devices.cpu.fc."""
    matmul(_rows(dy), _rows(x), dw, transpose_a=True, accumulate=bool(accumulate), workspace=workspace)


def fc_backward_input(dy: DeviceArray, w: DeviceArray, dx: DeviceArray, workspace: DeviceArray | None) -> None:
    """dx = dy @ w; see gpunet.devices.cpu.fc."""
    matmul(_rows(dy), w, _rows(dx), workspace=workspace)


def _rows(array: DeviceArray) -> DeviceArray:
    """A row for each image."""
    return array.reshape(array.shape[0], -1)
