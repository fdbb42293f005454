"""Batch normalization on CUDA: cuda/batch_norm.cu."""

from gpunet.devices.cuda.arrays import DeviceArray, Maps, lying
from gpunet.devices.cuda.columns import blocks_of
from gpunet.devices.cuda.division import by
from gpunet.devices.cuda.launch import launch, launch_blocks
from gpunet.devices.cuda.table import launch_each

__all__ = [
    "batch_norm_backward",
    "batch_norm_backward_frozen",
    "batch_norm_backward_sums",
    "batch_norm_forward",
    "batch_norm_statistics",
    "batch_norm_update",
]


def batch_norm_statistics(
    x: DeviceArray | Maps,
    running_mean: DeviceArray,
    running_variance: DeviceArray,
    counters: DeviceArray,
    mean: DeviceArray,
    variance: DeviceArray,
    partials: DeviceArray,
    *,
    block_rows: int,
    training: int,
) -> None:
    """Mean and variance of each map, by way of those of parts; see gpunet.devices.cpu.batch_norm."""
    (x, x_row), (rows, D) = lying(x), _rows(x)
    if not training:
        launch("batch_norm", "batch_norm_recall", D, running_mean, running_variance, mean, variance, D)
        return
    blocks, made = blocks_of(rows, D, block_rows, x.dtype), (mean, variance, partials)
    launch_blocks("batch_norm", "batch_norm_statistics", blocks, x, counters, *made, rows, D, x_row, block_rows)


def batch_norm_forward(
    x: DeviceArray | Maps,
    mean: DeviceArray,
    variance: DeviceArray,
    scale: DeviceArray,
    shift: DeviceArray,
    y: DeviceArray | Maps,
    *,
    eps: float,
) -> None:
    """y = (x - mean) / sqrt(variance + eps) * scale + shift; see gpunet.devices.cpu.batch_norm."""
    each, (x, x_row), (y, y_row) = (mean, variance, scale, shift), lying(x), lying(y)
    launch("batch_norm", "batch_norm_forward", x.size, x, *each, y, *numbers(x), x_row, y_row, float(eps))


def batch_norm_backward_sums(
    dy: DeviceArray | Maps,
    x: DeviceArray | Maps,
    mean: DeviceArray,
    variance: DeviceArray,
    counters: DeviceArray,
    dscale: DeviceArray,
    dshift: DeviceArray,
    partials: DeviceArray,
    *,
    block_rows: int,
    eps: float,
) -> None:
    """The gradients of scale and shift, by way of partial sums; see gpunet.devices.cpu.batch_norm."""
    given = mean, variance, counters, dscale, dshift, partials
    sum_gradients("batch_norm_backward_sums", dy, x, given, block_rows, eps)


def sum_gradients(
    kernel: str,
    dy: DeviceArray | Maps,
    x: DeviceArray | Maps,
    given: tuple[DeviceArray, ...],
    block_rows: int,
    eps: float,
) -> None:
    """The gradients of scale and shift, by a kernel that takes all of these."""
    rows, D = _rows(dy)
    (dy, dy_row), (x, x_row) = lying(dy), lying(x)
    blocks = blocks_of(rows, D, block_rows, x.dtype)
    launch_blocks("batch_norm", kernel, blocks, dy, x, *given, rows, D, dy_row, x_row, block_rows, float(eps))


def batch_norm_backward(
    dy: DeviceArray | Maps,
    x: DeviceArray | Maps,
    mean: DeviceArray,
    variance: DeviceArray,
    scale: DeviceArray,
    dscale: DeviceArray,
    dshift: DeviceArray,
    dx: DeviceArray,
    *,
    eps: float,
) -> None:
    """The gradient of x, through the statistics too; see gpunet.devices.cpu.batch_norm."""
    pass_on("batch_norm_backward", dy, x, (mean, variance, scale, dscale, dshift), dx, eps)


def pass_on(
    kernel: str,
    dy: DeviceArray | Maps,
    x: DeviceArray | Maps,
    each: tuple[DeviceArray, ...],
    dx: DeviceArray,
    eps: float,
) -> None:
    """The gradient of x, by a kernel that takes all of these."""
    rows, *maps = numbers(dx)
    (dy, dy_row), (x, x_row) = lying(dy), lying(x)
    launch("batch_norm", kernel, dx.size, dy, x, *each, dx, rows, *maps, dy_row, x_row, float(eps), 1 / rows)


def batch_norm_backward_frozen(
    dy: DeviceArray, variance: DeviceArray, scale: DeviceArray, dx: DeviceArray, *, eps: float
) -> None:
    """The gradient of x where the statistics are constants; see gpunet.devices.cpu.batch_norm."""
    launch("batch_norm", "batch_norm_backward_frozen", dy.size, dy, variance, scale, dx, *numbers(dy), float(eps))


def batch_norm_update(loss: DeviceArray, *arrays: DeviceArray, momentum: float, images: int, positions: int) -> None:
    """The running statistics move towards those of the batch; see gpunet.devices.cpu.batch_norm."""
    rows, layers = images * positions, len(arrays) // 4
    of_batch, running = arrays[: 2 * layers], arrays[2 * layers :]
    entries = [(*of_batch[at : at + 2], *running[at : at + 2]) for at in range(0, 2 * layers, 2)]
    launch_each(
        "batch_norm", "batch_norm_update", entries, loss, float(1 - momentum), float(momentum), rows / (rows - 1)
    )


def _rows(x: DeviceArray | Maps) -> tuple[int, int]:
    """How many positions there are in all images, and maps."""
    D = x.shape[-1]
    return x.size // D, D


def numbers(x: DeviceArray) -> tuple[int, ...]:
    """As kernels take them that divide by the number of maps."""
    rows, D = _rows(x)
    return rows, *by(D)
