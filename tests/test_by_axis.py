"""Pools whose windows differ along the axes, averages that count padding, and parts of maps: against the definition,
PyTorch and Caffe's rule; what square windows keep; whole maps; nets, words, and what is refused."""

from itertools import product
from math import isnan, sqrt

import numpy as np
import pytest
import torch

import gpunet
from gpunet import (
    FC,
    AdaptiveAvgPool,
    AvgPool,
    ConfigError,
    Conv,
    GlobalMaxPool,
    L2Pool,
    MaxPool,
    Model,
    Net,
    ReLU,
    ShapeError,
    Volume,
)
from tests import oracle
from tests.layer_checks import check_net, check_words
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])

# H, W, D, F, S, P (top, bottom, left, right), H2, W2: odd, hanging over, uneven sides, whole packs.
CASES = [
    (7, 6, 4, (2, 3), (1, 2), (1, 0, 0, 2), 7, 3),
    (5, 9, 3, (3, 1), (2, 1), (0, 0, 0, 0), 3, 9),
    (6, 4, 8, (6, 4), (6, 4), (0, 0, 0, 0), 1, 1),
    (8, 5, 1, (1, 4), (3, 2), (0, 0, 2, 1), 3, 3),
]


def few(case):
    """Whether half a byte holds all places of a window."""
    rows, columns = case[3]
    return rows * columns <= 15


def numbers_of(F, S, P):
    names = ("F_rows", "F_columns", "S_rows", "S_columns", "P_top", "P_left")
    return dict(zip(names, (*F, *S, P[0], P[2]), strict=True))


def spans(size, outputs, F, S, before):
    """By output, the positions of an axis that its window sees."""
    return [range(max(0, i * S - before), min(size, i * S - before + F)) for i in range(outputs)]


def windows(case):
    """By output (i, j), the (h, w) that its window sees, in order."""
    H, W, _, F, S, P, H2, W2 = case
    rows, columns = spans(H, H2, F[0], S[0], P[0]), spans(W, W2, F[1], S[1], P[2])
    return {(i, j): list(product(rows[i], columns[j])) for i in range(H2) for j in range(W2)}


def draw_case(rng, case, dtype):
    """x, with NaN and equal values, and dy."""
    H, W, D, *_, H2, W2 = case
    x = np.round(rng.standard_normal((3, H, W, D)), 1).astype(dtype)
    x[0, H // 2, W // 2, 0] = np.nan
    return x, rng.standard_normal((3, H2, W2, D)).astype(dtype)


@DTYPES
@pytest.mark.parametrize(
    "case, switch",
    [(case, switch) for case in CASES for switch in ("halves", np.uint8, np.int32) if switch != "halves" or few(case)],
)
def test_maxima_stand_where_the_switches_point_and_get_the_gradient(device, rng, case, switch, dtype):
    x, dy = draw_case(rng, case, dtype)
    F, S, P = case[3:6]
    numbers = numbers_of(F, S, P)
    D = dy.shape[3]
    kept = ((*dy.shape[:3], -(-D // 2)), np.uint8) if switch == "halves" else (dy.shape, switch)
    y, switches = run_op(device, "max_pool_by_axis_forward", [x], [(dy.shape, dtype), kept], **numbers)
    (plain,) = run_op(device, "max_pool_by_axis_infer", [x], [(dy.shape, dtype)], **numbers)
    (dx,) = run_op(device, "max_pool_by_axis_backward", [dy, switches], [(x.shape, dtype)], **numbers)
    expected = np.zeros(x.shape)
    if switch == "halves":
        switches = oracle.of_halves(switches, D)
    for (i, j), seen in windows(case).items():
        for n, d in product(range(len(x)), range(x.shape[3])):
            best = seen[0]
            for at in seen[1:]:
                value, old = x[n, at[0], at[1], d], x[n, best[0], best[1], d]
                if not isnan(old) and (isnan(value) or value > old):
                    best = at
            where = (best[0] - (i * S[0] - P[0])) * F[1] + best[1] - (j * S[1] - P[2])
            assert switches[n, i, j, d] == where
            np.testing.assert_array_equal([y[n, i, j, d], plain[n, i, j, d]], [x[n, best[0], best[1], d]] * 2)
            expected[n, best[0], best[1], d] += float(dy[n, i, j, d])
    oracle.assert_near(dx, expected)


@DTYPES
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("counts", ["seen", "padding"])
def test_averages_and_lengths_are_those_of_the_definition(device, rng, case, counts, dtype):
    x, dy = draw_case(rng, case, dtype)
    x = np.nan_to_num(x)
    H, W, _, F, S, P, _, _ = case
    around = P if counts == "padding" else (0, 0, 0, 0)
    numbers = numbers_of(F, S, P)
    counted = numbers | dict(zip(("top", "bottom", "left", "right"), around, strict=True))
    (y,) = run_op(device, "average_pool_by_axis_forward", [x], [(dy.shape, dtype)], **counted)
    (dx,) = run_op(device, "average_pool_by_axis_backward", [dy], [(x.shape, dtype)], **counted)
    (length,) = run_op(device, "l2_pool_by_axis_forward", [x], [(dy.shape, dtype)], **numbers)
    (slope,) = run_op(device, "l2_pool_by_axis_backward", [dy, x, length], [(x.shape, dtype)], **numbers)
    averages, lengths = np.zeros(dy.shape), np.zeros(dy.shape)
    shares, slopes = np.zeros(x.shape), np.zeros(x.shape)
    for (i, j), seen in windows(case).items():
        top, left = i * S[0] - P[0], j * S[1] - P[2]
        rows = min(top + F[0], H + around[1]) - max(top, -around[0])  # Caffe's rule, and PyTorch's
        columns = min(left + F[1], W + around[3]) - max(left, -around[2])
        for n, d in product(range(len(x)), range(x.shape[3])):
            values = [float(x[n, h, w, d]) for h, w in seen]
            averages[n, i, j, d] = sum(values) / (rows * columns)
            lengths[n, i, j, d] = sqrt(sum(value * value for value in values))
            for (h, w), value in zip(seen, values, strict=True):
                shares[n, h, w, d] += float(dy[n, i, j, d]) / (rows * columns)
                if lengths[n, i, j, d]:
                    slopes[n, h, w, d] += float(dy[n, i, j, d]) * value / lengths[n, i, j, d]
    for found, expected in ((y, averages), (dx, shares), (length, lengths), (slope, slopes)):
        oracle.assert_near(found, expected)


@DTYPES
@pytest.mark.parametrize(
    ("H", "W", "D", "K"), [(7, 5, 4, (3, 2)), (6, 9, 3, (4, 9)), (2, 3, 1, (5, 1)), (7, 7, 8, (7, 3))]
)
def test_parts_of_maps_are_those_of_pytorch(device, rng, H, W, D, K, dtype):
    x, dy = rng.standard_normal((2, H, W, D)).astype(dtype), rng.standard_normal((2, *K, D)).astype(dtype)
    maps = torch.tensor(x.transpose(0, 3, 1, 2).astype(np.float64), requires_grad=True)
    expected = torch.nn.functional.adaptive_avg_pool2d(maps, K)
    expected.backward(torch.tensor(dy.transpose(0, 3, 1, 2).astype(np.float64)))
    (y,) = run_op(device, "adaptive_pool_forward", [x], [(dy.shape, dtype)])
    (dx,) = run_op(device, "adaptive_pool_backward", [dy], [(x.shape, dtype)])
    oracle.assert_near(y, expected.detach().numpy().transpose(0, 2, 3, 1))
    oracle.assert_near(dx, maps.grad.numpy().transpose(0, 2, 3, 1))


def ops_of(net):
    return [op.name for op in gpunet.plan(net, 2, device="cpu", without=["in-place"]).program.ops if "pool" in op.name]


def test_square_windows_keep_their_ops_and_whole_equal_parts_take_them():
    square = [MaxPool((3, 3), S=2, P=(1, 1)), AvgPool(2), AdaptiveAvgPool(3), AdaptiveAvgPool((1, 1))]
    assert ops_of(Net("11x11x2", [Conv(2), *square, FC(2)])) == [
        "max_pool_forward", "average_pool_forward", "average_pool_forward",
        "average_pool_forward", "average_pool_backward", "average_pool_backward", "average_pool_backward",
        "max_pool_backward",
    ]  # fmt: skip
    assert MaxPool((3, 3), S=(2, 2), P=(1, 1, 1, 1)) == MaxPool(3, S=2, P=1)
    assert ops_of(Net("6x6x2", [Conv(2), AvgPool(3, S=1, counts="padding"), FC(2)]))[0] == "average_pool_forward"


def test_savings_of_pools_know_windows_by_axis(device):
    """ReLU goes behind the pool, and two of its switches are a byte."""
    net = Net("8x6x2", [Conv(4), ReLU(), MaxPool((4, 2)), FC(3)])
    plan = gpunet.plan(net, 2, device="cpu")
    names = [op.name for op in plan.program.ops]
    assert names.index("max_pool_by_axis_forward") < names.index("relu_forward")
    assert plan.program.tensors["pool1.switches"].shape == (2, 2, 3, 2)
    check_net(net, device)


def test_nets_with_them_learn(device):
    layers = [
        Conv(3),
        AvgPool((3, 2), S=1, P=(1, 1, 0, 1), counts="padding"),
        L2Pool((1, 3), S=1, P=(0, 1)),
        AdaptiveAvgPool((4, 3)),
    ]
    check_net(Net("7x5x2", [*layers, Conv(3), GlobalMaxPool(), FC(3)]), device)


def test_the_largest_of_whole_maps_needs_one_switch_a_map(device, rng):
    images = rng.standard_normal((3, 300, 2, 5)).astype(np.float32)
    with Model(Net("300x2x5", [GlobalMaxPool()]), 3, device, mode="infer") as model:
        np.testing.assert_array_equal(model.forward(images).reshape(3, 5), images.max(axis=(1, 2)))
    assert Net("300x2x5", [GlobalMaxPool()]).output == Volume(1, 1, 5)


def test_they_slide_over_larger_images_as_over_crops(device, rng):
    layers = [Conv(4, P=0), ReLU(), MaxPool((2, 1)), AdaptiveAvgPool(3), GlobalMaxPool(), FC(3)]
    net = Net("8x8x2", layers)
    image = rng.standard_normal((12, 12, 2)).astype(np.float32)
    with Model(net, 1, device, mode="infer", seed=1) as model:
        found = gpunet.slide(net, dict(model.parameters.items()), image, device=device)
        crops = [[model.forward(image[None, i : i + 8, j : j + 8]).reshape(3) for j in (0, 2, 4)] for i in (0, 2, 4)]
    np.testing.assert_allclose(found.scores, crops, rtol=1e-5, atol=1e-6)


def test_parts_that_are_not_equal_do_not_slide():
    net = Net("8x8x2", [Conv(4), AdaptiveAvgPool(3), FC(3)])
    with pytest.raises(ShapeError, match="adaptive1 averages parts of 8x8 that are not equal, which does not slide"):
        gpunet.slide(net, {}, np.zeros((9, 9, 2), np.float32), device="cpu")


def test_the_words(tmp_path):
    layers = [
        MaxPool((3, 2), S=(1, 2), P=(1, 1, 0, 1)),
        AvgPool(3, S=1, P=1, counts="padding"),
        L2Pool((2, 1), S=1),
        AdaptiveAvgPool(4),
        AdaptiveAvgPool((3, 2)),
        GlobalMaxPool(),
    ]
    text = """POOL3x2(S=1x2, P=1x1x0x1) -> AVGPOOL3(S=1, P=1, counts=padding) -> L2POOL2x1(S=1)
        -> ADAPTIVE4 -> ADAPTIVE3x2 -> GMP"""
    check_words(f"INPUT[7x7x3] -> {text}", Net("7x7x3", layers), tmp_path)


@pytest.mark.parametrize(("said", "why"), [
    ("POOL3x2(P=1x2)", "P=1x2 would make windows of padding alone; use P < F=3x2"),
    ("POOL3x256", "F=3x256 is more than a pooling window may have"),
    ("POOL3x2x1", "F must be an integer of at most 9 digits or a list|F must be"),
    ("AVGPOOL3(counts=all)", "counts must be one of seen, padding; got 'all'"),
    ("AVGPOOL3(count_include_pad=true)", "did you mean counts"),
    ("ADAPTIVE", "ADAPTIVE needs K; write ADAPTIVE3"),
    ("ADAPTIVE400000000", "adaptive1: K=400000000 makes more parts of 7x7 than can be counted; use K <= 46340"),
    ("ADAPTIVE0", "K must be an integer of at least 1"),
    ("ADAPTIVEAVGPOOL2D", "write ADAPTIVE"),
    ("GLOBALMAXPOOL", "write GMP"),
])  # fmt: skip
def test_what_they_cannot_be_is_said(said, why):
    with pytest.raises((ConfigError, ShapeError), match=why):
        gpunet.load(f"INPUT[7x7x3] -> {said}")


# Random calls of each op, for the tests that go through all ops.


def _pooling(draw: Draw) -> tuple[np.ndarray, np.ndarray, dict[str, int], tuple[int, int, int, int]]:
    """x, dy, how the windows stand, and the padding of each side."""
    H, W, _, F, S, P, H2, W2 = CASES[draw.size(0, len(CASES) - 1)]
    N, D = draw.size(1, 4), draw.depth()
    x = np.round(draw.values(N, H, W, D))
    return x, draw.values(N, H2, W2, D), numbers_of(F, S, P), P


def call_max_pool_by_axis_forward(draw: Draw) -> Call:
    x, dy, numbers, _ = _pooling(draw)
    switches = draw.switches(dy.shape, numbers["F_rows"] * numbers["F_columns"])
    outputs = (dy.shape, draw.dtype), (switches.shape, switches.dtype)
    return Call("max_pool_by_axis_forward", (x,), outputs, attributes=numbers)


def call_max_pool_by_axis_infer(draw: Draw) -> Call:
    x, dy, numbers, _ = _pooling(draw)
    return Call("max_pool_by_axis_infer", (x,), ((dy.shape, draw.dtype),), attributes=numbers)


def call_max_pool_by_axis_backward(draw: Draw) -> Call:
    x, dy, numbers, _ = _pooling(draw)
    switches = draw.switches(dy.shape, numbers["F_rows"] * numbers["F_columns"])
    return Call("max_pool_by_axis_backward", (dy, switches), ((x.shape, draw.dtype),), attributes=numbers)


def _counted(draw: Draw) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    x, dy, numbers, P = _pooling(draw)
    around = P if draw.size(0, 1) else (0, 0, 0, 0)
    return x, dy, numbers | dict(zip(("top", "bottom", "left", "right"), around, strict=True))


def call_average_pool_by_axis_forward(draw: Draw) -> Call:
    x, dy, numbers = _counted(draw)
    return Call("average_pool_by_axis_forward", (x,), ((dy.shape, draw.dtype),), attributes=numbers)


def call_average_pool_by_axis_backward(draw: Draw) -> Call:
    x, dy, numbers = _counted(draw)
    return Call("average_pool_by_axis_backward", (dy,), ((x.shape, draw.dtype),), attributes=numbers)


def call_l2_pool_by_axis_forward(draw: Draw) -> Call:
    x, dy, numbers, _ = _pooling(draw)
    return Call("l2_pool_by_axis_forward", (x,), ((dy.shape, draw.dtype),), attributes=numbers)


def call_l2_pool_by_axis_backward(draw: Draw) -> Call:
    x, dy, numbers, _ = _pooling(draw)
    y = np.abs(np.round(draw.values(*dy.shape)))
    return Call("l2_pool_by_axis_backward", (dy, x, y), ((x.shape, draw.dtype),), attributes=numbers)


def call_adaptive_pool_forward(draw: Draw) -> Call:
    x = draw.values(*draw.volume())
    shape = len(x), draw.size(1, 5), draw.size(1, 5), x.shape[3]
    return Call("adaptive_pool_forward", (x,), ((shape, draw.dtype),))


def call_adaptive_pool_backward(draw: Draw) -> Call:
    shape = draw.volume()
    dy = draw.values(shape[0], draw.size(1, 5), draw.size(1, 5), shape[3])
    return Call("adaptive_pool_backward", (dy,), ((shape, draw.dtype),))


MUTANTS = [
    *mutants_of(
        "by_axis.cu",
        "max_pool_by_axis_forward",
        ("rows above the input", "return {from > 0 ? from : 0, to < size", "return {from, to < size"),
        ("rows below the input", "to < size ? to : size};", "to};"),
        (
            "columns at the stride of rows",
            "(int)F_columns, By{S_columns, magic_S_columns}",
            "(int)F_columns, By{S_rows, magic_S_rows}",
        ),
        (
            "windows as wide as high",
            "(int)F_columns, By{S_columns, magic_S_columns}",
            "(int)F_rows, By{S_columns, magic_S_columns}",
        ),
        ("switches count rows of another width", "(h - top) * columns.F + (w - left)", "(h - top) * W + (w - left)"),
        ("packs of halves at any address", "if (D % WIDTH == 0 && aligned(x, y, switches))", "if (D % WIDTH == 0)"),
        ("a pair reaches into the next position", "lane < 2 && at.d < D;", "lane < 2;"),
        ("packs at any address", "packable = D % WIDTH == 0 && aligned(x, y, switches)", "packable = D % WIDTH == 0"),
    ),
    *mutants_of(
        "by_axis.cu",
        "max_pool_by_axis_forward",
        ("the last of equals", "none || beats(values.value[lane], found.best.value[lane])", "true"),
    ),
    *mutants_of(
        "by_axis.cu",
        "max_pool_by_axis_infer",
        ("switches that are not there", "if (switches.wanted()) switches.put", "switches.put"),
    ),
    *mutants_of(
        "by_axis.cu",
        "max_pool_by_axis_backward",
        ("windows behind the last", "last < outputs ? last : outputs", "last"),
        ("first window off by one", "(place - F) / S + 1, last", "(place - F) / S, last"),
        ("every window", "if (where.value[lane] == here)", "if (true)"),
    ),
    *mutants_of(
        "by_axis.cu",
        "max_pool_by_axis_backward",
        ("packs at any address", "aligned(dy, switches.numbers, dx)", "aligned(dy, switches.numbers)"),
    ),
    *mutants_of(
        "by_axis.cu",
        "average_pool_by_axis_forward",
        ("padding before never counts", "(from > -counts_before ? from : -counts_before)", "(from > 0 ? from : 0)"),
        ("padding behind never counts", "end = size + counts_after", "end = size"),
        ("what hangs over counts", "(to < end ? to : end)", "to"),
    ),
    *mutants_of(
        "by_axis.cu",
        "average_pool_by_axis_backward",
        ("whole gradients", "gradients.value[lane] * share;", "gradients.value[lane];"),
    ),
    *mutants_of(
        "by_axis.cu",
        "adaptive_pool_forward",
        (
            "parts never overlap",
            "((i + 1) * size.number + outputs.number - 1) / outputs}",
            "(i + 1) * size.number / outputs}",
        ),
    ),
    *mutants_of(
        "by_axis.cu",
        "adaptive_pool_backward",
        (
            "a part is left out",
            "((position + 1) * outputs.number + size.number - 1) / size}",
            "position * outputs.number / size + 1}",
        ),
    ),
    *mutants_of("by_axis.cu", "l2_pool_by_axis_forward", ("squares", "= sqrt(sum.value[lane])", "= sum.value[lane]")),
    *mutants_of("by_axis.cu", "l2_pool_by_axis_backward", ("slopes at 0", "if (length != real(0))", "if (true)")),
]
"""Changes of its kernels that the tests above, and those of all ops, must notice."""
