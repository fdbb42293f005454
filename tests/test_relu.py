"""ReLU: its values, its gradient, NaN, exact zeros, and running in place."""

import numpy as np
import pytest

from tests import oracle
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import Spec, run_op

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


@pytest.mark.parametrize("in_place", [None, {0: 0}, {0: 1}, {0: 2}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sum_of_gradients_and_their_slope_give_the_bits_of_both_ops(device, rng, dtype, in_place):
    y, a = values(rng, dtype, LONG), rng.standard_normal(LONG).astype(dtype)
    b = rng.permutation(values(rng, dtype, LONG).reshape(-1)).reshape(LONG)
    (total,) = run_op(device, "add", [a, b], [(LONG, dtype)])
    (expected,) = run_op(device, "relu_backward", [total, y], [(LONG, dtype)])
    (found,) = run_op(device, "add_relu_backward", [a, b, y], [(LONG, dtype)], in_place=in_place)
    assert found.tobytes() == expected.tobytes()


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


# Random calls of each op, for the tests that go through all ops.


def call_relu_forward(draw: Draw) -> Call:
    x = draw.activations()
    return Call("relu_forward", (x,), ((x.shape, draw.dtype),), aliases=({0: 0},))


def call_relu_backward(draw: Draw) -> Call:
    y = np.maximum(draw.activations(), 0)
    return Call("relu_backward", (draw.values(*y.shape), y), ((y.shape, draw.dtype),), aliases=({0: 0}, {0: 1}))


def _mask(draw: Draw, y: np.ndarray) -> Spec:
    return (len(y), -(-y[0].size // 8)), np.uint8


def call_add_relu_backward(draw: Draw) -> Call:
    y = draw.activations()
    inputs = draw.values(*y.shape), draw.values(*y.shape), y.astype(draw.dtype)
    return Call("add_relu_backward", inputs, ((y.shape, draw.dtype),), aliases=({0: 0}, {0: 1}, {0: 2}))


def call_relu_mask(draw: Draw) -> Call:
    y = np.maximum(draw.activations(), 0)
    return Call("relu_mask", (y,), (_mask(draw, y),))


def call_relu_backward_masked(draw: Draw) -> Call:
    dy = draw.values(*draw.volume())
    mask = draw.rng.integers(0, 256, _mask(draw, dy)[0]).astype(np.uint8)
    return Call("relu_backward_masked", (dy, mask), ((dy.shape, draw.dtype),), aliases=({0: 0},))


MUTANTS = [
    *mutants_of(
        "relu.cu",
        "relu_forward",
        ("NaN becomes 0", "if (values.value[lane] <= real(0))", "if (!(values.value[lane] > real(0)))"),
        ("small values are cut", "values.value[lane] <= real(0)", "values.value[lane] <= real(0.01)"),
        ("the last value is left out", "elementwise(count, aligned(x, y)", "elementwise(count - 1, aligned(x, y)"),
        ("packs at any address in", "aligned(x, y)", "aligned(y)"),
        ("packs at any address out", "aligned(x, y)", "aligned(x)"),
    ),
    *mutants_of(
        "relu.cu",
        "relu_backward",
        (
            "0 lets gradients through",
            "if (outputs.value[lane] <= real(0)) grad",
            "if (outputs.value[lane] < real(0)) grad",
        ),
        ("NaN stops gradients", "if (outputs.value[lane] <= real(0))", "if (!(outputs.value[lane] > real(0)))"),
        ("looks at the gradient", "if (outputs.value[lane] <= real(0))", "if (gradients.value[lane] <= real(0))"),
        (
            "the last value is left out",
            "elementwise(count, aligned(dy, y, dx)",
            "elementwise(count - 1, aligned(dy, y, dx)",
        ),
    ),
    *mutants_of(
        "relu.cu",
        "add_relu_backward",
        ("one gradient alone", "sums.value[lane] += others.value[lane];", ""),
        ("all gradients pass", "if (seen.value[lane] <= real(0)) sums.value[lane] = real(0);", ""),
        ("NaN stops gradients", "seen.value[lane] <= real(0)", "!(seen.value[lane] > real(0))"),
    ),
    *mutants_of(
        "relu.cu",
        "relu_mask",
        ("NaN has no bit", "<= real(0) ? 0u : 1u", "> real(0) ? 1u : 0u"),
        ("bits in the other order", "0u : 1u) << lane;", "0u : 1u) << (COUNT - 1 - lane);"),
        ("a pack makes a byte", "bits |= __shfl_xor_sync(0xFFFFFFFFu, bits, apart);", ""),
        ("all packs alike", "passing(load<WIDTH>(y, pack)) << pack % MAKERS * WIDTH", "passing(load<WIDTH>(y, pack))"),
        ("the last pack is left out", "if (pack < packs) bits", "if (pack < packs - 1) bits"),
        ("bytes of other packs", "mask[pack / MAKERS] = ", "mask[pack] = "),
        ("values of the next image", "bit < 8 && in_image + bit < values; ++bit", "bit < 8; ++bit"),
        ("packs across images", "values % 8 == 0 && aligned(y)", "values % WIDTH == 0 && aligned(y)"),
        ("packs at any address", "values % 8 == 0 && aligned(y)", "values % 8 == 0"),
        ("ints for huge tensors", "if (images * values < SMALL) mask_of", "if (true) mask_of"),
    ),
    *mutants_of(
        "relu.cu",
        "relu_backward_masked",
        ("every gradient passes", "if (!(bits >> lane & 1)) gradients", "if (false) gradients"),
        ("bits of another pack", "mask[pack / MAKERS] >> pack % MAKERS * WIDTH;", "mask[pack / MAKERS];"),
        ("bits of another value", ">> in_image % 8;", ";"),
        ("bytes of the image before", "mask[image * bytes + in_image / 8]", "mask[item / 8]"),
        ("packs across images", "values % 8 == 0 && aligned(dy, dx)", "values % WIDTH == 0 && aligned(dy, dx)"),
        ("packs at any address in", "0 && aligned(dy, dx)", "0 && aligned(dx)"),
        ("packs at any address out", "0 && aligned(dy, dx)", "0 && aligned(dy)"),
        ("ints for huge tensors", "if (images * values < SMALL) masked", "if (true) masked"),
    ),
]
"""Changes of its kernels that the tests above, and those of all ops, must notice."""
