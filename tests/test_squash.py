"""Sigmoid and tanh: values to the last digit, far out too, slopes, NaN, running in place, and PyTorch."""

from math import tanh

import numpy as np
import pytest
import torch

from gpunet import FC, Conv, MaxPool, Net, Sigmoid, Tanh
from tests import oracle
from tests.layer_checks import check_net, check_words
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op

SHAPE = (3, 5, 7, 4)
LONG = (1, 3, 7, 4001)
SHAPES = pytest.mark.parametrize("shape", [SHAPE, LONG])
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def spread(rng, dtype, shape):
    """Numbers of every size that has an exponential, and the special ones."""
    x = (rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 2, shape)).astype(dtype)
    x.reshape(-1)[:8] = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e4, -1e4, -85]
    return x


def reference(op, x):
    """In float64, value by value."""
    if op == "sigmoid":
        return oracle.sigmoid(x)
    return np.array([tanh(value) for value in x.reshape(-1).tolist()]).reshape(x.shape)


@SHAPES
@DTYPES
@pytest.mark.parametrize("in_place", [None, {0: 0}])
@pytest.mark.parametrize("op", ["sigmoid", "tanh"])
def test_values_are_right_to_the_last_digits_wherever_they_are(device, rng, op, dtype, in_place, shape):
    x = spread(rng, dtype, shape)
    (y,) = run_op(device, f"{op}_forward", [x], [(shape, dtype)], in_place=in_place)
    tiny = np.finfo(dtype).tiny
    np.testing.assert_allclose(y, reference(op, x), rtol=8 * np.finfo(dtype).eps, atol=tiny)
    assert np.isnan(y).sum() == 1


@SHAPES
@DTYPES
@pytest.mark.parametrize("in_place", [None, {0: 0}, {0: 1}])
@pytest.mark.parametrize("op", ["sigmoid", "tanh"])
def test_slopes_follow_from_the_output(device, rng, op, dtype, in_place, shape):
    y = reference(op, spread(rng, dtype, shape)).astype(dtype)
    y.reshape(-1)[8:72] = 1 - rng.random(64) * np.sqrt(np.finfo(dtype).eps)  # just below 1, where y*y loses digits
    dy = rng.standard_normal(shape).astype(dtype)
    dy.reshape(-1)[1:3] = np.inf  # above slopes of 0
    (dx,) = run_op(device, f"{op}_backward", [dy, y], [(shape, dtype)], in_place=in_place)
    exact = y.astype(np.float64)
    with np.errstate(invalid="ignore"):
        expected = dy * (exact * (1 - exact) if op == "sigmoid" else (1 - exact) * (1 + exact))
    np.testing.assert_allclose(dx, expected, rtol=8 * np.finfo(dtype).eps)
    assert np.isnan(dx.reshape(-1)[:3]).all() and np.isfinite(dx.reshape(-1)[3:]).all()


@pytest.mark.parametrize("op", ["sigmoid", "tanh"])
def test_pytorch_agrees(device, rng, op):
    values = 3 * rng.standard_normal((2, 3, 4, 5))
    x = torch.tensor(values, requires_grad=True)
    y = getattr(torch, op)(x)
    dy = rng.standard_normal(values.shape)
    y.backward(torch.tensor(dy))
    (found,) = run_op(device, f"{op}_forward", [values], [(dy.shape, dy.dtype)])
    (dx,) = run_op(device, f"{op}_backward", [dy, found], [(dy.shape, dy.dtype)])
    oracle.assert_near(found, y.detach().numpy(), 1e-14)
    oracle.assert_near(dx, x.grad.numpy(), 1e-14)


def test_nets_with_them_learn(device):
    check_net(Net("8x6x2", [Conv(4), Tanh(), MaxPool(2), Conv(5), Sigmoid(), FC(3), Tanh(), FC(4)]), device)


def test_the_words(tmp_path):
    check_words("INPUT[4x3x2] -> SIGMOID -> TANH", Net("4x3x2", [Sigmoid(), Tanh()]), tmp_path)


# Random calls of each op, for the tests that go through all ops.


def call_sigmoid_forward(draw: Draw) -> Call:
    x = 9 * draw.activations()
    return Call("sigmoid_forward", (x,), ((x.shape, draw.dtype),), aliases=({0: 0},))


def call_sigmoid_backward(draw: Draw) -> Call:
    return draw.slope("sigmoid_backward", 1 / (1 + np.exp(-draw.activations())))


def call_tanh_forward(draw: Draw) -> Call:
    x = draw.activations()
    return Call("tanh_forward", (x,), ((x.shape, draw.dtype),), aliases=({0: 0},))


def call_tanh_backward(draw: Draw) -> Call:
    return draw.slope("tanh_backward", np.tanh(draw.activations()))


MUTANTS = [
    *mutants_of(
        "squash.cu",
        "sigmoid_forward",
        ("overflows", "exp(-fabs(value))", "exp(-value)"),
        ("only right of 0", "value >= real(0) ? real(1) : exponent", "real(1)"),
        ("only left of 0", "value >= real(0) ? real(1) : exponent", "exponent"),
        ("the last value is left out", "elementwise(count, aligned(x, y)", "elementwise(count - 1, aligned(x, y)"),
        ("packs at any address in", "aligned(x, y)", "aligned(y)"),
        ("packs at any address out", "aligned(x, y)", "aligned(x)"),
    ),
    *mutants_of(
        "squash.cu",
        "sigmoid_backward",
        ("the slope of the output", "return output * (real(1) - output)", "return real(1) - output"),
        ("a sign", "output * (real(1) - output)", "output * (output - real(1))"),
        (
            "the last value is left out",
            "elementwise(count, aligned(dy, y, dx)",
            "elementwise(count - 1, aligned(dy, y, dx)",
        ),
        ("packs at any address in", "aligned(dy, y, dx)", "aligned(y, dx)"),
        ("packs at any address of y", "aligned(dy, y, dx)", "aligned(dy, dx)"),
        ("packs at any address out", "aligned(dy, y, dx)", "aligned(dy, y)"),
        ("gradients replaced", "gradients.value[lane] *= slope", "gradients.value[lane] = slope"),
    ),
    *mutants_of("squash.cu", "tanh_forward", ("half as steep", "return tanh(value)", "return tanh(value / 2)")),
    *mutants_of(
        "squash.cu",
        "tanh_backward",
        ("the slope of the sigmoid", "(real(1) - output) * (real(1) + output)", "(real(1) - output) * output"),
    ),
]
"""Changes of its kernels that the tests above, and those of all ops, must notice."""
