"""Convolution without sharing on CUDA: cuda/local.cu, which needs no scratch."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.division import magic
from gpunet.devices.cuda.launch import launch_blocks

__all__ = ["local_backward_input", "local_backward_weights", "local_forward"]

TILE = 32
"""Rows and columns of a product that one block makes, as TILE in cuda/local.cu."""


def local_forward(
    x: DeviceArray,
    w: DeviceArray,
    b: DeviceArray,
    y: DeviceArray,
    columns: DeviceArray | None,
    *,
    F: int,
    S: int,
    P: int,
) -> None:
    """A product of images and filters at each output position; see gpunet.devices.cpu.local."""
    N, H2, W2, K = y.shape
    launch_blocks("local", "local_forward", H2 * W2 * _tiles(N, K), x, w, b, y, *_sizes(x, y, F, S, P))


def local_backward_weights(
    x: DeviceArray,
    dy: DeviceArray,
    dw: DeviceArray,
    columns: DeviceArray | None,
    *,
    F: int,
    S: int,
    P: int,
    accumulate: int = 0,
) -> None:
    """A product of gradients and windows at each output position; see gpunet.devices.cpu.local."""
    _, H2, W2, K = dy.shape
    blocks = H2 * W2 * _tiles(K, F * F * x.shape[3])
    launch_blocks("local", "local_backward_weights", blocks, x, dy, dw, *_sizes(x, dy, F, S, P), accumulate)


def local_backward_input(
    dy: DeviceArray,
    w: DeviceArray,
    dx: DeviceArray,
    columns: DeviceArray | None,
    *,
    F: int,
    S: int,
    P: int,
) -> None:
    """A product of gradients and filters at each input position, for each window; see gpunet.devices.cpu.local."""
    N, H, W, D = dx.shape
    launch_blocks("local", "local_backward_input", H * W * _tiles(N, D), dy, w, dx, *_sizes(dx, dy, F, S, P))


def _tiles(rows: int, columns: int) -> int:
    """How many blocks a product of so many rows and columns takes."""
    return -(-rows // TILE) * -(-columns // TILE)


def _sizes(x: DeviceArray, y: DeviceArray, F: int, S: int, P: int) -> tuple[int, ...]:
    """N, H, W, D, H2, W2, K, F, S, P and the magics of W, W2, S and F * D."""
    _, _, W, D = x.shape
    return *x.shape, *y.shape[1:], F, S, P, *map(magic, (W, y.shape[2], S, F * D))
