"""Sums over the parts of a batch on the CPU: over rounds on one device, over ranks on several."""

import numpy as np

from gpunet.devices.cpu.threads import share_blocks

__all__ = ["add_part"]


def add_part(part: np.ndarray, total: np.ndarray, *, accumulate: int) -> None:
    """total = total + part, elementwise; where `accumulate` is 0, total = part, bit for bit.

    part   (...)   float32 or float64, in
    total  (...)   same shape and dtype, in and out
    So parts that come in order are added in that order, whoever adds them.
    """
    source, target = part.reshape(-1), total.reshape(-1)

    def one(block: slice, worker: int) -> None:
        if accumulate:
            np.add(target[block], source[block], out=target[block])
        else:
            np.copyto(target[block], source[block])

    share_blocks(source.size, one)
