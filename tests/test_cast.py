"""Values of one floating type as those of another: rounding against the definition, value by value."""

from fractions import Fraction
from math import isfinite

import ml_dtypes
import numpy as np
import pytest

from gpunet.devices import open_device
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw

HALVES = {"float16": (np.float16, 10, -14, 15), "bfloat16": (ml_dtypes.bfloat16, 7, -126, 127)}
"""Type, bits of the number behind the point, least and largest exponent of normal values."""


def rounded(value: float, bits: int, least: int, most: int) -> float:
    """The nearest value of a type, of two as near the even one; infinite from half above the largest."""
    if value == 0 or not isfinite(value):
        return value
    exact, exponent = Fraction(abs(value)), least
    while Fraction(2) ** (exponent + 1) <= exact:
        exponent += 1
    step = Fraction(2) ** (exponent - bits)
    whole, left = divmod(exact, step)
    if left * 2 > step or (left * 2 == step and whole % 2):
        whole += 1
    found = whole * step
    size = float("inf") if found >= Fraction(2) ** (most + 1) else float(found)
    return size if value > 0 else -size


@pytest.mark.parametrize("dtype", HALVES)
def test_values_are_rounded_to_the_nearest_even_ones(rng, dtype):
    kind, bits, least, most = HALVES[dtype]
    exponents = rng.integers(max(least - bits - 3, -140), min(most + 3, 127), 1000)
    x = (rng.uniform(1, 2, 1000) * 2.0**exponents * rng.choice([-1, 1], 1000)).astype(np.float32)
    near = rng.integers(2**bits, 2 ** (bits + 1), 200)
    ties = ((2 * near + 1) * 2.0 ** -(bits + 1)).astype(np.float32)  # between two neighbours
    x = np.concatenate([x, ties, -ties, np.float32([0, -0.0, np.nan, np.inf, -np.inf, 65519.9, 65520, 3.4e38])])
    y = np.empty(x.shape, kind)
    with np.errstate(all="ignore"):
        open_device("cpu").ops["cast_forward"](x, y)
    expected = [rounded(float(value), bits, least, most) for value in x]
    np.testing.assert_array_equal(y.astype(np.float64), expected)
    np.testing.assert_array_equal(np.signbit(y.astype(np.float32)), np.signbit(x))


@pytest.mark.parametrize("dtype", HALVES)
def test_halves_come_back_as_they_are(dtype):
    every = np.arange(2**16, dtype=np.uint16).view(HALVES[dtype][0])
    wide = np.empty(every.shape, np.float32)
    open_device("cpu").ops["cast_forward"](every, wide)
    again = np.empty_like(every)
    with np.errstate(all="ignore"):
        open_device("cpu").ops["cast_forward"](wide, again)
    same = (every.view(np.uint16) == again.view(np.uint16)) | np.isnan(wide)
    assert same.all() and np.isnan(again.astype(np.float32))[np.isnan(wide)].all()


def call_cast_forward(draw: Draw) -> Call:
    x = draw.activations()
    return Call("cast_forward", (x,), ((x.shape, draw.dtype),))


MUTANTS = [
    *mutants_of("cast.cu", "cast_narrow", ("nothing", "store(y, pack, load<size>(x, pack));", "")),
    *mutants_of(
        "cast.cu",
        "cast_wide",
        (
            "nothing",
            "real* __restrict__ y, long long count) {\n    cast(x, y, count);",
            "real* __restrict__ y, long long count) {",
        ),
    ),
]
