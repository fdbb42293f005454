"""Convolution against float64 loops, numeric gradients, PyTorch and the notes' worked examples."""

from math import prod

import numpy as np
import pytest
import torch

import gpunet
from gpunet import FC, ConfigError, Conv, MaxPool, Net, ReLU, ShapeError, Volume
from gpunet.devices import target
from gpunet.program.chunks import chunk_rows, chunks
from gpunet.program.volume import pair, sides
from tests import oracle
from tests.geometries import COMMON, FILTERS, Geometry
from tests.layer_checks import check_net, check_words
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op

DTYPES = [np.float32, np.float64]
WIDE = Geometry(4, 5, F=3, S=1, P=4)  # outermost windows see padding alone
GEOMETRIES = [*COMMON, WIDE, *FILTERS]


class Case:
    """Random arrays for a geometry, N, H, W, D and K all different, and how much scratch a chunk limit leaves.

    D and K are those of one group. Where filters of 1 x 1 see all of x there is no im2col matrix, unless `unfold`.
    """

    def __init__(
        self, rng, geometry, dtype=np.float64, N=3, D=4, K=6, rows="batch", plan_N=None, bias=True, unfold=False
    ):
        H, W, H2, W2 = geometry.H, geometry.W, geometry.H2, geometry.W2
        F, groups = pair(geometry.F), geometry.groups
        self.geometry, self.numbers, self.dtype = geometry, geometry.conv_numbers, np.dtype(dtype)
        K *= groups
        self.x = rng.standard_normal((N, H, W, D * groups)).astype(dtype)
        self.w = rng.standard_normal((K, *F, D)).astype(dtype)
        self.b = rng.standard_normal(K).astype(dtype) if bias else None
        self.dy = rng.standard_normal((N, H2, W2, K)).astype(dtype)
        most = {"batch": 10**9, "image": H2 * W2, "two rows": 2 * W2, "row": 1}[rows]
        self.columns = (chunk_rows(plan_N or N, H2, W2, most), prod(F) * D), dtype
        if (geometry.F, geometry.S, geometry.P) == (1, 1, 0) and not unfold:
            self.columns = None

    def forward(self, device):
        return self._run(device, "conv_forward", (self.x, self.w, self.b), self.dy.shape)

    def backward_weights(self, device, images=slice(None), onto=None):
        """dw of some images, or its sum with `onto`."""
        inputs = self.x[images], self.dy[images]
        return self._run(device, "conv_backward_weights", inputs, self.w.shape, onto)

    def backward_input(self, device):
        return self._run(device, "conv_backward_input", (self.dy, self.w), self.x.shape)

    def _run(self, device, name, inputs, shape, onto=None):
        (K, L), size = (len(self.w), self.w[0].size), self.dtype.itemsize
        nbytes = target(device.name).gemm_workspace_bytes(K, L, size, accumulate=name == "conv_backward_weights")
        workspace = ((-(-nbytes // size),), self.dtype) if nbytes else None
        output, more = ((shape, self.dtype), {}) if onto is None else (onto, {"accumulate": 1})
        (result,) = run_op(device, name, inputs, [output], [self.columns, workspace], **self.numbers, **more)
        return result


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_forward_and_both_gradients_are_those_of_the_loops(device, rng, geometry, dtype):
    case = Case(rng, geometry, dtype, rows=rng.choice(["batch", "image", "two rows", "row"]))
    H2, W2 = geometry.H2, geometry.W2
    dx, dw = oracle.conv_backward(case.x, case.w, case.dy, **case.numbers)
    oracle.assert_near(case.forward(device), oracle.conv_forward(case.x, case.w, case.b, H2, W2, **case.numbers))
    oracle.assert_near(case.backward_weights(device), dw)
    oracle.assert_near(case.backward_input(device), dx)


@pytest.mark.parametrize("rows", ["batch", "image", "two rows", "row"])
@pytest.mark.parametrize(("D", "K"), [(1, 1), (3, 2), (5, 17)])
def test_chunks_of_any_size_and_odd_depths_change_nothing(device, rng, rows, D, K):
    geometry = Geometry(7, 6, F=3, S=1, P=1)
    case = Case(rng, geometry, np.float32, N=5, D=D, K=K, rows=rows)
    dx, dw = oracle.conv_backward(case.x, case.w, case.dy, **case.numbers)
    y = oracle.conv_forward(case.x, case.w, case.b, geometry.H2, geometry.W2, **case.numbers)
    oracle.assert_near(case.forward(device), y)
    oracle.assert_near(case.backward_weights(device), dw)
    oracle.assert_near(case.backward_input(device), dx)


@pytest.mark.parametrize("rows", ["batch", "image", "row"])
@pytest.mark.parametrize("geometry", [g for g in FILTERS if g.dilation != 1 or g.groups > 1], ids=str)
def test_chunks_of_dilated_and_grouped_filters_change_nothing(device, rng, geometry, rows):
    case = Case(rng, geometry, np.float32, N=2, D=3, K=2, rows=rows, bias=False)
    dx, dw = oracle.conv_backward(case.x, case.w, case.dy, **case.numbers)
    y = oracle.conv_forward(case.x, case.w, None, geometry.H2, geometry.W2, **case.numbers)
    oracle.assert_near(case.forward(device), y)
    oracle.assert_near(case.backward_weights(device), dw)
    oracle.assert_near(case.backward_input(device), dx)


@pytest.mark.parametrize("groups", [1, 3])
def test_filters_of_one_position_give_the_same_with_and_without_a_matrix(device, rng, groups):
    geometry = Geometry(6, 9, F=1, S=1, P=0, groups=groups)
    state = rng.bit_generator.state
    without = Case(rng, geometry, D=5, K=7)
    rng.bit_generator.state = state
    unfolded = Case(rng, geometry, D=5, K=7, unfold=True)
    assert without.columns is None and unfolded.columns is not None
    oracle.assert_near(without.forward(device), unfolded.forward(device))
    oracle.assert_near(without.backward_weights(device), unfolded.backward_weights(device))
    oracle.assert_near(without.backward_input(device), unfolded.backward_input(device))
    dw = without.backward_weights(device)
    oracle.assert_near(without.backward_weights(device, onto=dw), 2 * dw)


@pytest.mark.parametrize("rows", ["batch", "image", "two rows", "row"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rounds_are_added_up_one_after_the_other(device, rng, rows, dtype):
    case = Case(rng, Geometry(7, 6, F=3, S=1, P=1), dtype, N=5, D=3, K=17, rows=rows)
    first, last = slice(0, 3), slice(3, 5)
    dw = case.backward_weights(device, first)
    whole = case.backward_weights(device, last, onto=dw)
    oracle.assert_near(whole, oracle.conv_backward(case.x, case.w, case.dy, **case.numbers)[1])
    if rows == "batch":  # a round is one chunk
        np.testing.assert_array_equal(whole, dw + case.backward_weights(device, last))


def test_a_smaller_batch_in_the_scratch_of_a_larger_one(device, rng):
    case = Case(rng, Geometry(6, 5, F=3, S=1, P=1), N=2, plan_N=7)
    dx, dw = oracle.conv_backward(case.x, case.w, case.dy, **case.numbers)
    oracle.assert_near(case.forward(device), oracle.conv_forward(case.x, case.w, case.b, 6, 5, **case.numbers))
    oracle.assert_near(case.backward_weights(device), dw)
    oracle.assert_near(case.backward_input(device), dx)


@pytest.mark.parametrize("rows", ["batch", "row"])
@pytest.mark.parametrize(
    ("geometry", "unseen"),
    [
        (Geometry(8, 11, F=2, S=3, P=0), (slice(2, None, 3), slice(2, None, 3))),  # between windows
        (Geometry(8, 10, F=3, S=2, P=0, fit="crop"), (slice(7, None), slice(9, None))),  # behind the last
    ],
    ids=str,
)
def test_what_no_window_sees_gets_a_gradient_of_exactly_zero(device, rng, geometry, unseen, rows):
    dx = Case(rng, geometry, np.float32, rows=rows).backward_input(device)
    assert (dx[:, unseen[0]] == 0).all()
    assert (dx[:, :, unseen[1]] == 0).all()
    assert not np.signbit(dx[:, unseen[0]]).any()
    assert (dx[:, 0, 0] != 0).any()


def test_gradients_are_the_slopes_of_the_forward_pass(device, rng):
    case = Case(rng, Geometry(4, 5, F=3, S=2, P=1, fit="pad"), N=2, D=2, K=3)

    def loss(_):
        return float((case.forward(device) * case.dy).sum())

    oracle.assert_near(case.backward_weights(device), oracle.numeric_gradient(loss, case.w), 1e-7)
    corner = case.x[1:, :2]
    oracle.assert_near(case.backward_input(device)[1:, :2], oracle.numeric_gradient(loss, corner), 1e-7)


@pytest.mark.parametrize("geometry", [g for g in GEOMETRIES if g.fit == "error"], ids=str)
def test_pytorch_agrees(device, rng, geometry):
    case = Case(rng, geometry, np.float32, D=5, K=7, rows="image")
    x, w, b, dy = (
        torch.tensor(a) for a in (case.x.transpose(0, 3, 1, 2), case.w.transpose(0, 3, 1, 2), case.b, case.dy)
    )
    x.requires_grad, w.requires_grad = True, True
    top, bottom, left, right = sides(geometry.P)
    padded = torch.nn.functional.pad(x, (left, right, top, bottom))
    numbers = {"stride": geometry.S, "dilation": geometry.dilation, "groups": geometry.groups}
    y = torch.nn.functional.conv2d(padded, w, b, **numbers)
    y.backward(dy.permute(0, 3, 1, 2))
    oracle.assert_near(case.forward(device), y.detach().numpy().transpose(0, 2, 3, 1), 1e-4)
    oracle.assert_near(case.backward_weights(device), w.grad.numpy().transpose(0, 2, 3, 1), 1e-4)
    oracle.assert_near(case.backward_input(device), x.grad.numpy().transpose(0, 2, 3, 1), 1e-4)


def test_the_demo_of_the_notes(device, rng):
    """5x5x3, K=2, F=3, S=2, P=1 gives 3x3x2; its top left output sees the padding's zeros."""
    geometry = Geometry(5, 5, F=3, S=2, P=1)
    case = Case(rng, geometry, N=1, D=3, K=2)
    y = case.forward(device)
    padded = np.pad(case.x[0], ((1, 1), (1, 1), (0, 0)))
    assert y.shape == (1, 3, 3, 2)
    for k in range(2):
        assert y[0, 0, 0, k] == pytest.approx((padded[:3, :3] * case.w[k]).sum() + case.b[k])
        assert y[0, 1, 2, k] == pytest.approx((padded[2:5, 4:7] * case.w[k]).sum() + case.b[k])


def test_the_numpy_example_of_the_notes(device, rng):
    """X (11,11,4), F=5, S=2, P=0: V[0,0,0] and V[1,0,0] as the notes write them, their first axis being the width."""
    geometry = Geometry(11, 11, F=5, S=2, P=0)
    case = Case(rng, geometry, N=1, D=4, K=2)
    V = case.forward(device)[0]
    X, W0, b0 = case.x[0], case.w[0], case.b[0]
    assert V.shape == (4, 4, 2)
    assert V[0, 0, 0] == pytest.approx(np.sum(X[:5, :5, :] * W0) + b0)
    assert V[1, 0, 0] == pytest.approx(np.sum(X[2:7, :5, :] * W0) + b0)


def test_nan_reaches_exactly_the_outputs_that_see_it(device, rng):
    case = Case(rng, Geometry(6, 7, F=3, S=1, P=1), np.float32, N=2)
    case.x[1, 0, 3, 2] = np.nan
    y = case.forward(device)
    expected = np.zeros(y.shape, bool)
    expected[1, 0:2, 2:5] = True
    np.testing.assert_array_equal(np.isnan(y), expected)


@pytest.mark.parametrize("rows", ["batch", "row"])
def test_twice_the_same_bits(device, rng, rows):
    case = Case(rng, Geometry(9, 8, F=3, S=1, P=1), np.float32, N=4, D=19, K=23, rows=rows)
    for run in (case.forward, case.backward_weights, case.backward_input):
        np.testing.assert_array_equal(run(device), run(device))


@pytest.mark.parametrize("most", [1, 5, 11, 12, 30, 59, 60, 61, 119, 120, 1000])
def test_chunks_cover_every_output_once_in_order(most):
    N, H2, W2 = 3, 5, 4
    rows = chunk_rows(N, H2, W2, most)
    covered = []
    for image0, image1, row0, row1 in chunks(N, H2, W2, rows):
        assert 0 < (image1 - image0) * (row1 - row0) * W2 <= rows <= max(most, W2)
        covered += [(image, row) for image in range(image0, image1) for row in range(row0, row1)]
    assert covered == [(image, row) for image in range(N) for row in range(H2)]


# ---- the layer ----

EVERY_WAY = (
    "INPUT[9x8x3] -> CONV1x3-4 -> RELU -> CONV3x1-4(S=2x1, P=0x1x0x1, fit=pad) -> "
    "CONV3-6(dilation=2, groups=2, bias=false) -> CONV1-6(groups=3) -> CONV1-5(bias=false) -> "
    "CONV2-4(P=0x1x0x1) -> FC-3"
)


def test_nets_with_all_of_it_learn(device):
    layers = [
        Conv(4, F=(1, 3), bias=False),
        Conv(4, S=(2, 1), P=(0, 1, 0, 1), dilation=2, groups=2),
        Conv(4, F=1, groups=2),
    ]
    check_net(Net("5x4x2", [*layers, FC(3)], fit="pad"), device)


def test_the_words(tmp_path):
    layers = [
        Conv(4, F=(1, 3)),
        ReLU(),
        Conv(4, F=(3, 1), S=(2, 1), P=(0, 1, 0, 1), fit="pad"),
        Conv(6, dilation=2, groups=2, bias=False),
        Conv(6, F=1, groups=3),
        Conv(5, F=1, bias=False),
        Conv(4, F=2, P=(0, 1, 0, 1)),
        FC(3),
    ]
    check_words(EVERY_WAY, Net("9x8x3", layers), tmp_path)


@pytest.mark.parametrize("text", ["P = [0, 3]", 'P = "0x3"', "P = [0, 0, 3, 3]", 'P = "0x0x3x3"'])
def test_sizes_in_a_config_are_lists_or_texts(tmp_path, text):
    file = tmp_path / "net.toml"
    file.write_text(
        f'input = "8x9x2"\n[[layer]]\ntype = "conv"\nK = 4\nF = [1, 7]\n{text}\n[[layer]]\ntype = "fc"\nK = 2\n'
    )
    assert gpunet.load(file) == Net("8x9x2", [Conv(4, F=(1, 7)), FC(2)])


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"F": (3, 3)}, {"F": 3}),
        ({"S": (2, 2)}, {"S": 2}),
        ({"P": (1, 1, 1, 1)}, {"P": 1}),
        ({"P": (1, 1)}, {"P": 1}),
        ({"F": (1, 7), "P": (0, 0, 3, 3)}, {"F": (1, 7), "P": (0, 3)}),
        ({"F": (1, 7)}, {"F": (1, 7), "P": (0, 3)}),
        ({"dilation": 3}, {"dilation": 3, "P": 3}),
        ({"F": 2, "dilation": 2}, {"F": 2, "dilation": 2, "P": 1}),
    ],
)
def test_equal_sizes_are_one_number(said, kept):
    layer = Conv(4, **said)
    assert layer == Conv(4, **kept)
    assert {name: getattr(layer, name) for name in kept} == kept


@pytest.mark.parametrize("geometry", [g for g in FILTERS if g.groups == 1], ids=str)
def test_the_volume_and_the_flops_are_those_of_the_products(geometry):
    """FLOPs count the zeros of the padding too, as the matrix product multiplies them."""
    g = geometry
    layer = Conv(6, g.F, g.S, g.P, dilation=g.dilation, groups=2, fit=g.fit)
    net = Net(f"{g.H}x{g.W}x4", [layer, FC(2)])
    assert net.volumes["conv1"] == gpunet.Volume(g.H2, g.W2, 6)
    op = next(op for op in gpunet.plan(net, 3).program.ops if op.name == "conv_forward")
    assert op.flops == 2 * 3 * g.H2 * g.W2 * 6 * prod(pair(g.F)) * 2
    assert net.weights(net.nodes[0])[0].fan_in == prod(pair(g.F)) * 2


@pytest.mark.parametrize("mode", ["train", "infer"])
def test_filters_of_one_position_plan_no_matrix(mode):
    net = gpunet.load(
        "INPUT[8x8x4] -> CONV1-6 -> RELU -> CONV1-4(groups=2, bias=false) -> CONV1-4(S=2, fit=crop) -> FC-3"
    )
    plan = gpunet.plan(net, 5, device="cpu", mode=mode)
    made = {t.name for t in plan.tensors if t.name.endswith("columns")}
    assert {name.split(".")[0] for name in made} == {"conv3"}
    assert "conv2.b" not in plan.program.tensors
    backward = [op for op in plan.program.ops if op.layer == "conv2"]
    assert not any(op.name == "bias_backward" for op in backward)


def test_the_matrix_of_a_group_holds_its_maps_alone():
    net = Net("8x7x12", [Conv(6, groups=3), FC(2)])
    plan = gpunet.plan(net, 2, device="cpu")
    columns = next(t for t in plan.tensors if t.name == "conv1.columns")
    assert columns.tensor.shape == (2 * 8 * 7, 9 * 4)
    assert net.layer_parameters(net.nodes[0]) == 6 * 9 * 4 + 6


def test_alexnet_and_zfnet_have_the_parameters_of_the_papers():
    pool, classifier = MaxPool(3, S=2), [FC(4096), ReLU(), FC(4096), ReLU(), FC(1000)]
    grouped = [Conv(256, 5, groups=2), pool, Conv(384), Conv(384, groups=2), Conv(256, groups=2), pool]
    alexnet = Net("227x227x3", [Conv(96, 11, S=4, P=0), pool, *grouped, *classifier])
    assert alexnet.volumes["pool3"] == gpunet.Volume(6, 6, 256)
    assert alexnet.parameters == 60_965_224
    deep = [Conv(256, 5, S=2, P=0), pool, Conv(384), Conv(384), Conv(256), pool]
    zfnet = Net("224x224x3", [Conv(96, 7, S=2, P=1), pool, *deep, *classifier], fit="pad")
    assert zfnet.parameters == 62_357_608


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"groups": 4}, r"groups=4 does not divide K=6; use groups=3 or groups=6 or K=4 or K=8"),
        ({"groups": 0}, "groups must be an integer of at least 1; got 0"),
        ({"dilation": 0}, "dilation=0, as the notes count, is dilation=1 here"),
        ({"dilation": -1}, "dilation must be an integer of at least 1; got -1"),
        ({"dilation": 1.5}, "dilation must be an integer of at least 1; got 1.5"),
        ({"P": (1, 2, 3)}, r"P must be one number or rows and columns or top, bottom, left and right; got 3 numbers"),
        ({"P": (1, -2)}, "P must be an integer of at least 0; got -2"),
        ({"F": (1, 2, 3, 4)}, "F must be one number or rows and columns; got 4 numbers"),
        ({"F": (0, 3)}, "F must be an integer of at least 1; got 0"),
        ({"S": "2"}, "S must be an integer of at least 1; got '2'"),
        ({"F": 2}, r"P = \(F - 1\)/2 is not whole for F=2; say which P, like P=1, or P=0x1x0x1 to keep H and W"),
        ({"F": (2, 3)}, "is not whole for F=2x3; say which P, like P=1, or P=0x1x1x1 to keep"),
        ({"F": 4, "dilation": 3}, r"with dilation=3 P = \(F - 1\)\*dilation/2 is not whole for F=4; .* P=4x5x4x5"),
        ({"bias": 1}, "bias must be true or false; got 1"),
    ],
)
def test_numbers_that_do_not_work_are_refused(fields, told):
    with pytest.raises(ConfigError, match=told):
        Conv(6, **fields)


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (Conv(6, groups=3), r"conv1: groups=3 does not divide the D=4 maps; use groups=2"),
        (Conv(8, groups=8), r"groups=8 does not divide the D=4 maps; use groups=4"),
        (Conv(6, F=11, P=0), r"F=11 is larger than the input of 8 with P=0 on both sides; use F <= 8, P >= 2, or fit"),
        (
            Conv(6, F=(1, 9), P=(0, 0, 1, 0)),
            r"F=9 is larger than the input of 7 with 1 \+ 0 zeros around it; use F <=",
        ),
        (
            Conv(6, F=3, P=0, dilation=4),
            r"F=3 with dilation=4 sees 9 and is larger .*; use F <= 2, dilation <= 3, P >= 1, or",
        ),
        (
            Conv(6, S=2, P=(1, 0)),
            r"P=1x0 does not fit 8x7, as \(H - F .* = 4\.5: 9x7 or 7x7 would fit, or P=1x2x0x0, or S=1, or fit",
        ),
        (
            Conv(6, S=(3, 2), P=0),
            r"F=3, S=3x2, P=0 does not fit 8x7, as .* = 2\.66667: 9x7 or 6x7 would fit, or P=2, or S=1x2, or fit",
        ),
        (
            Conv(6, S=4, P=0, dilation=2),
            r"dilation=2 does not fit 8x7, as \(W - dilation\(F - 1\) - 1 \+ 2P\)/S \+ 1 = 1\.5: 9 or 5 would fit, or",
        ),
    ],
)
def test_what_does_not_fit_says_what_would(layer, told):
    with pytest.raises(ShapeError, match=told):
        Net("8x7x4", [layer, FC(2)])


# Random calls of each op, for the tests that go through all ops.


def _conv(draw: Draw) -> tuple[np.ndarray, ...]:
    N, H, W, maps = draw.volume()
    draw.geometry, F, H2, W2 = draw_filters(draw, H, W)
    groups = draw.size(1, 3) if draw.rng.random() < 0.5 else 1
    if winograd := draw.rng.random() < 0.2:
        P = tuple(draw.size(1, 3) for _ in range(4))
        draw.geometry, F, groups = Conv(1, 3, P=P).geometry, (3, 3), 1
        H2, W2 = H + P[0] + P[1] - 2, W + P[2] + P[3] - 2
    D, K = groups * maps, groups * draw.depth()
    shape = (K, *F, maps)
    rows = chunk_rows(N + 2, H2, W2, draw.size(1, (N + 2) * H2 * W2))
    pixels = (F, draw.geometry) == ((1, 1), Conv(1, F=1).geometry)
    columns = None if pixels else ((rows, F[0] * F[1] * maps), draw.dtype)
    if winograd:
        columns, draw.geometry = None, {**draw.geometry, "algorithm": "winograd2", "slices": draw.size(1, 3)}
    elif draw.rng.random() < 0.5:
        columns, name = None, "depthwise" if maps == 1 and draw.rng.random() < 0.8 else "implicit"
        how = {"algorithm": name, "tile": draw.size(1, 4), "slices": draw.size(1, 3)}
        draw.geometry = {**draw.geometry, **how}
    results = 3 * max(16 * D * K, prod(shape), N * H * W * D, N * H2 * W2 * K)
    draw.scratch = (columns, ((max(64, results),), draw.dtype))
    return draw.values(N, H, W, D), draw.values(*shape), draw.values(K), draw.values(N, H2, W2, K)


def draw_filters(draw: Draw, H: int, W: int) -> tuple[dict[str, int], tuple[int, int], int, int]:
    """Numbers and extents of filters that fit into H x W, and H2, W2; a tenth of them of one position at stride 1,
    which need no im2col matrix."""
    if draw.rng.random() < 0.1:
        return Conv(1, F=1).geometry, (1, 1), H, W
    while True:
        F, S = ((draw.size(1, 5), draw.size(1, 5)) for _ in range(2))
        P = tuple(draw.size(0, 4) for _ in range(4))
        dilation = (draw.size(1, 3), draw.size(1, 3)) if draw.rng.random() < 0.3 else 1
        layer = Conv(1, F, S, P, dilation, fit=draw.policy())
        try:
            volume = layer.output(Volume(H, W, 1))
        except ShapeError:
            continue
        return layer.geometry, F, volume.H, volume.W


def call_conv_forward(draw: Draw) -> Call:
    x, w, b, y = _conv(draw)
    bias = b if draw.rng.random() < 0.8 else None
    return Call("conv_forward", (x, w, bias), ((y.shape, draw.dtype),), draw.scratch, draw.geometry)


def call_conv_backward_weights(draw: Draw) -> Call:
    x, w, _, dy = _conv(draw)
    dw, accumulate = draw.sum(w.shape)
    return Call("conv_backward_weights", (x, dy), (dw,), draw.scratch, {**draw.geometry, **accumulate})


def call_conv_backward_input(draw: Draw) -> Call:
    x, w, _, dy = _conv(draw)
    return Call("conv_backward_input", (dy, w), ((x.shape, draw.dtype),), draw.scratch, draw.geometry)


MUTANTS = [
    *mutants_of(
        "conv.cu",
        "im2col",
        (
            "a row of windows is left out",
            "images * rows * W2 * F_rows * span;",
            "images * rows * W2 * (F_rows - 1) * span;",
        ),
        ("rows above the input", "inside = 0 <= h &&", "inside ="),
        ("rows below the input", "h < H && 0 <= offset", "0 <= offset"),
        ("one row below the input", "h < H && 0 <= offset", "h <= H && 0 <= offset"),
        ("columns left of the input", "0 <= offset && offset < W * D", "offset < W * D"),
        ("columns right of the input", "0 <= offset && offset < W * D", "0 <= offset"),
        ("the first row of the chunk is 0", "i = row0 + line", "i = line"),
        ("no padding", "h = i * S_rows - P_top + f_row", "h = i * S_rows + f_row"),
        ("no stride", "(j * S_columns - P_left) * D", "(j - P_left) * D"),
        ("one stride for both axes", "(j * S_columns - P_left) * D", "(j * S_rows - P_left) * D"),
        ("one padding for both axes", "(j * S_columns - P_left) * D", "(j * S_columns - P_top) * D"),
        ("rows that are not dilated", "P_top + f_row * dilation_rows;", "P_top + f_row;"),
        ("columns that are not dilated", "gap = dilation_columns * D - maps;", "gap = D - maps;"),
        ("one dilation for both axes", "gap = dilation_columns * D", "gap = dilation_rows * D"),
        ("every window in one piece", "right = gap == 0 ? along", "right = true ? along"),
        ("the first map of the group is 0", "    x += image0 * H * W * D + map0;", "    x += image0 * H * W * D;"),
        ("the first image of the chunk is 0", "    x += image0 * H * W * D + map0;\n", "    x += map0;\n"),
        ("32-bit first image", "    x += image0 * H * W * D + map0;", "    x += (int)(image0 * H * W * D) + map0;"),
        (
            "nothing where zeros belong",
            "store(columns + item, held);",
            "if (inside) store(columns + item, held);",
        ),
        ("packs across positions", "maps % WIDTH == 0 && aligned(x, columns)", "aligned(x, columns)"),
        ("packs at any address", "aligned(x, columns)", "aligned(columns)"),
        (
            "ints for long strides",
            "row0 + rows\n        )\n    );\n    const By by_span",
            "row0 + rows\n        ) * 0\n    );\n    const By by_span",
        ),
    ),
    *mutants_of(
        "conv.cu",
        "col2im",
        ("earlier chunks are forgotten", "        if (h < fresh) sum = load<COUNT>(dx + here);\n", ""),
        ("adds to what was never written", "if (h < fresh) sum", "if (h <= fresh) sum"),
        ("rows of the chunk start at 0", "h = first + at.row", "h = at.row"),
        ("a row of windows is left out", "row0, row0 + rows);", "row0, row0 + rows - 1);"),
        (
            "windows of other chunks",
            "covering<Index>(h + P_top, down_to, S_rows, row0, row0 + rows)",
            "covering<Index>(h + P_top, down_to, S_rows, 0, row0 + rows)",
        ),
        ("windows count from the image", "(at.n * rows + i - row0) * W2 + j", "(at.n * rows + i) * W2 + j"),
        ("the last window counts alone", "sum.value[lane] += gradients", "sum.value[lane] = gradients"),
        ("a window transposed", "f_row * F_columns + f_column;", "f_column * F_rows + f_row;"),
        ("one stride for both axes", "w + P_left - j * S_columns", "w + P_left - j * S_rows"),
        ("one padding for both axes", "w + P_left - j * S_columns", "w + P_top - j * S_columns"),
        ("windows that are not dilated", "down_to = (F_rows - 1) * dilation_rows + 1", "down_to = F_rows"),
        (
            "one dilation for both axes",
            "w + P_left - j * S_columns, dilation_columns)",
            "w + P_left - j * S_columns, dilation_rows)",
        ),
        (
            "values between the positions of a window",
            "number * dilation.number == distance ? number : -1",
            "number",
        ),
        ("dilation is always one", "if (dilation_rows.number == 1 && dilation_columns.number == 1) {", "if (true) {"),
        ("the first map of the group is 0", "dx += image0 * H * W * D + map0;", "dx += image0 * H * W * D;"),
        ("the first image of the chunk is 0", "    dx += image0 * H * W * D + map0;\n", "    dx += map0;\n"),
        ("32-bit first image", "dx += image0 * H * W * D + map0;", "dx += (int)(image0 * H * W * D) + map0;"),
        ("packs across positions", "maps % WIDTH == 0 && aligned(columns, dx)", "aligned(columns, dx)"),
        ("packs at any address", "aligned(columns, dx)", "aligned(columns)"),
        (
            "ints for long strides",
            "row0 + rows\n        )\n    );\n    const By by_W =",
            "row0 + rows\n        ) * 0\n    );\n    const By by_W =",
        ),
    ),
]
"""Changes of its kernels that the tests above, and those of all ops, must notice."""
