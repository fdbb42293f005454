"""Images of bytes to activations on the CPU."""

import numpy as np

from gpunet.devices.cpu.halves import by_image
from gpunet.devices.cpu.threads import share_blocks

__all__ = ["image_to_float"]


@by_image("y")
def image_to_float(x: np.ndarray, y: np.ndarray, *, scale: float, shift: float) -> None:
    """y = x*scale + shift, elementwise, computed in y's dtype.

    x   (N, H, W, D)   uint8, in
    y   (N, H, W, D)   float32 or float64, out
    Source: CS231n "Data Preprocessing": images enter centred and scaled.
    """
    source, target = x.reshape(-1), y.reshape(-1)

    def one(block: slice, worker: int) -> None:
        out = target[block]
        np.copyto(out, source[block])
        np.multiply(out, scale, out=out)
        np.add(out, shift, out=out)

    share_blocks(source.size, one)
