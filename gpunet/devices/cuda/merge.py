"""Merges on CUDA: cuda/merge.cu."""

from collections.abc import Iterator, Sequence

from gpunet.devices.cuda.arrays import DeviceArray, Maps, lying
from gpunet.devices.cuda.division import by, magic
from gpunet.devices.cuda.launch import launch, launch_blocks

__all__ = [
    "add",
    "add_scaled",
    "concat_backward",
    "concat_forward",
    "maximum",
    "maximum_backward",
    "multiply",
    "multiply_backward_gate",
    "scaled",
]

MAPS = 32
"""Maps that one block sums, as MAPS in cuda/merge.cu."""


def add(a: DeviceArray | Maps, b: DeviceArray | Maps, y: DeviceArray) -> None:
    """y = a + b; see gpunet.devices.cpu.merge."""
    if isinstance(a, DeviceArray) and isinstance(b, DeviceArray):
        launch("merge", "add", y.size, a, b, y, y.size)
        return
    (a, a_row), (b, b_row), D = lying(a), lying(b), y.shape[-1]
    launch("merge", "add_maps", y.size, a, b, y, y.size // D, *by(D), a_row, b_row)


def add_scaled(a: DeviceArray, b: DeviceArray, y: DeviceArray, *, of_a: float, of_b: float) -> None:
    """y = of_a * a + of_b * b; see gpunet.devices.cpu.merge."""
    launch("merge", "add_scaled", y.size, a, b, y, y.size, float(of_a), float(of_b))


def scaled(x: DeviceArray, y: DeviceArray, *, factor: float) -> None:
    """y = factor * x; see gpunet.devices.cpu.merge."""
    launch("merge", "scaled", y.size, x, y, y.size, float(factor))


def multiply(a: DeviceArray, b: DeviceArray, y: DeviceArray) -> None:
    """y = a * b, b perhaps a gate; see gpunet.devices.cpu.merge."""
    if a.shape == b.shape:
        launch("merge", "multiply", y.size, a, b, y, y.size)
    else:
        N, H, W, D = a.shape
        launch("merge", "multiply_gate", y.size, a, b, y, N, H * W, D, magic(H * W * D), magic(D))


def multiply_backward_gate(dy: DeviceArray, a: DeviceArray, db: DeviceArray) -> None:
    """db = sum of dy * a over positions; see gpunet.devices.cpu.merge."""
    N, H, W, D = a.shape
    launch_blocks("merge", "multiply_backward_gate", N * -(-D // MAPS), dy, a, db, N, H * W, D)


def maximum(a: DeviceArray, b: DeviceArray, y: DeviceArray) -> None:
    """y = the larger of a and b; see gpunet.devices.cpu.merge."""
    launch("merge", "maximum", y.size, a, b, y, y.size)


def maximum_backward(dy: DeviceArray, a: DeviceArray, b: DeviceArray, da: DeviceArray, db: DeviceArray) -> None:
    """dy to where the maximum was; see gpunet.devices.cpu.merge."""
    launch("merge", "maximum_backward", dy.size, dy, a, b, da, db, dy.size)


def concat_forward(*arrays: DeviceArray | Maps) -> None:
    """The maps of each input, one after another; see gpunet.devices.cpu.merge."""
    *xs, y = arrays
    for x, place in zip(xs, _places(y, xs), strict=True):
        _copy(x, place)


def concat_backward(*arrays: DeviceArray | Maps) -> None:
    """Each input gets the gradient of its maps; see gpunet.devices.cpu.merge."""
    dy, *dxs = arrays
    for dx, place in zip(dxs, _places(dy, dxs), strict=True):
        _copy(place, dx)


def _places(whole: DeviceArray | Maps, parts: Sequence[DeviceArray | Maps]) -> Iterator[Maps]:
    """The maps of a volume that belong to each of its parts."""
    (whole, row), first = lying(whole), 0
    for part in parts:
        yield Maps(whole.pointer + first * whole.dtype.itemsize, part.shape, row, whole.dtype, whole.driver)
        first += part.shape[-1]


def _copy(x: DeviceArray | Maps, y: DeviceArray | Maps) -> None:
    """From x to y, but where they are the same."""
    (x, x_row), (y, y_row), D = lying(x), lying(y), x.shape[-1]
    if x.pointer != y.pointer:
        launch("merge", "copy_maps", x.size, x, y, x.size // D, *by(D), x_row, y_row)
