"""Leaky ReLU: its values, its gradient, NaN, running in place, and PyTorch."""

import numpy as np
import pytest
import torch

from gpunet import FC, ConfigError, Conv, LeakyReLU, MaxPool, Net
from tests import oracle
from tests.layer_checks import check_net, check_words
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op
from tests.test_relu import LONG, SHAPE, values

ALPHA = 0.3


@pytest.mark.parametrize("shape", [SHAPE, LONG])
@pytest.mark.parametrize("in_place", [None, {0: 0}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_negative_is_scaled_and_nan_stays(device, rng, dtype, in_place, shape):
    x = values(rng, dtype, shape)
    (y,) = run_op(device, "leaky_relu_forward", [x], [(shape, dtype)], in_place=in_place, alpha=ALPHA)
    oracle.assert_near(y, oracle.leaky_relu(x, ALPHA))
    np.testing.assert_array_equal(y[x > 0], x[x > 0])
    np.testing.assert_array_equal(np.signbit(y), np.signbit(x))


@pytest.mark.parametrize("shape", [SHAPE, LONG])
@pytest.mark.parametrize("in_place", [None, {0: 0}, {0: 1}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_pass_where_the_output_is_positive_or_nan_and_are_scaled_elsewhere(
    device, rng, dtype, in_place, shape
):
    y = values(rng, dtype, shape)
    dy = rng.permutation(values(rng, dtype, shape).reshape(-1)).reshape(shape)
    dy.reshape(-1)[:4] = [1, np.nan, np.inf, -2]
    (dx,) = run_op(device, "leaky_relu_backward", [dy, y], [(shape, dtype)], in_place=in_place, alpha=ALPHA)
    oracle.assert_near(dx, oracle.leaky_relu_backward(dy, y, ALPHA))
    np.testing.assert_array_equal(dx[y > 0], dy[y > 0])


def test_pytorch_agrees(device, rng):
    values = rng.standard_normal((2, 3, 4, 5))
    values[0, 0, 0] = 0
    x = torch.tensor(values, requires_grad=True)
    y = torch.nn.functional.leaky_relu(x, ALPHA)
    dy = rng.standard_normal(values.shape)
    y.backward(torch.tensor(dy))
    (found,) = run_op(device, "leaky_relu_forward", [values], [(dy.shape, dy.dtype)], alpha=ALPHA)
    (dx,) = run_op(device, "leaky_relu_backward", [dy, found], [(dy.shape, dy.dtype)], alpha=ALPHA)
    oracle.assert_near(found, y.detach().numpy(), 1e-15)
    oracle.assert_near(dx, x.grad.numpy(), 1e-15)


def test_nets_with_it_learn(device):
    layers = [Conv(4), LeakyReLU(0.2), MaxPool(2), Conv(5), LeakyReLU(), FC(3), LeakyReLU(0.1), FC(4)]
    check_net(Net("8x6x2", layers), device)


def test_the_words(tmp_path):
    check_words("INPUT[4x3x2] -> LRELU -> LRELU(alpha=0.25)", Net("4x3x2", [LeakyReLU(), LeakyReLU(0.25)]), tmp_path)


@pytest.mark.parametrize("alpha", [0, 1, -0.1, float("nan"), float("inf"), True, "0.1"])
def test_slopes_that_lose_the_sign_are_refused(alpha):
    with pytest.raises(ConfigError, match="alpha must be a number above 0 and below 1; got"):
        LeakyReLU(alpha)


# Random calls of each op, for the tests that go through all ops.


def call_leaky_relu_forward(draw: Draw) -> Call:
    x, alpha = draw.activations(), 1 / 2 ** draw.size(1, 5)
    return Call("leaky_relu_forward", (x,), ((x.shape, draw.dtype),), attributes={"alpha": alpha}, aliases=({0: 0},))


def call_leaky_relu_backward(draw: Draw) -> Call:
    return draw.slope("leaky_relu_backward", draw.activations(), alpha=1 / 2 ** draw.size(1, 5))


MUTANTS = [
    *mutants_of(
        "leaky_relu.cu",
        "leaky_relu_forward",
        ("NaN leaks", "values.value[lane] *= alpha", "values.value[lane] = values.value[lane] < 0 ? alpha : real(0)"),
        ("as ReLU", "values.value[lane] *= alpha", "values.value[lane] = real(0)"),
        ("everything leaks", "if (values.value[lane] <= real(0)) values", "values"),
        ("the last value is left out", "elementwise(count, aligned(x, y)", "elementwise(count - 1, aligned(x, y)"),
        ("packs at any address in", "aligned(x, y)", "aligned(y)"),
        ("packs at any address out", "aligned(x, y)", "aligned(x)"),
    ),
    *mutants_of(
        "leaky_relu.cu",
        "leaky_relu_backward",
        ("0 lets gradients through", "outputs.value[lane] <= real(0)", "outputs.value[lane] < real(0)"),
        ("NaN leaks", "if (outputs.value[lane] <= real(0))", "if (!(outputs.value[lane] > real(0)))"),
        ("as ReLU", "gradients.value[lane] *= alpha", "gradients.value[lane] = real(0)"),
        ("looks at the gradient", "outputs.value[lane] <= real(0)", "gradients.value[lane] <= real(0)"),
        (
            "the last value is left out",
            "elementwise(count, aligned(dy, y, dx)",
            "elementwise(count - 1, aligned(dy, y, dx)",
        ),
        ("packs at any address", "aligned(dy, y, dx)", "aligned(dy, dx)"),
    ),
]
"""Changes of its kernels that the tests above, and those of all ops, must notice."""
