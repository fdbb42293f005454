"""Winograd's convolution: its matrices, the CPU's ops in pieces of any size, how it rounds, and when it is chosen."""

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest

import gpunet
from gpunet import FC, Conv, MaxPool, Model, Net, ReLU
from gpunet.devices import open_device
from gpunet.devices.algorithms import Pass, algorithm_for, candidates
from gpunet.devices.cpu import algorithms, winograd_scratch
from gpunet.devices.cpu.winograd_scratch import Sizes, pieces_of, values_wanted
from gpunet.devices.cpu.winograd_tiles import change, form_of
from gpunet.program.filters import ConvShape, Filters
from gpunet.program.winograd import WINOGRAD, winograd
from tests import oracle
from tests.ops import run_op

CPU = open_device("cpu")
FORMS = sorted(WINOGRAD.values())
PASSES: tuple[Pass, ...] = ("forward", "backward_input", "backward_weights")
PADDED = {"S_rows": 1, "S_columns": 1, "dilation_rows": 1, "dilation_columns": 1}


# ---- the matrices ----


@pytest.mark.parametrize("m", FORMS)
def test_the_matrices_give_the_sums_of_the_definition_exactly(m):
    """In fractions, on every pair of a unit input and a unit weight: so for all inputs and weights."""
    form = winograd(m)
    B_T, A_T = ([[Fraction(value) for value in row] for row in matrix] for matrix in (form.B_T, form.A_T))
    G = [[Fraction(value).limit_denominator(10**4) for value in row] for row in form.G]
    for i in range(form.n):
        for r in range(3):
            products = [g[r] * b[i] for g, b in zip(G, B_T, strict=True)]
            outputs = [sum(a * p for a, p in zip(row, products, strict=True)) for row in A_T]
            assert outputs == [Fraction(i - r == j) for j in range(m)]


@pytest.mark.parametrize("m", FORMS)
def test_what_goes_over_the_values_is_exact_in_float32(m):
    form = winograd(m)
    for matrix in (form.B_T, form.A_T):
        np.testing.assert_array_equal(np.array(matrix, np.float32), np.array(matrix))


@pytest.mark.parametrize("m", FORMS)
@pytest.mark.parametrize("width", [16, 50, 192])
def test_planes_change_to_the_same_in_scratch_of_any_size(rng, m, width):
    form = form_of(m, "float64")
    planes = rng.standard_normal((form.n, form.n, 12, 16))
    expected = np.einsum("ar,bc,rctv->abtv", form.A_T, form.A_T, planes)
    change(form.A_T, planes, np.empty(form.n * form.m * width))
    np.testing.assert_allclose(planes[:m, :m], expected, rtol=1e-12, atol=1e-12)


def test_planes_with_room_for_all_of_them_change_in_two_products(rng, monkeypatch):
    calls, product = [], np.matmul
    monkeypatch.setattr(np, "matmul", lambda *given, **more: calls.append(1) or product(*given, **more))
    form = form_of(4, "float32")
    change(form.B_T, np.zeros((6, 6, 1000, 16), np.float32), np.empty(36 * 16000, np.float32))
    assert len(calls) == 2


# ---- the ops ----


class Case:
    """Random arrays of a convolution by 3 x 3 filters, and its ops by an algorithm in so many values of scratch."""

    def __init__(self, rng, N, H, W, D, K, P=(1, 1), dtype=np.float64):
        H2, W2 = H + P[0] + 1 - 2, W + P[1] + 2 - 2  # padded by P above and left, by 1 below and 2 on the right
        self.x, self.w, self.b, self.dy = (
            rng.standard_normal(shape).astype(dtype) for shape in ((N, H, W, D), (K, 3, 3, D), (K,), (N, H2, W2, K))
        )
        self.numbers = {**PADDED, "P_top": P[0], "P_left": P[1]}
        self.shape = ConvShape.of(self.x.shape, self.w.shape, self.dy.shape, self.numbers)
        self.dtype = np.dtype(dtype)

    def expected(self, pass_):
        if pass_ == "forward":
            return oracle.conv_forward(self.x, self.w, self.b, self.shape.H2, self.shape.W2, **self.numbers)
        dx, dw = oracle.conv_backward(self.x, self.w, self.dy, **self.numbers)
        return dx if pass_ == "backward_input" else dw

    def run(self, pass_, algorithm, values, onto=None, images=slice(None)):
        x, dy = self.x[images], self.dy[images]
        inputs, output = {
            "forward": ((x, self.w, self.b), dy),
            "backward_input": ((dy, self.w), x),
            "backward_weights": ((x, dy), self.w),
        }[pass_]
        columns, workspace = None, ((values,), self.dtype)
        if algorithm == "im2col":
            columns, workspace = ((len(x) * self.shape.H2 * self.shape.W2, self.shape.length), self.dtype), None
        more = {} if onto is None else {"accumulate": 1}
        target = [(output.shape, self.dtype) if onto is None else onto]
        scratch = [columns, workspace]
        numbers = {**self.numbers, "algorithm": algorithm, **more}
        (found,) = run_op(CPU, f"conv_{pass_}", inputs, target, scratch, **numbers)
        return found

    def sizes(self, pass_, m):
        return winograd_scratch.sizes_of(pass_, self.shape, m)


def least_values(sizes, workers=1):
    """The least scratch in which so many workers have room."""
    low, high = 0, values_wanted(sizes, 10**9)
    while low < high:
        middle = (low + high) // 2
        pieces = pieces_of(sizes, middle, workers)
        low, high = (low, middle) if pieces and pieces.workers == workers else (middle + 1, high)
    return low


@pytest.mark.parametrize(
    ("H", "W", "P"), [(8, 8, (1, 1)), (7, 10, (0, 0)), (5, 3, (2, 1)), (1, 9, (1, 0)), (2, 2, (4, 3))], ids=str
)
@pytest.mark.parametrize("algorithm", WINOGRAD)
def test_all_three_ops_are_those_of_the_loops_in_any_scratch(rng, monkeypatch, algorithm, H, W, P):
    case = Case(rng, 3, H, W, 3, 18, P)
    expected = {pass_: case.expected(pass_) for pass_ in PASSES}
    for few in (0, 10**9):  # the filters are made again for every piece of the tiles, or stay
        monkeypatch.setattr(winograd_scratch, "FEW", few)
        for pass_ in PASSES:
            sizes = case.sizes(pass_, WINOGRAD[algorithm])
            least, most = least_values(sizes), values_wanted(sizes, 10**9)
            for values in (least, (2 * least + most) // 3, most):
                oracle.assert_near(case.run(pass_, algorithm, values), expected[pass_], 1e-13)


@pytest.mark.parametrize("algorithm", WINOGRAD)
def test_gradients_of_filters_are_added_to_what_is_there(rng, algorithm):
    case = Case(rng, 4, 6, 9, 3, 17)
    sizes = case.sizes("backward_weights", WINOGRAD[algorithm])
    for values in (least_values(sizes), values_wanted(sizes, 10**9)):
        first = case.run("backward_weights", algorithm, values, images=slice(0, 3))
        whole = case.run("backward_weights", algorithm, values, onto=first, images=slice(3, 4))
        oracle.assert_near(whole, case.expected("backward_weights"), 1e-13)


@pytest.mark.parametrize("values", [1, 2000])
def test_a_workspace_that_is_too_small_changes_the_way_and_not_the_sums(rng, values):
    """As the scratch of another device may be: the CPU is the specification of its op too."""
    case = Case(rng, 2, 9, 8, 12, 10)
    for pass_ in PASSES:
        oracle.assert_near(case.run(pass_, "winograd4", values), case.expected(pass_), 1e-13)


@pytest.mark.parametrize("pass_", PASSES)
def test_twice_the_same_bits(rng, pass_):
    case = Case(rng, 6, 12, 9, 40, 48, dtype=np.float32)
    values = values_wanted(case.sizes(pass_, 4), 10**6)
    np.testing.assert_array_equal(case.run(pass_, "winograd4", values), case.run(pass_, "winograd4", values))


def test_nan_reaches_the_outputs_of_every_tile_that_sees_it_and_no_other(rng):
    case = Case(rng, 2, 12, 8, 3, 4, dtype=np.float32)
    case.x[1, 5, 4, 2] = np.nan
    y = case.run("forward", "winograd4", 10**6)
    expected = np.zeros(y.shape, bool)
    expected[1, 4:8, :8] = True  # rows 3 to 8 make the outputs 4 to 7; columns -1 to 4 and 3 to 8 the outputs 0 to 7
    np.testing.assert_array_equal(np.isnan(y), expected)


# ---- rounding ----

BOUNDS = {"winograd2": 1.5e-6, "winograd4": 6e-6}
"""Largest error relative to the largest value, as docs/layers.md gives it."""


@pytest.mark.parametrize("algorithm", WINOGRAD)
@pytest.mark.parametrize(("D", "K", "side"), [(64, 32, 24), (512, 32, 8)])
def test_float32_rounds_within_the_documented_bounds(rng, algorithm, D, K, side):
    case = Case(rng, 2, side, side, D, K, dtype=np.float32)
    exact = Case(rng, 2, side, side, D, K)
    exact.x, exact.w, exact.b, exact.dy = (a.astype(np.float64) for a in (case.x, case.w, case.b, case.dy))
    for pass_ in PASSES:
        values = values_wanted(case.sizes(pass_, WINOGRAD[algorithm]), 10**7)
        expected = exact.run(pass_, "im2col", 0)
        oracle.assert_near(case.run(pass_, algorithm, values).astype(np.float64), expected, BOUNDS[algorithm])


# ---- pieces ----


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize(("D", "K"), [(3, 7), (64, 64), (512, 512)])
@pytest.mark.parametrize("workers", [1, 3, 16])
def test_pieces_fit_their_scratch_and_more_of_it_is_never_worse(D, K, workers, gradient):
    sizes = Sizes(5, 7, 6, D, K, 36, gradient)
    before = 0
    for values in (10**exponent for exponent in range(3, 9)):
        pieces = pieces_of(sizes, values, workers)
        if pieces is None:
            assert not before
            continue
        assert pieces.values <= values and 1 <= pieces.workers <= workers and pieces.tiles % sizes.across == 0
        assert pieces.tiles * pieces.workers >= before
        before = pieces.tiles * pieces.workers


# ---- the choice ----

FULL = {"dtype": "float32", "math": "exact", "device": "cpu", "scratch_limit_bytes": 8 * 2**20}
THREE = Filters(3, 3, 1, 1, 1, 1, 1, 1)


def shape(N=16, side=28, D=128, K=128, filters=THREE, groups=1):
    return ConvShape(N, side, side, D, side, side, K, groups, filters)


@pytest.mark.parametrize("pass_", PASSES)
@pytest.mark.parametrize(("side", "D", "N"), [(224, 64, 2), (56, 256, 4), (14, 512, 4), (32, 64, 64), (4, 512, 64)])
def test_the_convolutions_of_vgg_nets_are_winograds(pass_, side, D, N):
    found = algorithm_for(pass_, shape(N, side, D, D), **FULL)
    assert found.name == "winograd4" and not found.needs_columns


@pytest.mark.parametrize("pass_", PASSES)
@pytest.mark.parametrize(
    ("other", "how"),
    [
        ({}, {"math": "direct"}),
        ({}, {"dtype": "float64"}),
        ({"filters": Filters(3, 3, 2, 2, 1, 1, 1, 1)}, {}),
        ({"filters": Filters(3, 3, 1, 1, 2, 2, 2, 2)}, {}),
        ({"filters": Filters(3, 3, 1, 1, 1, 2, 1, 2)}, {}),
        ({"filters": Filters(5, 5, 1, 1, 2, 2, 1, 1)}, {}),
        ({"filters": Filters(1, 3, 1, 1, 0, 1, 1, 1)}, {}),
        ({"groups": 2}, {}),
    ],
    ids=str,
)
def test_there_is_no_winograd_for_what_it_does_not_suit(pass_, other, how):
    found = candidates(pass_, shape(**other), **{**FULL, **how})
    assert [one.name for one in found] == ["im2col"]


def test_few_maps_few_tiles_and_little_scratch_are_left_to_the_matrix_of_windows():
    assert algorithm_for("forward", shape(D=3, K=64), **FULL).name == "im2col"
    assert algorithm_for("forward", shape(N=1, side=4, D=64, K=64), **FULL).name == "im2col"
    assert algorithm_for("forward", shape(D=8, K=8), **{**FULL, "scratch_limit_bytes": 1000}).name == "im2col"


@pytest.mark.parametrize("pass_", PASSES)
@pytest.mark.parametrize("limit", [2**20, 2**23])
def test_scratch_is_within_the_limit_and_where_filters_are_many_their_bytes_beside(pass_, limit):
    for D, K, side in ((64, 64, 112), (512, 512, 14), (16, 16, 32), (64, 128, 56), (128, 128, 56)):
        one = shape(64, side, D, K)
        sums_of_two = 4 * 2 * 45 * D * K if pass_ == "backward_weights" and D * K > 64 * 64 else 0
        beside = sums_of_two if D * K <= winograd_scratch.FEW else 4 * K * one.length
        for found in candidates(pass_, one, **{**FULL, "scratch_limit_bytes": limit}):
            assert found.workspace_bytes <= limit + beside


# ---- in a net ----

NET = Net("16x16x16", [Conv(32), ReLU(), Conv(32), ReLU(), MaxPool(), Conv(48), ReLU(), FC(5)])
BATCH = 48


def chosen(model):
    return {op.attributes["algorithm"] for op in model.plan.program.ops if "algorithm" in op.attributes}


def test_a_net_learns_with_it_as_without_it(rng):
    images, labels = rng.standard_normal((BATCH, 16, 16, 16)), rng.integers(0, 5, BATCH)
    with Model(NET, BATCH, "cpu", seed=1) as fast, Model(NET, BATCH, "cpu", seed=1, dtype="float64") as exact:
        assert "winograd4" in chosen(fast) and chosen(exact) == {"im2col"}
        for name in exact.parameters:
            exact.parameters[name] = fast.parameters[name]
        found, expected = fast.gradients(images, labels), exact.gradients(images, labels)
        for name, gradient in expected.items():
            oracle.assert_near(found[name].astype(np.float64), gradient, 2e-5)


def test_poison_in_all_that_is_free_changes_no_bit(rng):
    images, labels = rng.standard_normal((BATCH, 16, 16, 16)), rng.integers(0, 5, BATCH)
    found = []
    for debug in (False, True):
        with Model(NET, BATCH, "cpu", seed=1, debug=debug) as model:
            found.append([model.step(images, labels) for _ in range(2)])
    assert found[0] == found[1] and np.isfinite(found[0]).all()


def test_nothing_is_allocated_that_grows_with_the_batch(rng):
    peaks = []
    for N in (64, 512):
        case = Case(rng, N, 8, 8, 24, 24, dtype=np.float32)
        view = {name: getattr(case, name) for name in ("x", "w", "b", "dy")}
        y, scratch = np.empty_like(case.dy), np.empty(10**6, np.float32)
        call = (view["x"], view["w"], view["b"], y, None, scratch)
        CPU.ops["conv_forward"](*call, **case.numbers, algorithm="winograd4")
        tracemalloc.start()
        CPU.ops["conv_forward"](*call, **case.numbers, algorithm="winograd4")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < case.x.nbytes / 5


@pytest.mark.parametrize(("net", "batch"), [("vgg_cifar", 64), ("vgg16", 4), ("resnet20", 64)])
def test_its_scratch_does_not_raise_the_peak_of_a_net(monkeypatch, net, batch):
    found = gpunet.plan(gpunet.load(net), batch, device="cpu").arena_bytes
    monkeypatch.setattr(algorithms, "suits", lambda shape: False)
    assert found <= gpunet.plan(gpunet.load(net), batch, device="cpu").arena_bytes
