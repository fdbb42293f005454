"""Fully connected layers on CUDA: matrix products, then the bias.

By "library" cuBLAS makes them; on tensor cores they are a convolution of one position, the bias in the same kernel.
"""

from gpunet.devices.cuda import tensor_cores
from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.bias import add_bias
from gpunet.devices.cuda.gemm import matmul
from gpunet.program.filters import ConvShape, Filters

__all__ = ["fc_backward_input", "fc_backward_weights", "fc_forward"]


def fc_forward(
    x: DeviceArray,
    w: DeviceArray,
    b: DeviceArray | None,
    y: DeviceArray,
    workspace: DeviceArray | None,
    *,
    algorithm: str = "library",
    tile: int = 0,
    slices: int = 1,
) -> None:
    """y = x @ w.T + b; see gpunet.devices.cpu.fc."""
    if algorithm != "library":
        tensor_cores.forward(algorithm, x, w, b, y, workspace, _shape(w, x), tile, slices)
        return
    scores = _rows(y)
    matmul(_rows(x), w, scores, transpose_b=True, workspace=workspace)
    if b is not None:
        add_bias(b, scores)


def fc_backward_weights(
    x: DeviceArray,
    dy: DeviceArray,
    dw: DeviceArray,
    workspace: DeviceArray | None,
    *,
    algorithm: str = "library",
    tile: int = 0,
    slices: int = 1,
    accumulate: int = 0,
) -> None:
    """dw = dy.T @ x, or dw += where accumulate is 1; see gpunet.devices.cpu.fc."""
    if algorithm != "library":
        tensor_cores.backward_weights(algorithm, x, dy, dw, workspace, _shape(dw, x), tile, slices, accumulate)
        return
    matmul(_rows(dy), _rows(x), dw, transpose_a=True, accumulate=bool(accumulate), workspace=workspace)


def fc_backward_input(
    dy: DeviceArray,
    w: DeviceArray,
    dx: DeviceArray,
    workspace: DeviceArray | None,
    *,
    algorithm: str = "library",
    tile: int = 0,
    slices: int = 1,
) -> None:
    """dx = dy @ w; see gpunet.devices.cpu.fc."""
    if algorithm != "library":
        tensor_cores.backward_input(algorithm, dy, w, dx, workspace, _shape(w, dx), tile, slices)
        return
    matmul(_rows(dy), w, _rows(dx), workspace=workspace)


def _rows(array: DeviceArray) -> DeviceArray:
    """A row for each image."""
    return array.reshape(array.shape[0], -1)


def _shape(w: DeviceArray, x: DeviceArray) -> ConvShape:
    """As a convolution of one position, whose maps are all inputs; w is (K, inputs)."""
    K, inputs = w.shape
    return ConvShape(x.shape[0], 1, 1, inputs, 1, 1, K, 1, Filters(1, 1, 1, 1, 0, 0, 1, 1))
