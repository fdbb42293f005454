"""Picking values by a mask without a branch for each: several times as fast as NumPy's `where=` on random masks."""

import numpy as np

from gpunet.devices.cpu.threads import spare


def select(values: np.ndarray, chosen: np.ndarray, out: np.ndarray) -> None:
    """out = values where chosen, else exactly +0, whatever the value was: NaN and infinity too.

    values  float32 or float64, in, of any strides
    chosen  bool, same shape, in
    out     same shape and dtype as values, out; may be values
    """
    _keep(values, np.negative(chosen.view(np.int8)), out)


def select_risen(values: np.ndarray, outputs: np.ndarray, out: np.ndarray) -> None:
    """As `select` where outputs are positive or NaN: what ReLU does to gradients.

    outputs  same shape and dtype as values, in; `out` may be it
    """
    stopped = np.less_equal(outputs, 0, out=spare("stopped", outputs.shape, np.dtype(bool)))  # false of NaN
    mask = stopped.view(np.int8)
    _keep(values, np.subtract(mask, 1, out=mask), out)


def _keep(values: np.ndarray, mask: np.ndarray, out: np.ndarray) -> None:
    """out = values where the mask, int8, is -1, and +0 where it is 0."""
    bits = np.dtype(f"i{values.itemsize}")
    wide = spare("mask", mask.shape, bits)
    np.copyto(wide, mask)  # all ones stay all ones when they become wider
    np.bitwise_and(values.view(bits), wide, out=out.view(bits))
