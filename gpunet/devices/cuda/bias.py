"""Biases on CUDA: cuda/bias.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.columns import blocks_of
from gpunet.devices.cuda.division import by
from gpunet.devices.cuda.launch import launch, launch_blocks

__all__ = ["bias_backward"]


def bias_backward(
    dy: DeviceArray,
    counters: DeviceArray,
    db: DeviceArray,
    partials: DeviceArray,
    *,
    block_rows: int,
    accumulate: int = 0,
) -> None:
    """db = sum of dy over images, or over all positions, by way of partial sums; see gpunet.devices.cpu.bias."""
    rows, K = dy.size // db.size, db.size
    blocks = blocks_of(rows, K, block_rows, dy.dtype)
    launch_blocks("bias", "bias_backward", blocks, dy, counters, db, partials, rows, K, block_rows, accumulate)


def add_bias(b: DeviceArray, y: DeviceArray) -> None:
    """y += b in every row of y (rows, K); b (K,)."""
    rows, K = y.shape
    launch("bias", "add_bias", y.size, b, y, rows, *by(K))


def sum_rows(values: DeviceArray, sums: DeviceArray, rows: int, K: int, block_rows: int, accumulate: int = 0) -> None:
    """sums[p] = sum of block_rows rows of values (rows, K); += where accumulate is 1."""
    launch_blocks(
        "bias", "sum_rows", blocks_of(rows, K, block_rows, values.dtype), values, sums, rows, K, block_rows, accumulate
    )
