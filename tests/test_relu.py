"""ReLU: its values, its gradient, NaN, exact zeros, and running in place."""

import numpy as np
import pytest

from tests import oracle
from tests.ops import run_op

SHAPE = (3, 5, 7, 4)
LONG = (1, 3, 7, 4001)
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45]


def values(rng, dtype, shape=SHAPE):
    """Random numbers, all special ones among them."""
    x = rng.standard_normal(shape).astype(dtype)
    x.reshape(-1)[: len(SPECIAL)] = SPECIAL
    return x


@pytest.mark.parametrize("shape", [SHAPE, LONG])
@pytest.mark.parametrize("in_place", [None, {0: 0}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_negative_becomes_zero_and_nan_stays(device, rng, dtype, in_place, shape):
    x = values(rng, dtype, shape)
    (y,) = run_op(device, "relu_forward", [x], [(shape, dtype)], in_place=in_place)
    np.testing.assert_array_equal(y, oracle.relu(x))


@pytest.mark.parametrize("shape", [SHAPE, LONG])
@pytest.mark.parametrize("in_place", [None, {0: 0}, {0: 1}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_pass_where_the_output_is_positive_or_nan_and_are_exactly_zero_elsewhere(
    device, rng, dtype, in_place, shape
):
    y = values(rng, dtype, shape)
    dy = rng.permutation(values(rng, dtype, shape).reshape(-1)).reshape(shape)
    dy.reshape(-1)[3:6] = [np.nan, np.inf, -np.inf]  # above zeros of y
    (dx,) = run_op(device, "relu_backward", [dy, y], [(shape, dtype)], in_place=in_place)
    expected = oracle.relu_backward(dy, y)
    np.testing.assert_array_equal(dx, expected)
    blocked = (y <= 0) & ~np.isnan(y)
    assert not np.signbit(dx[blocked]).any()


SHAPES = [SHAPE, LONG, (3, 7, 5, 3), (1, 1, 1, 1), (2, 3, 2, 2), (2, 8, 5, 1001), (4001, 1, 1, 13)]
"""Bits left over in no, in one and in every image; images longer than a block, and many in one."""


def mask_of(device, y):
    (mask,) = run_op(device, "relu_mask", [y], [((len(y), -(-y[0].size // 8)), np.uint8)])
    return mask


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_mask_has_a_bit_for_each_value_and_none_behind_the_last(device, rng, dtype, shape):
    y = rng.permutation(values(rng, dtype, shape).reshape(-1)).reshape(shape) if np.prod(shape) > 9 else np.ones(shape)
    np.testing.assert_array_equal(mask_of(device, y), oracle.relu_mask(y))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("in_place", [None, {0: 0}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_mask_alone_gives_the_same_bits_as_the_output(device, rng, dtype, in_place, shape):
    y = rng.standard_normal(shape).astype(dtype)
    y[rng.random(shape) < 0.1] = rng.choice(SPECIAL)
    dy = rng.integers(0, 256, y.nbytes).astype(np.uint8).view(dtype).reshape(shape)  # all bits, NaN of every kind
    (expected,) = run_op(device, "relu_backward", [dy, y], [(shape, dtype)])
    found = run_op(device, "relu_backward_masked", [dy, mask_of(device, y)], [(shape, dtype)], in_place=in_place)
    assert found[0].tobytes() == expected.tobytes()


def test_forward_and_backward_are_slope_and_function(device, rng):
    x = rng.standard_normal((2, 3, 4, 5))
    x[np.abs(x) < 0.01] = 1  # away from the bend
    dy = rng.standard_normal(x.shape)
    (y,) = run_op(device, "relu_forward", [x], [(x.shape, x.dtype)])
    (dx,) = run_op(device, "relu_backward", [dy, y], [(x.shape, x.dtype)])
    slope = oracle.numeric_gradient(
        lambda x: float((run_op(device, "relu_forward", [x], [(x.shape, x.dtype)])[0] * dy).sum()), x
    )
    oracle.assert_near(dx, slope, 1e-7)
