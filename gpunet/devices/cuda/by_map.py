"""Numbers for each map on CUDA: cuda/by_map.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.bias import sum_rows
from gpunet.devices.cuda.launch import launch, launch_blocks

__all__ = [
    "prelu_backward",
    "prelu_backward_slopes",
    "prelu_forward",
    "scale_backward",
    "scale_backward_weights",
    "scale_forward",
]

MAPS = 32
"""Maps that one block sums, as MAPS in cuda/by_map.cu."""


def prelu_forward(x: DeviceArray, a: DeviceArray, y: DeviceArray) -> None:
    """y = x where x > 0, else a * x; see gpunet.devices.cpu.by_map."""
    launch("by_map", "prelu_forward", x.size, x, a, y, *_sizes(x), a.size)


def prelu_backward(dy: DeviceArray, x: DeviceArray, a: DeviceArray, dx: DeviceArray) -> None:
    """dx = dy where x > 0, else a * dy; see gpunet.devices.cpu.by_map."""
    launch("by_map", "prelu_backward", x.size, dy, x, a, dx, *_sizes(x), a.size)


def prelu_backward_slopes(
    dy: DeviceArray, x: DeviceArray, da: DeviceArray, partials: DeviceArray, *, block_rows: int, accumulate: int = 0
) -> None:
    """da = sum of dy * x where x is not above 0; see gpunet.devices.cpu.by_map."""
    _sum("prelu_backward_slopes", dy, x, da, partials, block_rows, accumulate)


def scale_forward(x: DeviceArray, scale: DeviceArray, shift: DeviceArray | None, y: DeviceArray) -> None:
    """y = x * scale + shift; see gpunet.devices.cpu.by_map."""
    if shift is None:
        launch("by_map", "scale_maps", x.size, x, scale, y, *_sizes(x))
    else:
        launch("by_map", "scale_and_shift", x.size, x, scale, shift, y, *_sizes(x))


def scale_backward(dy: DeviceArray, scale: DeviceArray, dx: DeviceArray) -> None:
    """dx = dy * scale; see gpunet.devices.cpu.by_map."""
    launch("by_map", "scale_maps", dy.size, dy, scale, dx, *_sizes(dy))


def scale_backward_weights(
    dy: DeviceArray, x: DeviceArray, dscale: DeviceArray, partials: DeviceArray, *, block_rows: int, accumulate: int = 0
) -> None:
    """dscale = sum of dy * x; see gpunet.devices.cpu.by_map."""
    _sum("scale_backward_weights", dy, x, dscale, partials, block_rows, accumulate)


def _sizes(x: DeviceArray) -> tuple[int, int]:
    """Positions, and maps of each."""
    D = x.shape[-1]
    return x.size // D, D


def _sum(
    kernel: str,
    dy: DeviceArray,
    x: DeviceArray,
    sums: DeviceArray,
    partials: DeviceArray,
    block_rows: int,
    accumulate: int,
) -> None:
    """sums = the sums of products over positions, and over maps where there is one sum, by way of partial sums."""
    rows, D = _sizes(x)
    parts = -(-rows // block_rows)
    launch_blocks("by_map", kernel, parts * -(-D // MAPS), dy, x, partials, rows, D, block_rows)
    if sums.size == D:
        sum_rows(partials, sums, parts, D, parts, accumulate)
        return
    totals = partials.rows(parts, parts + 1)
    sum_rows(partials, totals, parts, D, parts)
    sum_rows(totals, sums, D, 1, D, accumulate)
