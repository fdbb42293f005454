"""Weights in files of two bytes a value: float16, and bfloat16, the upper half of a float32, as its bits."""

from typing import Literal, get_args

import numpy as np

FileType = Literal["float32", "float16", "bfloat16"]
"""What weights are written in."""

FILE_TYPES: tuple[FileType, ...] = get_args(FileType)

BITS = np.dtype(np.uint16)
"""The type of arrays that hold the bits of bfloat16 here: no array of weights is of it otherwise."""


def narrowed(values: np.ndarray, dtype: FileType) -> np.ndarray:
    """Floats in the type of a file, rounded to the nearest, of two as near to the even one; others as they are."""
    if values.dtype.kind != "f" or dtype == "float32":
        return values
    if dtype == "float16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16)
    bits = values.astype(np.float32).view(np.uint32)
    with np.errstate(over="ignore"):
        rounded = (bits + (0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def too_large(values: np.ndarray, dtype: FileType) -> bool:
    """Whether a finite value would be infinite in the type of a file."""
    if values.dtype.kind != "f" or dtype == "float32" or not values.size:
        return False
    most = 65520.0 if dtype == "float16" else (2 - 2**-8) * 2.0**127
    return bool((np.abs(values[np.isfinite(values)]) >= most).any())
