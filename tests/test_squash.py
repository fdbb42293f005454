"""Sigmoid and tanh: values to the last digit, far out too, slopes, NaN, running in place, and PyTorch."""

from math import tanh

import numpy as np
import pytest
import torch

from gpunet import FC, Conv, MaxPool, Net, Sigmoid, Tanh
from tests import oracle
from tests.layer_checks import check_net, check_words
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
