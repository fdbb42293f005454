"""Passes of a convolution on CUDA by the algorithms whose kernels take what is fused with it: implicit, winograd2, and
those on tensor cores.

Each function says whether the algorithm was one of these; where it was not, nothing was done.
"""

from gpunet.devices.cuda import implicit, tensor_cores, winograd
from gpunet.devices.cuda.arrays import DeviceArray, Maps
from gpunet.devices.cuda.tensor_tiles import FILES
from gpunet.program.filters import ConvShape

__all__: tuple[str, ...] = ()  # no ops here

SLOPING = ("implicit", "winograd2", *FILES)
"""Algorithms whose gradient of the input knows the ReLU that made it."""


def forward(
    algorithm: str,
    x: DeviceArray,
    w: DeviceArray,
    b: DeviceArray | None,
    y: DeviceArray | Maps,
    workspace: DeviceArray | None,
    shape: ConvShape,
    tile: int,
    slices: int,
    relu: int = 0,
) -> bool:
    """y of conv_forward, or where `relu` of conv_relu_forward."""
    if algorithm == "implicit":
        implicit.forward(x, w, b, y, workspace, shape, tile, slices, relu)
    elif algorithm in FILES:
        tensor_cores.forward(algorithm, x, w, b, y, workspace, shape, tile, slices, relu)
    elif algorithm == "winograd2":
        winograd.forward(x, w, b, y, _filled(workspace), shape, relu)
    else:
        return False
    return True


def pool_forward(
    algorithm: str,
    x: DeviceArray,
    w: DeviceArray,
    b: DeviceArray | None,
    y: DeviceArray,
    switches: DeviceArray | None,
    workspace: DeviceArray | None,
    shape: ConvShape,
    tile: int,
    relu: int,
) -> bool:
    """y and switches of conv_pool_forward, by windows of 2 x 2; H2 and W2 of the shape are twice those of y."""
    if algorithm == "implicit":
        implicit.pool_forward(x, w, b, y, switches, shape, tile, relu)
    elif algorithm in FILES:
        tensor_cores.pool_forward(algorithm, x, w, b, y, switches, shape, tile, relu)
    elif algorithm == "winograd2":
        winograd.pool_forward(x, w, b, y, switches, _filled(workspace), shape, relu)
    else:
        return False
    return True


def backward_weights(
    algorithm: str,
    x: DeviceArray,
    dy: DeviceArray,
    dw: DeviceArray,
    workspace: DeviceArray | None,
    shape: ConvShape,
    tile: int,
    slices: int,
    accumulate: int,
    switches: DeviceArray | None = None,
) -> bool:
    """dw of conv_backward_weights; with switches, dy is behind a pool of 2 x 2."""
    if algorithm == "implicit":
        implicit.backward_weights(x, dy, dw, workspace, shape, tile, slices, accumulate, switches)
    elif algorithm in FILES:
        tensor_cores.backward_weights(algorithm, x, dy, dw, workspace, shape, tile, slices, accumulate, switches)
    elif algorithm == "winograd2":
        winograd.backward_weights(x, dy, dw, _filled(workspace), shape, slices, accumulate, switches)
    else:
        return False
    return True


def backward_input(
    algorithm: str,
    dy: DeviceArray,
    w: DeviceArray,
    dx: DeviceArray,
    workspace: DeviceArray | None,
    shape: ConvShape,
    tile: int,
    slices: int,
    switches: DeviceArray | None = None,
    below: DeviceArray | None = None,
) -> bool:
    """dx of conv_backward_input; with switches, dy is behind a pool of 2 x 2.

    `below`  by one of SLOPING: what a ReLU gave, of the shape of dx, which is 0 where that is
    """
    if algorithm == "implicit":
        implicit.backward_input(dy, w, dx, workspace, shape, tile, slices, switches, below)
    elif algorithm in FILES:
        tensor_cores.backward_input(algorithm, dy, w, dx, workspace, shape, tile, slices, switches, below)
    elif algorithm == "winograd2":
        winograd.backward_input(dy, w, dx, _filled(workspace), shape, switches, below)
    else:
        return False
    return True


def _filled(workspace: DeviceArray | None) -> DeviceArray:
    """Where the filters at the points go; the plan gives it."""
    assert workspace is not None
    return workspace
