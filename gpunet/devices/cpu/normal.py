"""The standard normal distribution on the CPU, as NumPy has no erf.

Small probabilities have all their digits but those that z*z loses: for z >= 0, erfc(z) = t * exp(g(t) - z*z) with
t = 2/(2 + z), where g is so smooth that a short Chebyshev series holds it. Source: Press et al. 2007, "Numerical
recipes", section 6.2.2; the series is made here, from the standard library's erfc.
"""

from functools import cache
from math import erfc, log, sqrt

import numpy as np
from numpy.polynomial import chebyshev

_FARTHEST = 26.0
"""Up to this z erfc(z) is a float64; what lies beyond is 0 to all purposes."""

_TERMS = {np.dtype(np.float32): 12, np.dtype(np.float64): 24}
"""Of the series, for the digits of each dtype."""


def normal_below(x: np.ndarray) -> np.ndarray:
    """The probability that a standard normal number is below x, in x's dtype; NaN for NaN."""
    z = np.minimum(np.abs(x) * x.dtype.type(sqrt(0.5)), x.dtype.type(_FARTHEST))
    t = 2 / (2 + z)
    least, _ = _range()
    series = chebyshev.chebval((2 * t - (1 + x.dtype.type(least))) / x.dtype.type(1 - least), _series(x.dtype))
    tail = t * np.exp(series - z * z) / 2
    return np.asarray(np.where(x < 0, tail, 1 - tail))


def normal_density(x: np.ndarray) -> np.ndarray:
    """The density of a standard normal number at x, in x's dtype."""
    return np.asarray(np.exp(x * x * x.dtype.type(-0.5)) * x.dtype.type(1 / sqrt(2 * np.pi)))


def _range() -> tuple[float, float]:
    """Of t."""
    return 2 / (2 + _FARTHEST), 1.0


@cache
def _series(dtype: np.dtype) -> np.ndarray:
    """g over the range of t, which is brought to -1..1."""
    least, most = _range()

    def g(place: float) -> float:
        t = (place * (most - least) + most + least) / 2
        z = 2 / t - 2
        return log(erfc(z)) + z * z - log(t)

    return chebyshev.chebinterpolate(np.vectorize(g), _TERMS[dtype] - 1).astype(dtype)
