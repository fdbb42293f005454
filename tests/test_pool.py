"""Max pooling against float64 loops, numeric gradients and PyTorch; ties, NaN and windows of nothing but -inf."""

import numpy as np
import pytest
import torch

from gpunet import FC, LRN, L2Pool, MaxPool, Model, Net, ReLU
from gpunet.compile.rewrite import REWRITES
from tests import oracle
from tests.geometries import COMMON, Geometry
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op

DTYPES = [np.float32, np.float64]
LARGE = Geometry(19, 18, F=17, S=1, P=3)  # switches no longer fit into one byte
GEOMETRIES = [*(geometry for geometry in COMMON if geometry.P < geometry.F), LARGE]


def forward(device, x, geometry):
    """y and switches, as they lie in plans: two a byte up to windows of 3 x 3."""
    D = x.shape[3]
    places = len(x), geometry.H2, geometry.W2
    bytes_of_a_place = -(-D // 2) if geometry.F <= 3 else D
    outputs = ((*places, D), x.dtype), ((*places, bytes_of_a_place), np.uint8 if geometry.F <= 16 else np.int32)
    y, switches = run_op(device, "max_pool_forward", [x], outputs, **geometry.numbers)
    return y, oracle.of_halves(switches, D) if geometry.F <= 3 else switches


def infer(device, x, geometry):
    shape = (len(x), geometry.H2, geometry.W2, x.shape[3])
    (y,) = run_op(device, "max_pool_infer", [x], [(shape, x.dtype)], **geometry.numbers)
    return y


def backward(device, dy, switches, geometry):
    shape = (len(dy), geometry.H, geometry.W, dy.shape[3])
    if geometry.F <= 3:
        switches = oracle.in_halves(switches)
    (dx,) = run_op(device, "max_pool_backward", [dy, switches], [(shape, dy.dtype)], **geometry.numbers)
    return dx


def check(device, x, geometry):
    """Forward, with and without switches, is exactly what the loops give."""
    expected, where = oracle.max_pool(x, geometry.H2, geometry.W2, **geometry.numbers)
    y, switches = forward(device, x, geometry)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(switches, where)
    np.testing.assert_array_equal(infer(device, x, geometry), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_maxima_switches_and_gradients_are_those_of_the_loops(device, rng, geometry, dtype):
    N, D = (2, 1) if geometry is LARGE else (3, 4)
    x = rng.standard_normal((N, geometry.H, geometry.W, D)).astype(dtype)
    check(device, x, geometry)
    _, switches = forward(device, x, geometry)
    dy = rng.standard_normal(switches.shape).astype(dtype)
    expected = oracle.max_pool_backward(dy, switches, x.shape, **geometry.numbers)
    dx = backward(device, dy, switches, geometry)
    oracle.assert_near(dx, expected)
    assert (dx[expected == 0] == 0).all()


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_of_equal_values_the_first_wins(device, rng, geometry):
    check(device, rng.integers(0, 3, (2, geometry.H, geometry.W, 3)).astype(np.float32), geometry)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_the_first_nan_of_a_window_is_its_maximum(device, rng, geometry):
    x = rng.standard_normal((2, geometry.H, geometry.W, 3)).astype(np.float32)
    x[rng.random(x.shape) < 0.2] = np.nan
    x[rng.random(x.shape) < 0.1] = np.inf
    check(device, x, geometry)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_a_window_of_nothing_but_minus_infinity_points_at_its_first_position_inside(device, rng, geometry):
    x = np.full((2, geometry.H, geometry.W, 3), -np.inf, np.float32)
    x[..., 2] = rng.standard_normal(x.shape[:3])
    check(device, x, geometry)


def test_a_gradient_that_is_nan_or_infinite_stays_where_its_switch_points(device, rng):
    for geometry in (Geometry(8, 6, F=2, S=2, P=0), Geometry(9, 7, F=3, S=2, P=0)):
        x = rng.standard_normal((2, geometry.H, geometry.W, 3)).astype(np.float32)
        _, switches = forward(device, x, geometry)
        dy = rng.standard_normal(switches.shape).astype(np.float32)
        dy[0, 1, 1, 0], dy[1, 0, 2, 2] = np.nan, -np.inf
        expected = oracle.max_pool_backward(dy, switches, x.shape, **geometry.numbers)
        oracle.assert_near(backward(device, dy, switches, geometry), expected)


def test_gradients_are_the_slopes_of_the_forward_pass(device, rng):
    geometry = Geometry(5, 6, F=3, S=2, P=1, fit="pad")
    x = rng.permutation(5 * 6 * 2).reshape(1, 5, 6, 2).astype(np.float64)  # no two values near each other
    y, switches = forward(device, x, geometry)
    dy = rng.standard_normal(y.shape)
    expected = oracle.numeric_gradient(lambda x: float((infer(device, x, geometry) * dy).sum()), x, step=1e-3)
    oracle.assert_near(backward(device, dy, switches, geometry), expected, 1e-9)


@pytest.mark.parametrize("geometry", [g for g in GEOMETRIES if g.fit == "error" and 2 * g.P <= g.F], ids=str)
def test_pytorch_agrees(device, rng, geometry):
    values = rng.standard_normal((2, geometry.H, geometry.W, 3)).astype(np.float32)
    x = torch.tensor(values.transpose(0, 3, 1, 2), requires_grad=True)
    y = torch.nn.functional.max_pool2d(x, geometry.F, geometry.S, geometry.P)
    found, switches = forward(device, values, geometry)
    dy = rng.standard_normal(found.shape).astype(np.float32)
    y.backward(torch.tensor(dy).permute(0, 3, 1, 2))
    np.testing.assert_array_equal(found, y.detach().numpy().transpose(0, 2, 3, 1))
    oracle.assert_near(backward(device, dy, switches, geometry), x.grad.numpy().transpose(0, 2, 3, 1), 1e-4)


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("H, W, F, S, P", [(8, 7, 3, 2, 1), (10, 8, 3, 2, 0), (9, 12, 4, 3, 2), (7, 8, 2, 3, 1)])
def test_pytorch_agrees_on_windows_that_do_not_fit(device, rng, H, W, F, S, P, ceil):
    """Its ceil_mode is the policy "pad": Caffe's rounding, without windows that would begin in the padding."""
    geometry = Geometry(H, W, F=F, S=S, P=P, fit="pad" if ceil else "crop")
    values = rng.standard_normal((2, H, W, 3)).astype(np.float32)
    y = torch.nn.functional.max_pool2d(torch.tensor(values).permute(0, 3, 1, 2), F, S, P, ceil_mode=ceil)
    np.testing.assert_array_equal(forward(device, values, geometry)[0], y.permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_gradients_of_windows_of_minus_infinity_stay_inside(device, geometry):
    """All of dy arrives: a switch that pointed outside would lose it, or write it elsewhere."""
    x = np.full((2, geometry.H, geometry.W, 4), -np.inf, np.float32)
    _, switches = forward(device, x, geometry)
    dy = np.ones(switches.shape, np.float32)
    dx = backward(device, dy, switches, geometry)
    np.testing.assert_array_equal(dx.sum(axis=(1, 2)), dy.sum(axis=(1, 2)))


@pytest.mark.parametrize("without", [(), tuple(REWRITES)], ids=["saved", "plain"])
def test_nan_goes_through_relu_and_pooling_to_the_scores_of_its_image_alone(device, rng, without):
    to_nan = [L2Pool(1), LRN(1)]  # the square of 3e38 is infinite, and that divided by itself
    net = Net("8x6x3", [*to_nan, ReLU(), MaxPool(2), MaxPool(3, S=1, P=1), ReLU(), FC(4)])
    images, labels = rng.standard_normal((3, 8, 6, 3)).astype(np.float32), np.zeros(3, np.int32)
    images[1, 5, 2, 0] = 3e38
    with Model(net, 3, device, without=without, debug=True) as model:
        scores = model.forward(images)
        assert np.isnan(scores[1]).all() and np.isfinite(scores[[0, 2]]).all()
        assert np.isnan(model.step(images, labels))


def test_many_blocks_and_a_row_longer_than_a_block(device, rng):
    for shape in ((5, 20, 18, 40), (1, 4, 6, 9000)):
        geometry = Geometry(*shape[1:3], F=2, S=2, P=0)
        x = rng.standard_normal(shape).astype(np.float32)
        N, H, W, D = shape
        windows = x.reshape(N, H // 2, 2, W // 2, 2, D).transpose(0, 1, 3, 5, 2, 4).reshape(N, H // 2, W // 2, D, 4)
        y, switches = forward(device, x, geometry)
        np.testing.assert_array_equal(y, windows.max(axis=4))
        np.testing.assert_array_equal(switches, windows.argmax(axis=4))
        dx = backward(device, y, switches, geometry)
        np.testing.assert_array_equal(dx, np.where(x == y.repeat(2, axis=1).repeat(2, axis=2), x, 0))


# Random calls of each op, for the tests that go through all ops.


def call_max_pool_forward(draw: Draw) -> Call:
    x, y, switches = draw.pooling()
    outputs = (y.shape, draw.dtype), (switches.shape, switches.dtype)
    return Call("max_pool_forward", (x,), outputs, attributes=draw.geometry)


def call_max_pool_infer(draw: Draw) -> Call:
    x, y, _ = draw.pooling()
    return Call("max_pool_infer", (x,), ((y.shape, draw.dtype),), attributes=draw.geometry)


def call_max_pool_backward(draw: Draw) -> Call:
    x, dy, switches = draw.pooling()
    return Call("max_pool_backward", (dy, switches), ((x.shape, draw.dtype),), attributes=draw.geometry)


MUTANTS = [
    *mutants_of(
        "switches.cuh",
        "halves",
        ("the other half", "byte >> k % 2 * 4 & 15", "byte >> (k + 1) % 2 * 4 & 15"),
        ("both halves", "byte >> k % 2 * 4 & 15", "byte >> k % 2 * 4"),
        ("halves that overlap", "first | second << 4", "first | second << 3"),
        ("half of a position", "(maps + 1) / 2", "maps / 2"),
    ),
    *mutants_of(
        "pool.cu",
        "max_pool_forward",
        ("no padding", "top = at.row * S - P,", "top = at.row * S,"),
        ("a stride of F", "left = at.column * S - P;", "left = at.column * F - P;"),
        ("switches count from the edge", "(int)((h - top) * F", "(int)(h * F"),
        ("switches with another stride", "(int)((h - top) * F", "(int)((h - top) * W"),
        ("-inf never wins", "none || beats", "beats"),
        ("the last always wins", "        none = false;\n", ""),
        ("packs across positions", "packable = D % WIDTH == 0 && aligned(x, y", "packable = aligned(x, y"),
        ("packs of halves across positions", "if (D % WIDTH == 0 && aligned(x, y", "if (aligned(x, y"),
        ("a pair reaches into the next position", "lane < 2 && at.d < D;", "lane < 2;"),
        ("halves the other way round", "both(where[0], where[1])", "both(where[1], where[0])"),
        (
            "ints for many inputs",
            "N * D * largest(H * W, H2 * W2);\n    DISPATCH(max_pool_packs, packable",
            "1;\n    DISPATCH(max_pool_packs, packable",
        ),
    ),
    *mutants_of(
        "pool.cu", "max_pool_infer", ("writes switches", "if (switches.wanted()) switches.put", "switches.put")
    ),
    *mutants_of(
        "pool.cu",
        "max_pool_backward",
        ("every window counts", "if (where.value[lane] == here) sum", "sum"),
        ("the last window counts alone", "sum.value[lane] += gradients", "sum.value[lane] = gradients"),
        ("switches with another stride", "(at.row + P - i * S) * F", "(at.row + P - i * S) * S"),
        (
            "packs across positions",
            "D % WIDTH == 0 && aligned(dy, switches.numbers, dx)",
            "aligned(dy, switches.numbers, dx)",
        ),
        (
            "ints for many inputs",
            "largest(N * D * largest(H * W, H2 * W2), reach(H, W, D, S, P));\n    DISPATCH(max_pool_backward",
            "reach(H, W, D, S, P);\n    DISPATCH(max_pool_backward",
        ),
        (
            "ints for long strides",
            "reach(H, W, D, S, P));\n    DISPATCH(max_pool_backward",
            "0);\n    DISPATCH(max_pool_backward",
        ),
    ),
]
"""Changes of its kernels that the tests above, and those of all ops, must notice."""
