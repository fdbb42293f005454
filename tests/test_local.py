"""Convolution without sharing against float64 loops, numeric gradients and PyTorch; scratch of any size; bad input."""

import numpy as np
import pytest
import torch

from gpunet import FC, ConfigError, Conv, LocallyConnected, MaxPool, Net, ReLU, ShapeError, Volume, plan
from gpunet.program.tensor import Kind
from tests import oracle
from tests.geometries import COMMON, Geometry
from tests.layer_checks import check_net, check_words
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op
from tests.test_bias import counters

DTYPES = [np.float32, np.float64]
WIDE = Geometry(4, 5, F=3, S=1, P=4)  # outermost windows see padding alone
GEOMETRIES = [*COMMON, WIDE]


class Case:
    """Random arrays for a geometry, N, H, W, D and K all different, and scratch of so many rows."""

    def __init__(self, rng, geometry, dtype=np.float64, N=3, D=4, K=6, rows=100):
        H, W, H2, W2, F = geometry.H, geometry.W, geometry.H2, geometry.W2, geometry.F
        self.numbers, self.dtype = geometry.numbers, np.dtype(dtype)
        self.x = rng.standard_normal((N, H, W, D)).astype(dtype)
        self.w = rng.standard_normal((H2, W2, K, F, F, D)).astype(dtype)
        self.b = rng.standard_normal((H2, W2, K)).astype(dtype)
        self.dy = rng.standard_normal((N, H2, W2, K)).astype(dtype)
        self.columns = (rows, F * F * D), dtype

    def forward(self, device):
        return self._run(device, "local_forward", (self.x, self.w, self.b), (self.dy.shape, self.dtype))

    def backward_weights(self, device, images=slice(None), onto=None):
        """dw of some images, or its sum with `onto`."""
        output, more = ((self.w.shape, self.dtype), {}) if onto is None else (onto, {"accumulate": 1})
        return self._run(device, "local_backward_weights", (self.x[images], self.dy[images]), output, **more)

    def backward_input(self, device):
        return self._run(device, "local_backward_input", (self.dy, self.w), (self.x.shape, self.dtype))

    def _run(self, device, name, inputs, output, **more):
        columns = self.columns if device.name == "cpu" else None  # as a plan has it
        (result,) = run_op(device, name, inputs, [output], [columns], **self.numbers, **more)
        return result

    def check(self, device):
        """All three are what the loops give."""
        dx, dw = oracle.local_backward(self.x, self.w, self.dy, **self.numbers)
        oracle.assert_near(self.forward(device), oracle.local_forward(self.x, self.w, self.b, **self.numbers))
        oracle.assert_near(self.backward_weights(device), dw)
        found = self.backward_input(device)
        oracle.assert_near(found, dx)
        assert (found[dx == 0] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_forward_and_both_gradients_are_those_of_the_loops(device, rng, geometry, dtype):
    Case(rng, geometry, dtype, rows=int(rng.integers(2, 20))).check(device)


@pytest.mark.parametrize("rows", [2, 3, 5, 11, 22, 500])
@pytest.mark.parametrize(("N", "D", "K"), [(1, 1, 1), (5, 3, 2), (4, 5, 17), (35, 2, 33)])
def test_scratch_of_any_size_and_odd_depths_change_nothing(device, rng, rows, N, D, K):
    """Products of one tile and of several, in both directions."""
    Case(rng, Geometry(5, 4, F=3, S=2, P=1, fit="pad"), np.float32, N=N, D=D, K=K, rows=rows).check(device)


@pytest.mark.parametrize("rows", [2, 5, 200])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rounds_are_added_up_one_after_the_other(device, rng, rows, dtype):
    case = Case(rng, Geometry(7, 6, F=3, S=1, P=1), dtype, N=5, D=3, K=17, rows=rows)
    dw = case.backward_weights(device, slice(0, 3))
    whole = case.backward_weights(device, slice(3, 5), onto=dw)
    oracle.assert_near(whole, oracle.local_backward(case.x, case.w, case.dy, **case.numbers)[1])
    if rows == 200:  # a round is one product
        np.testing.assert_array_equal(whole, dw + case.backward_weights(device, slice(3, 5)))


def test_with_the_same_filters_everywhere_it_is_a_convolution(device, rng):
    geometry = Geometry(8, 7, F=3, S=2, P=1, fit="pad")
    case = Case(rng, geometry)
    case.w[...], case.b[...] = case.w[0, 0], case.b[0, 0]
    y = oracle.conv_forward(case.x, case.w[0, 0], case.b[0, 0], geometry.H2, geometry.W2, **geometry.conv_numbers)
    dx, dw = oracle.conv_backward(case.x, case.w[0, 0], case.dy, **geometry.conv_numbers)
    oracle.assert_near(case.forward(device), y)
    oracle.assert_near(case.backward_input(device), dx)
    oracle.assert_near(case.backward_weights(device).sum(axis=(0, 1)), dw)


@pytest.mark.parametrize("geometry", [g for g in GEOMETRIES if g.fit == "error"], ids=str)
def test_pytorch_agrees(device, rng, geometry):
    """unfold gives every window as a column; einsum multiplies each by filters of its own."""
    case = Case(rng, geometry, np.float32, D=5, K=7)
    x, w, b, dy = (torch.tensor(a) for a in (case.x, case.w, case.b, case.dy))
    x.requires_grad = w.requires_grad = True
    N, H2, W2, _ = dy.shape
    F = geometry.F
    columns = torch.nn.functional.unfold(x.permute(0, 3, 1, 2), F, padding=geometry.P, stride=geometry.S)
    y = torch.einsum("ndfgij,ijkfgd->nijk", columns.reshape(N, -1, F, F, H2, W2), w) + b
    y.backward(dy)
    oracle.assert_near(case.forward(device), y.detach().numpy(), 1e-4)
    oracle.assert_near(case.backward_weights(device), w.grad.numpy(), 1e-4)
    oracle.assert_near(case.backward_input(device), x.grad.numpy(), 1e-4)


def test_gradients_are_the_slopes_of_the_forward_pass(device, rng):
    case = Case(rng, Geometry(4, 5, F=3, S=2, P=1, fit="pad"), N=2, D=1, K=2)

    def loss(_):
        return float((case.forward(device) * case.dy).sum())

    oracle.assert_near(case.backward_weights(device), oracle.numeric_gradient(loss, case.w), 1e-7)
    oracle.assert_near(case.backward_input(device), oracle.numeric_gradient(loss, case.x), 1e-7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("N", [1, 5, 9])
def test_bias_gradients_are_sums_over_images_alone(device, rng, dtype, N):
    dy = rng.standard_normal((N, 3, 4, 7)).astype(dtype)
    partials = [((-(-N // 4), 84), dtype)]
    (db,) = run_op(device, "bias_backward", [dy, counters(84)], [((3, 4, 7), dtype)], partials, block_rows=4)
    oracle.assert_near(db, dy.astype(np.float64).sum(axis=0))
    (again,) = run_op(device, "bias_backward", [dy, counters(84)], [db], partials, block_rows=4, accumulate=1)
    np.testing.assert_array_equal(again, db + db)


def test_nan_reaches_exactly_the_outputs_that_see_it(device, rng):
    case = Case(rng, Geometry(6, 7, F=3, S=1, P=1), np.float32, N=2)
    case.x[1, 0, 3, 2] = np.nan
    expected = np.zeros(case.dy.shape, bool)
    expected[1, 0:2, 2:5] = True
    np.testing.assert_array_equal(np.isnan(case.forward(device)), expected)


@pytest.mark.parametrize(
    ("geometry", "unseen"),
    [
        (Geometry(8, 11, F=2, S=3, P=0), (slice(2, None, 3), slice(2, None, 3))),  # between windows
        (Geometry(8, 10, F=3, S=2, P=0, fit="crop"), (slice(7, None), slice(9, None))),  # behind the last
    ],
    ids=str,
)
def test_what_no_window_sees_gets_a_gradient_of_exactly_zero(device, rng, geometry, unseen):
    dx = Case(rng, geometry, np.float32).backward_input(device)
    assert (dx[:, unseen[0]] == 0).all()
    assert (dx[:, :, unseen[1]] == 0).all()


def test_a_stride_may_be_longer_than_an_int(device, rng):
    x, w, b = (rng.integers(-3, 4, shape).astype(np.float32) for shape in ((2, 5, 6, 4), (1, 1, 3, 2, 2, 4), (1, 1, 3)))
    dy = rng.integers(-3, 4, (2, 1, 1, 3)).astype(np.float32)
    numbers, columns = {"F": 2, "S": 2**32, "P": 0}, [((8, 16), np.float32)]
    (y,) = run_op(device, "local_forward", [x, w, b], [(dy.shape, np.float32)], columns, **numbers)
    np.testing.assert_array_equal(y[:, 0, 0], np.einsum("nijd,kijd->nk", x[:, :2, :2], w[0, 0]) + b[0, 0])
    (dx,) = run_op(device, "local_backward_input", [dy, w], [(x.shape, np.float32)], columns, **numbers)
    np.testing.assert_array_equal(dx[:, :2, :2], np.einsum("nk,kijd->nijd", dy[:, 0, 0], w[0, 0]))
    assert not dx[:, 2:].any() and not dx[:, :, 2:].any()


def test_nets_with_it_learn(device):
    layers = [LocallyConnected(4), ReLU(), MaxPool(2), Conv(5), LocallyConnected(3, F=2, S=2, P=1), FC(3)]
    check_net(Net("6x5x2", layers, fit="pad"), device)


def test_the_words(tmp_path):
    layers = [LocallyConnected(8, F=3, S=1, P=1), LocallyConnected(4, F=2, S=3, P=1, fit="crop"), FC(3)]
    check_words(
        "INPUT[9x8x3] -> LOCAL3-8(S=1, P=1) -> LOCAL2-4(S=3, P=1, fit=crop) -> FC-3", Net("9x8x3", layers), tmp_path
    )


def test_alexnets_first_layer_without_sharing_has_the_parameters_of_the_notes():
    """290,400 neurons of 11*11*3 weights and a bias each."""
    conv1 = LocallyConnected(96, F=11, S=4, P=0)
    volume = Volume(227, 227, 3)
    assert conv1.output(volume) == Volume(55, 55, 96)
    assert conv1.output(volume).values == 290_400
    assert Net(volume, [conv1]).parameters == 290_400 * 364 == 105_705_600


def test_scratch_does_not_grow_with_the_batch_and_a_gpu_needs_none():
    net = Net("16x16x8", [Conv(8), LocallyConnected(8), FC(3)])

    def scratch(device, batch):
        made = plan(net, batch, device=device, scratch_limit="64KiB")
        return [
            t.nbytes
            for t in made.tensors
            if t.kind is Kind.WORKSPACE and t.name.startswith("local1.") and "columns" in t.name
        ]

    assert scratch("cuda", 8) == []
    assert len(scratch("cpu", 8)) == 3
    assert max(scratch("cpu", 8)) == max(scratch("cpu", 512)) <= 64 * 2**10


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"K": 0}, "K must be an integer of at least 1"),
        ({"K": 4, "F": 0}, "F must be an integer of at least 1"),
        ({"K": 4, "F": 2}, r"P = \(F - 1\)/2 is not whole for F=2; say which P, like P=1"),
        ({"K": 4, "P": -1}, "P must be an integer of at least 0"),
        ({"K": 4, "S": True}, "S must be an integer of at least 1"),
        ({"K": 4, "fit": "stretch"}, "fit must be one of error, pad, crop"),
    ],
)
def test_numbers_that_do_not_work_are_refused(fields, told):
    with pytest.raises(ConfigError, match=told):
        LocallyConnected(**fields)


def test_a_window_that_does_not_fit_is_refused_and_told_what_does():
    with pytest.raises(
        ShapeError,
        match=r"local1: F=3, S=2, P=0 does not fit 10x10, as .* = 4\.5: 11 or 9 would fit, or .*S=1, or fit='pad'",
    ):
        Net("10x10x3", [LocallyConnected(4, S=2, P=0)])


# Random calls of each op, for the tests that go through all ops.


def _local(draw: Draw) -> tuple[np.ndarray, ...]:
    N, H, W, D = draw.volume()
    draw.geometry, H2, W2 = draw.window(H, W, most_padding=4)
    F, K = draw.geometry["F"], draw.depth()
    draw.scratch = (((draw.size(2, 2 * (N + K)), F * F * D), draw.dtype),)
    return (
        draw.values(N, H, W, D),
        draw.values(H2, W2, K, F, F, D),
        draw.values(H2, W2, K),
        draw.values(N, H2, W2, K),
    )


def call_local_forward(draw: Draw) -> Call:
    x, w, b, y = _local(draw)
    return Call("local_forward", (x, w, b), ((y.shape, draw.dtype),), draw.scratch, draw.geometry)


def call_local_backward_weights(draw: Draw) -> Call:
    x, w, _, dy = _local(draw)
    dw, accumulate = draw.sum(w.shape)
    return Call("local_backward_weights", (x, dy), (dw,), draw.scratch, {**draw.geometry, **accumulate})


def call_local_backward_input(draw: Draw) -> Call:
    x, w, _, dy = _local(draw)
    return Call("local_backward_input", (dy, w), ((x.shape, draw.dtype),), draw.scratch, draw.geometry)


MUTANTS = [
    *mutants_of(
        "local.cu",
        "local_forward",
        ("one tile too many", "item < products * down * across;", "item <= products * down * across;"),
        ("one tile too few", "item < products * down * across;", "item < products * down * across - 1;"),
        ("the tile of another row", "item % down * TILE,", "item / across % down * TILE,"),
        ("rows that are not there", "row_of(e) < rows && column_of() < columns", "column_of() < columns"),
        ("columns that are not there", "row_of(e) < rows && column_of() < columns", "row_of(e) < rows"),
        ("rows of another thread", "row + threadIdx.x / TILE + e * APART;", "row + threadIdx.x / TILE * EACH + e;"),
        ("rows above the input", "return 0 <= h && h < H", "return h < H"),
        ("rows below the input", "h < H && 0 <= along", "0 <= along"),
        ("columns left of the input", "0 <= along && along < W * D", "along < W * D"),
        ("columns right of the input", "0 <= along && along < W * D ?", "0 <= along ?"),
        ("no padding", "return position / W2 * S - P;", "return position / W2 * S;"),
        ("no stride", "(position % W2 * S - P) * D", "(position % W2 - P) * D"),
        ("no barrier before the hand is filled", "        __syncthreads();  // what was in hand has been used\n", ""),
        (
            "no barrier behind",
            "        });\n        __syncthreads();\n#pragma",
            "        });\n#pragma",
        ),
        ("a part transposed", "part[fast][slow] = value(slow, fast)", "part[slow][fast] = value(slow, fast)"),
        ("the first steps alone", "first < steps; first += TILE", "first < TILE; first += TILE"),
        ("the last step is left out", "step < TILE && first + step < steps; ++step", "step < TILE - 1; ++step"),
        ("adds what is no step", "step < TILE && first + step < steps; ++step", "step <= TILE; ++step"),
        ("no biases", "= sum[e] + b[value];", "= sum[e];"),
        ("filters of the first position", "w[(tile.place * K + k) * L + step]", "w[k * L + step]"),
        ("ints for huge tensors", "if (told.small()) outputs", "if (true) outputs"),
        ("ints for many weights", "largest(largest(volumes, weights),", "largest(volumes,"),
        ("ints for many images", "largest(largest(volumes, weights),", "largest(weights,"),
        (
            "ints for long strides",
            "largest(largest(volumes, weights), reach(H, W, D, S, P))",
            "largest(volumes, weights)",
        ),
    ),
    *mutants_of(
        "local.cu",
        "local_backward_weights",
        ("overwrites", "accumulate ? dw[value] + sum[e] : sum[e]", "sum[e]"),
        ("adds to what was never written", "accumulate ? dw[value] + sum[e] : sum[e]", "dw[value] + sum[e]"),
        ("gradients of the first position", "dy[(n * positions + tile.place) * K + k]", "dy[n * positions * K + k]"),
        (
            "windows of the first position",
            "[&](Index step, Index n) { return of.seen(x, n, top, left, step)",
            "[&](Index step, Index n) { return of.seen(x, n, -of.P, -of.P * of.D, step)",
        ),
        ("the first image alone", "sum, hand, tile, of.N,", "sum, hand, tile, Index(1),"),
        ("ints for huge tensors", "if (told.small()) weight_gradients", "if (true) weight_gradients"),
    ),
    *mutants_of(
        "local.cu",
        "local_backward_input",
        (
            "a window transposed",
            "(row + of.P - i * of.S) * of.F + column + of.P - j * of.S",
            "(column + of.P - j * of.S) * of.F + row + of.P - i * of.S",
        ),
        ("filters of the first position", "w + position * K * filter + in_window", "w + in_window"),
        ("gradients of the first position", "dy + position * K", "dy"),
        (
            "one filter alone",
            "sum, hand, tile, K, [&](Index n, Index k)",
            "sum, hand, tile, Index(1), [&](Index n, Index k)",
        ),
        (
            "rows go on in the next image",
            "column = tile.place - row * W;",
            "column = tile.place;",
        ),
        ("ints for huge tensors", "if (told.small()) input_gradients", "if (true) input_gradients"),
    ),
]
"""Changes of its kernels that the tests above, and those of all ops, must notice."""
