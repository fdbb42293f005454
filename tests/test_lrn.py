"""Local response normalization against float64 loops, slopes and PyTorch, across maps and within a map."""

import numpy as np
import pytest
import torch

from gpunet import FC, LRN, ConfigError, Conv, Net, ReLU
from tests import oracle
from tests.layer_checks import check_net, check_only_given_images, check_words
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op

DTYPES = [np.float32, np.float64]
NUMBERS = {"alpha": 0.3, "beta": 0.75, "k": 1.5}
BOXES = [(1, 1), (1, 3), (1, 5), (1, 99), (3, 1), (5, 1), (99, 1), (3, 5)]
"""F and maps; 99 is wider than any volume here."""


def forward(device, x, **numbers):
    (y,) = run_op(device, "lrn_forward", [x], [(x.shape, x.dtype)], **numbers)
    return y


def backward(device, dy, x, **numbers):
    (dx,) = run_op(device, "lrn_backward", [dy, x], [(x.shape, x.dtype)], **numbers)
    return dx


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 4, 3, 7), (3, 1, 6, 4), (1, 2, 2, 1)])
@pytest.mark.parametrize("F, maps", BOXES)
def test_values_and_gradients_are_those_of_the_loops(device, rng, F, maps, shape, dtype):
    x, dy = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    numbers = {"F": F, "maps": maps, **NUMBERS}
    oracle.assert_near(forward(device, x, **numbers), oracle.lrn(x, **numbers))
    oracle.assert_near(backward(device, dy, x, **numbers), oracle.lrn_backward(dy, x, **numbers))


@pytest.mark.parametrize("n", [1, 3, 5])
@pytest.mark.parametrize("over", ["maps", "map"])
def test_pytorch_agrees_with_an_alpha_so_many_times_as_large(device, rng, over, n):
    values, dy = (3 * rng.standard_normal((2, 6, 5, 7)) for _ in range(2))
    x = torch.tensor(values.transpose(0, 3, 1, 2), requires_grad=True)
    if over == "maps":
        y = torch.nn.functional.local_response_norm(x, n, alpha=n * 0.3, beta=0.75, k=1.5)
    else:
        squares = torch.nn.functional.avg_pool2d(x * x, n, 1, n // 2)
        y = x / (1.5 + n * n * 0.3 * squares) ** 0.75
    y.backward(torch.tensor(dy).permute(0, 3, 1, 2))
    numbers = {"F": 1 if over == "maps" else n, "maps": n if over == "maps" else 1, **NUMBERS}
    oracle.assert_near(forward(device, values, **numbers), y.detach().numpy().transpose(0, 2, 3, 1), 1e-12)
    oracle.assert_near(backward(device, dy, values, **numbers), x.grad.numpy().transpose(0, 2, 3, 1), 1e-12)


def test_nan_reaches_its_neighbours_and_no_further(device):
    x = np.ones((2, 3, 4, 6), np.float32)
    x[1, 1, 2, 3] = np.nan
    across, within = (forward(device, x, F=F, maps=maps, **NUMBERS) for F, maps in ((1, 3), (3, 1)))
    assert {tuple(at) for at in np.argwhere(np.isnan(across))} == {(1, 1, 2, d) for d in (2, 3, 4)}
    assert {tuple(at) for at in np.argwhere(np.isnan(within))} == {(1, h, w, 3) for h in (0, 1, 2) for w in (1, 2, 3)}


def test_images_behind_the_last_are_left_alone(device, rng):
    x, y = (1 + rng.random((3, 4, 5, 3)) for _ in range(2))
    check_only_given_images(device, "lrn_forward", [x], y, F=3, maps=3, **NUMBERS)
    check_only_given_images(device, "lrn_backward", [y, x], x, F=3, maps=3, **NUMBERS)


@pytest.mark.parametrize("over", ["maps", "map"])
def test_nets_with_it_learn(device, over):
    check_net(Net("6x5x2", [Conv(4), ReLU(), LRN(3, alpha=0.5, over=over), Conv(5), LRN(over=over), FC(3)]), device)


def test_the_words(tmp_path):
    layers = [LRN(), LRN(3, alpha=0.5, beta=0.5, k=1.0, over="map")]
    text = "INPUT[4x3x2] -> LRN -> LRN3(alpha=0.5, beta=0.5, k=1, over=map)"
    check_words(text, Net("4x3x2", layers), tmp_path)


@pytest.mark.parametrize(
    "fields, told",
    [
        ({"n": 4}, "n=4 has no middle; use n=5"),
        ({"n": 0}, "n must be an integer of at least 1"),
        ({"alpha": -1}, "alpha must be a number of at least 0; got -1"),
        ({"beta": 0}, "beta must be a number above 0"),
        ({"k": 0}, "k must be a number above 0"),
        ({"over": "all"}, "over must be one of maps, map; got 'all'"),
    ],
)
def test_numbers_that_do_not_work_are_refused(fields, told):
    with pytest.raises(ConfigError, match=told):
        LRN(**fields)


# Random calls of each op, for the tests that go through all ops.


def _box(draw: Draw) -> dict[str, float]:
    F, maps = ((1, 2 * draw.size(0, 4) + 1), (2 * draw.size(0, 2) + 1, 1), (3, 3))[draw.size(0, 2)]
    return {"F": F, "maps": maps, "alpha": 0.25, "beta": 0.75, "k": 1.5}


def call_lrn_forward(draw: Draw) -> Call:
    x = draw.activations()
    return Call("lrn_forward", (x,), ((x.shape, draw.dtype),), attributes=_box(draw))


def call_lrn_backward(draw: Draw) -> Call:
    x = draw.activations()
    return Call("lrn_backward", (draw.values(*x.shape), x), ((x.shape, draw.dtype),), attributes=_box(draw))


MUTANTS = [
    *mutants_of(
        "lrn.cu",
        "lrn_forward",
        ("tail guard off by one", "item < N * boxes.H", "item <= N * boxes.H"),
        ("the last value is left out", "boxes.D; item +=", "boxes.D - 1; item +="),
        ("a box without its last row", "h <= at.row + reach", "h < at.row + reach"),
        ("a box without its last column", "w <= at.column + reach", "w < at.column + reach"),
        ("a box without its last map", "d <= at.d + across", "d < at.d + across"),
        ("rows above the image", "at.row > reach ? at.row - reach : 0", "at.row - reach"),
        ("columns left of the image", "at.column > reach ? at.column - reach : 0", "at.column - reach"),
        ("maps before the first", "at.d > across ? at.d - across : 0", "at.d - across"),
        ("rows below the image", "&& h < H", ""),
        ("columns right of the image", "&& w < W", ""),
        ("maps behind the last", "&& d < D", ""),
        ("no squares", "sum += value * value", "sum += value"),
        ("no k", "return k + alpha * sum", "return 1 + alpha * sum"),
        ("no alpha", "return k + alpha * sum", "return k + sum"),
        (
            "multiplies",
            "y[item] = x[item] * power(boxes.scale(x, at, alpha, k), -beta)",
            "y[item] = x[item] * power(boxes.scale(x, at, alpha, k), beta)",
        ),
        (
            "ints for huge tensors",
            "if (N * H * W * D < SMALL) normalize<int>",
            "if (true) normalize<int>",
        ),
    ),
    *mutants_of(
        "lrn.cu",
        "lrn_backward",
        ("the scale has no slope", " - 2 * alpha * beta * x[item] * pull", ""),
        ("half of the slope", "2 * alpha * beta", "alpha * beta"),
        ("one power short", "* share / scale;", "* share;"),
        ("the share of the last neighbour", "if (other == item) own = share;", "own = share;"),
        ("its own scale for all", "boxes.scale(x, near, alpha, k)", "boxes.scale(x, at, alpha, k)"),
        ("its own gradient for all", "pull += dy[other]", "pull += dy[item]"),
        ("the last neighbour counts alone", "pull += dy", "pull = dy"),
        (
            "ints for huge tensors",
            "if (N * H * W * D < SMALL) normalize_backward<int>",
            "if (true) normalize_backward<int>",
        ),
    ),
]
"""Changes of its kernels that the tests above, and those of all ops, must notice."""
