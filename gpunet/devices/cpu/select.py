"""Picking values by a mask without a branch for each: several times as fast as NumPy's `where=` on random masks."""

import numpy as np


def select(values: np.ndarray, chosen: np.ndarray, out: np.ndarray) -> None:
    """out = values where chosen, else exactly +0, whatever the value was: NaN and infinity too.

    values  float32 or float64, in, of any strides
    chosen  bool, same shape, in
    out     same shape and dtype as values, out; may be values
    """
    bits = np.dtype(f"i{values.itemsize}")
    mask = chosen.astype(bits)
    np.negative(mask, out=mask)  # all ones where chosen
    np.bitwise_and(values.view(bits), mask, out=out.view(bits))
