"""Values of one floating type as those of another on the CPU: copies of weights in halves, of scores in float32."""

import numpy as np

from gpunet.devices.cpu.threads import BLOCK, share_blocks

__all__ = ["cast_forward"]


def cast_forward(x: np.ndarray, y: np.ndarray) -> None:
    """y = x, each value rounded to the nearest that its type has, of two as near to the even one.

    x  (...)         float32, or float16 or bfloat16, in
    y  shape of x    float16 or bfloat16, or float32, out; may not be x
    What is too large for the type becomes infinite; NaN stays NaN. Small values become subnormal ones, and then 0.
    """
    source, target = x.reshape(-1), y.reshape(-1)

    def one(block: slice, worker: int) -> None:
        np.copyto(target[block], source[block], casting="unsafe")

    share_blocks(source.size, one, 4 * BLOCK)
