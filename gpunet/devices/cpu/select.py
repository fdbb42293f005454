"""Picking values by a mask without a branch for each: several times as fast as NumPy's `where=` on random masks."""

import numpy as np


def select(values: np.ndarray, chosen: np.ndarray, out: np.ndarray) -> None:
    """out = values where chosen, else exactly +0, whatever the value was: NaN and infinity too.

    values  float32 or float64, in, of any strides
    chosen  bool, same shape, in
    out     same shape and dtype as values, out; may be values
    """
    bits = np.dtype(f"i{values.itemsize}")
    mask = np.negative(chosen.view(np.int8))  # all ones where chosen, also when it becomes wider
    np.bitwise_and(values.view(bits), mask.astype(bits), out=out.view(bits))
