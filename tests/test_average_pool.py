"""Average pooling against float64 loops, slopes and PyTorch; divisors at the edges; averages of whole maps."""

import numpy as np
import pytest
import torch

from gpunet import FC, AvgPool, ConfigError, Conv, GlobalAvgPool, Net, Volume
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
    (y,) = run_op(device, "average_pool_forward", [x], [(shape, x.dtype)], **geometry.numbers)
    return y


def backward(device, dy, geometry):
    shape = (len(dy), geometry.H, geometry.W, dy.shape[3])
    (dx,) = run_op(device, "average_pool_backward", [dy], [(shape, dy.dtype)], **geometry.numbers)
    return dx


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("D", [3, 4])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_averages_and_their_gradients_are_those_of_the_loops(device, rng, geometry, D, dtype):
    x = rng.standard_normal((3, geometry.H, geometry.W, D)).astype(dtype)
    y = forward(device, x, geometry)
    oracle.assert_near(y, oracle.average_pool(x, geometry.H2, geometry.W2, **geometry.numbers))
    dy = rng.standard_normal(y.shape).astype(dtype)
    expected = oracle.average_pool_backward(dy, x.shape, **geometry.numbers)
    dx = backward(device, dy, geometry)
    oracle.assert_near(dx, expected)
    assert (dx[expected == 0] == 0).all()


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_the_average_of_equal_values_is_that_value_at_the_edges_too(device, geometry):
    x = np.full((2, geometry.H, geometry.W, 3), 4, np.float32)
    assert (forward(device, x, geometry) == 4).all()


def test_nan_and_infinity_are_averages_of_the_windows_that_see_them_and_of_no_other(device):
    geometry = Geometry(8, 6, F=2, S=2, P=0)
    x = np.zeros((2, 8, 6, 3), np.float32)
    x[0, 3, 2, 1], x[1, 0, 0, 0], x[1, 7, 5, 2], x[1, 7, 4, 2] = np.nan, np.inf, np.inf, -np.inf
    expected = np.zeros((2, 4, 3, 3))
    expected[0, 1, 1, 1], expected[1, 0, 0, 0], expected[1, 3, 2, 2] = np.nan, np.inf, np.nan
    np.testing.assert_array_equal(forward(device, x, geometry), expected)
    np.testing.assert_array_equal(
        backward(device, expected.astype(np.float32), geometry), expected.repeat(2, axis=1).repeat(2, axis=2)
    )


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("H, W, F, S, P", [(7, 5, 3, 1, 1), (8, 6, 2, 2, 0), (8, 7, 3, 2, 1), (9, 12, 4, 3, 2)])
def test_pytorch_agrees_where_padding_does_not_count(device, rng, H, W, F, S, P, ceil):
    geometry = Geometry(H, W, F=F, S=S, P=P, fit="pad" if ceil else "crop")
    values = rng.standard_normal((2, H, W, 3)).astype(np.float32)
    x = torch.tensor(values.transpose(0, 3, 1, 2), requires_grad=True)
    y = torch.nn.functional.avg_pool2d(x, F, S, P, ceil_mode=ceil, count_include_pad=False)
    found = forward(device, values, geometry)
    oracle.assert_near(found, y.detach().numpy().transpose(0, 2, 3, 1), 1e-6)
    dy = rng.standard_normal(found.shape).astype(np.float32)
    y.backward(torch.tensor(dy).permute(0, 3, 1, 2))
    oracle.assert_near(backward(device, dy, geometry), x.grad.numpy().transpose(0, 2, 3, 1), 1e-6)


@pytest.mark.parametrize("H, W, F, S", [(8, 7, 2, 2), (10, 8, 3, 2), (9, 12, 4, 3)])
def test_without_padding_it_does_not_matter_whether_padding_counts(device, rng, H, W, F, S):
    """What hangs over the edge never counts, in PyTorch's default neither."""
    values = rng.standard_normal((2, H, W, 3))
    y = torch.nn.functional.avg_pool2d(torch.tensor(values).permute(0, 3, 1, 2), F, S, ceil_mode=True)
    geometry = Geometry(H, W, F=F, S=S, P=0, fit="pad")
    oracle.assert_near(forward(device, values, geometry), y.permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize("H, W", [(7, 7), (5, 8), (8, 5), (1, 1)])
def test_the_average_of_a_whole_map_is_one_window(device, rng, H, W):
    geometry = Geometry(H, W, F=max(H, W), S=max(H, W), P=0, fit="pad")
    x = rng.standard_normal((3, H, W, 5))
    (y,) = run_op(device, "average_pool_forward", [x], [((3, 1, 1, 5), x.dtype)], **geometry.numbers)
    oracle.assert_near(y, x.mean(axis=(1, 2), keepdims=True))
    dx = backward(device, y, geometry)
    oracle.assert_near(dx, np.broadcast_to(y / (H * W), x.shape))


@pytest.mark.parametrize("D", [3, 4])
def test_a_stride_may_be_longer_than_an_int(device, rng, D):
    dy = rng.standard_normal((2, 1, 1, D)).astype(np.float32)
    (dx,) = run_op(device, "average_pool_backward", [dy], [((2, 5, 6, D), np.float32)], F=2, S=2**32, P=0)
    np.testing.assert_array_equal(dx[:, :2, :2], np.broadcast_to(dy / 4, (2, 2, 2, D)))
    assert not dx[:, 2:].any() and not dx[:, :, 2:].any()


@pytest.mark.parametrize("D", [3, 4])
def test_images_behind_the_last_are_left_alone(device, rng, D):
    x, y = rng.standard_normal((3, 6, 4, D)), rng.standard_normal((3, 3, 2, D))
    check_only_given_images(device, "average_pool_forward", [x], y, F=2, S=2, P=0)
    check_only_given_images(device, "average_pool_backward", [y], x, F=2, S=2, P=0)


def test_nets_with_averages_learn(device):
    layers = [Conv(4), AvgPool(3, S=2, P=1), Conv(5), GlobalAvgPool(), FC(3)]
    check_net(Net("9x6x2", layers, fit="pad"), device)
    check_net(Net("9x6x2", [Conv(3), AvgPool(2), Conv(4), GlobalAvgPool()], fit="pad"), device)


def test_the_words(tmp_path):
    layers = [AvgPool(2), AvgPool(3, S=2, P=1, fit="crop"), Conv(4), GlobalAvgPool()]
    check_words(
        "INPUT[20x8x3] -> AVGPOOL -> AVGPOOL3(S=2, P=1, fit=crop) -> CONV3-4 -> GAP", Net("20x8x3", layers), tmp_path
    )


def test_volumes():
    assert AvgPool(3, S=2).output(Volume(9, 7, 4)) == Volume(4, 3, 4)
    assert GlobalAvgPool().output(Volume(9, 7, 4)) == Volume(1, 1, 4)
    with pytest.raises(ConfigError, match=r"P=2 would make windows of padding alone; use P < F=2"):
        AvgPool(2, P=2)


# Random calls of each op, for the tests that go through all ops.


def call_average_pool_forward(draw: Draw) -> Call:
    x, y, _ = draw.pooling()
    return Call("average_pool_forward", (x,), ((y.shape, draw.dtype),), attributes=draw.geometry)


def call_average_pool_backward(draw: Draw) -> Call:
    x, dy, _ = draw.pooling()
    return Call("average_pool_backward", (dy,), ((x.shape, draw.dtype),), attributes=draw.geometry)


MUTANTS = [
    *mutants_of(
        "average_pool.cu",
        "average_pool_forward",
        ("no padding", "top = at.row * S - P,", "top = at.row * S,"),
        ("a stride of F", "left = at.column * S - P;", "left = at.column * F - P;"),
        ("the last value counts alone", "sum.value[lane] += values", "sum.value[lane] = values"),
        ("divides by the whole window", "seen(top, F, H) * seen(left, F, W)", "F * F"),
        ("counts rows twice", "seen(top, F, H) * seen(left, F, W)", "seen(top, F, H) * seen(top, F, H)"),
        ("a sum", "        for (int lane = 0; lane < COUNT; ++lane) sum.value[lane] /= count;\n", ""),
        ("packs across positions", "D % WIDTH == 0 && aligned(x, y)", "aligned(x, y)"),
        ("packs at any address in", "aligned(x, y)", "aligned(y)"),
        ("packs at any address out", "aligned(x, y)", "aligned(x)"),
        (
            "ints for many inputs",
            "N * D * largest(H * W, H2 * W2);\n    const By by_D",
            "1;\n    const By by_D",
        ),
    ),
    *mutants_of(
        "average_pool.cu",
        "average_pool_backward",
        ("the last window counts alone", "sum.value[lane] += gradients", "sum.value[lane] = gradients"),
        ("divides by the whole window", "seen<Index>(i * S - P, F, H) * seen<Index>(j * S - P, F, W)", "F * F"),
        ("counts without the padding", "seen<Index>(i * S - P, F, H)", "seen<Index>(i * S, F, H)"),
        ("the count of another column", "seen<Index>(j * S - P, F, W)", "seen<Index>(j - P, F, W)"),
        ("packs across positions", "D % WIDTH == 0 && aligned(dy, dx)", "aligned(dy, dx)"),
        ("packs at any address in", "aligned(dy, dx)", "aligned(dx)"),
        ("packs at any address out", "aligned(dy, dx)", "aligned(dy)"),
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
