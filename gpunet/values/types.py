"""The NumPy type of every dtype of a tensor; that of bfloat16 comes from ml_dtypes, and only where it is asked for."""

from functools import cache
from typing import Protocol

import numpy as np

from gpunet.errors import ConfigError


class HasType(Protocol):
    """A NumPy array, or one of a device."""

    @property
    def dtype(self) -> np.dtype: ...


@cache
def numpy_type(dtype: str) -> np.dtype:
    """The type of arrays of this dtype. Raises ConfigError for bfloat16 where ml_dtypes is not installed."""
    if dtype != "bfloat16":
        return np.dtype(dtype)
    try:
        from ml_dtypes import bfloat16
    except ImportError:
        raise ConfigError(
            'arrays of bfloat16 need ml_dtypes: pip install "gpunet[half]"; plans need nothing, and float16 neither'
        ) from None
    found: np.dtype = np.dtype(bfloat16)
    return found


def largest(dtype: str) -> np.float64:
    """The largest finite value of a floating dtype; that of bfloat16 without ml_dtypes too."""
    return np.float64((2 - 2**-7) * 2.0**127 if dtype == "bfloat16" else np.finfo(dtype).max)


def is_half(array: HasType) -> bool:
    """Whether an array is of two bytes a value, float16 or bfloat16: tensors have no other such type."""
    return array.dtype.itemsize == 2


def as_numbers(array: np.ndarray) -> np.ndarray:
    """The array, of halves as float32, which says the same and which everybody can compute with."""
    return array.astype(np.float32) if is_half(array) else array
