"""L2-norm pooling against float64 loops, numeric gradients and PyTorch; slopes of windows of zeros; overflow."""

import numpy as np
import pytest
import torch

from gpunet import FC, Conv, L2Pool, Net
from tests import oracle
from tests.geometries import COMMON, Geometry
from tests.layer_checks import check_net, check_only_given_images, check_words
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op

DTYPES = [np.float32, np.float64]
GEOMETRIES = [geometry for geometry in COMMON if geometry.P < geometry.F]


def forward(device, x, geometry):
    shape = (len(x), geometry.H2, geometry.W2, x.shape[3])
    (y,) = run_op(device, "l2_pool_forward", [x], [(shape, x.dtype)], **geometry.numbers)
    return y


def backward(device, dy, x, y, geometry):
    (dx,) = run_op(device, "l2_pool_backward", [dy, x, y], [(x.shape, x.dtype)], **geometry.numbers)
    return dx


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("D", [3, 4])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_lengths_and_their_gradients_are_those_of_the_loops(device, rng, geometry, D, dtype):
    x = rng.standard_normal((3, geometry.H, geometry.W, D)).astype(dtype)
    x[rng.random(x.shape) < 0.3] = 0
    x[1, :4, :4] = 0
    y = forward(device, x, geometry)
    oracle.assert_near(y, oracle.l2_pool(x, geometry.H2, geometry.W2, **geometry.numbers))
    dy = rng.standard_normal(y.shape).astype(dtype)
    expected = oracle.l2_pool_backward(dy, x, y, **geometry.numbers)
    dx = backward(device, dy, x, y, geometry)
    oracle.assert_near(dx, expected)
    assert (dx[expected == 0] == 0).all()


def test_windows_of_zeros_give_exact_zeros_whatever_the_gradient(device):
    geometry = Geometry(4, 6, F=2, S=2, P=0)
    x = np.zeros((1, 4, 6, 4), np.float32)
    y = forward(device, x, geometry)
    assert not y.any()
    dy = np.resize(np.array([np.nan, np.inf, 1, -2], np.float32), y.shape)
    assert not backward(device, dy, x, y, geometry).any()


def test_nan_goes_through_and_squares_beyond_the_largest_number_are_infinite(device):
    geometry = Geometry(2, 6, F=2, S=2, P=0)
    x = np.ones((1, 2, 6, 1), np.float32)
    x[0, 1, 0, 0], x[0, 0, 2, 0] = np.nan, 2e19
    y = forward(device, x, geometry)
    np.testing.assert_array_equal(y.reshape(-1), np.array([np.nan, np.inf, 2], np.float32))
    dx = backward(device, np.ones_like(y), x, y, geometry)
    np.testing.assert_array_equal(dx[0, :, :, 0], [[np.nan, np.nan, 0, 0, 0.5, 0.5]] * 2)


@pytest.mark.parametrize("H, W, F, S", [(8, 6, 2, 2), (9, 7, 3, 2), (7, 5, 3, 1)])
def test_pytorch_agrees(device, rng, H, W, F, S):
    geometry = Geometry(H, W, F=F, S=S, P=0)
    values = rng.standard_normal((2, H, W, 3))
    x = torch.tensor(values.transpose(0, 3, 1, 2), requires_grad=True)
    y = torch.nn.functional.lp_pool2d(x, 2, F, S)
    found = forward(device, values, geometry)
    oracle.assert_near(found, y.detach().numpy().transpose(0, 2, 3, 1), 1e-12)
    dy = rng.standard_normal(found.shape)
    y.backward(torch.tensor(dy).permute(0, 3, 1, 2))
    oracle.assert_near(backward(device, dy, values, found, geometry), x.grad.numpy().transpose(0, 2, 3, 1), 1e-12)


@pytest.mark.parametrize("D", [3, 4])
def test_a_stride_may_be_longer_than_an_int(device, rng, D):
    x = np.abs(rng.standard_normal((2, 5, 6, D))).astype(np.float32) + 1
    y = dy = np.full((2, 1, 1, D), 2, np.float32)
    (dx,) = run_op(device, "l2_pool_backward", [dy, x, y], [(x.shape, np.float32)], F=2, S=2**32, P=0)
    np.testing.assert_array_equal(dx[:, :2, :2], x[:, :2, :2])
    assert not dx[:, 2:].any() and not dx[:, :, 2:].any()


@pytest.mark.parametrize("D", [3, 4])
def test_images_behind_the_last_are_left_alone(device, rng, D):
    x, y = rng.standard_normal((3, 6, 4, D)), 1 + rng.random((3, 3, 2, D))
    check_only_given_images(device, "l2_pool_forward", [x], y, F=2, S=2, P=0)
    check_only_given_images(device, "l2_pool_backward", [y, x, y], x, F=2, S=2, P=0)


def test_nets_with_lengths_learn(device):
    check_net(Net("9x6x2", [Conv(4), L2Pool(3, S=2, P=1), Conv(5), L2Pool(2), FC(3)], fit="pad"), device)


def test_the_words(tmp_path):
    layers = [L2Pool(2), L2Pool(3, S=1, P=1), FC(4)]
    check_words("INPUT[8x6x3] -> L2POOL2 -> L2POOL3(S=1, P=1) -> FC-4", Net("8x6x3", layers), tmp_path)


# Random calls of each op, for the tests that go through all ops.


def call_l2_pool_forward(draw: Draw) -> Call:
    x, y, _ = draw.pooling()
    return Call("l2_pool_forward", (x,), ((y.shape, draw.dtype),), attributes=draw.geometry)


def call_l2_pool_backward(draw: Draw) -> Call:
    """Any lengths will do; some are 0."""
    x, dy, _ = draw.pooling()
    y = np.abs(np.round(2 * draw.values(*dy.shape)))
    return Call("l2_pool_backward", (dy, x, y), ((x.shape, draw.dtype),), attributes=draw.geometry)


MUTANTS = [
    *mutants_of(
        "l2_pool.cu",
        "l2_pool_forward",
        ("no padding", "at.row * S - P,", "at.row * S,"),
        ("a stride of F", "at.column * S - P,", "at.column * F - P,"),
        ("no root", "        for (int lane = 0; lane < COUNT; ++lane) sum.value[lane] = sqrt(sum.value[lane]);\n", ""),
        ("no square", "+= values.value[lane] * values.value[lane]", "+= values.value[lane]"),
        ("packs across positions", "D % WIDTH == 0 && aligned(x, y)", "aligned(x, y)"),
        ("packs at any address in", "aligned(x, y);", "aligned(y);"),
        ("packs at any address out", "aligned(x, y);", "aligned(x);"),
        (
            "ints for many inputs",
            "N * D * largest(H * W, H2 * W2);\n    const By by_D",
            "1;\n    const By by_D",
        ),
    ),
    *mutants_of(
        "l2_pool.cu",
        "l2_pool_backward",
        ("the last window counts alone", "sum.value[lane] += gradients", "sum.value[lane] = gradients"),
        ("NaN where there are only zeros", "if (length != real(0)) sum", "sum"),
        ("short windows have no slope", "length != real(0)", "length > real(0.5)"),
        ("not divided by the length", "values.value[lane] / length", "values.value[lane]"),
        ("packs across positions", "D % WIDTH == 0 && aligned(dy, x, y, dx)", "aligned(dy, x, y, dx)"),
        ("packs at any address", "aligned(dy, x, y, dx)", "aligned(dy, y, dx)"),
        (
            "ints for many inputs",
            "largest(N * D * largest(H * W, H2 * W2), reach(H, W, D, S, P));",
            "reach(H, W, D, S, P);",
        ),
        (
            "ints for long strides",
            "reach(H, W, D, S, P));",
            "0);",
        ),
    ),
]
"""Changes of its kernels that the tests above, and those of all ops, must notice."""
