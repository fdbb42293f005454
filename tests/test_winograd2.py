"""Winograd's convolution on CUDA: its kernels against loops in float64, the order of its sums, and when it is chosen.

Random calls of it are among those of tests/test_ops.py and tests/test_kernels.py.
"""

from dataclasses import replace

import numpy as np
import pytest

import gpunet
from gpunet import FC, Conv, MaxPool, Model, Net, ReLU
from gpunet.compile.fuse import FUSIONS
from gpunet.devices.algorithms import Pass, candidates
from gpunet.devices.cuda import algorithms, winograd_tiles
from gpunet.program.filters import ConvShape, Filters
from tests import oracle
from tests.conftest import make_device
from tests.mutations import mutants_of
from tests.nets import vgg16
from tests.ops import run_op

PASSES: tuple[Pass, ...] = ("forward", "backward_input", "backward_weights")


class Case:
    """Random arrays of a convolution by 3 x 3 filters, padded by P above and on the left, by 1 below and right."""

    def __init__(self, rng, N, H, W, D, K, P=(1, 1), dtype=np.float32):
        H2, W2 = H + P[0] - 1, W + P[1] - 1
        shapes = (N, H, W, D), (K, 3, 3, D), (K,), (N, H2, W2, K)
        self.x, self.w, self.b, self.dy = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
        self.numbers = {
            "S_rows": 1,
            "S_columns": 1,
            "P_top": P[0],
            "P_left": P[1],
            "dilation_rows": 1,
            "dilation_columns": 1,
        }
        self.values = winograd_tiles.POINTS * K * D
        self.dtype = np.dtype(dtype)

    def run(self, device, pass_, *, slices=1, bias=True, onto=None, behind=None, images=slice(None)):
        """What a pass gives of some images; `onto`: what dw is added to."""
        x, dy, b = self.x[images], self.dy[images], self.b if bias else None
        inputs, output = {
            "forward": ((x, self.w, b), dy),
            "backward_input": ((dy, self.w), x),
            "backward_weights": ((x, dy), self.w),
        }[pass_]
        more = {"slices": slices} if onto is None else {"slices": slices, "accumulate": 1}
        outputs = [(output.shape, self.dtype) if onto is None else onto]
        scratch = [None, ((slices * self.values,), self.dtype)]
        numbers = {**self.numbers, "algorithm": "winograd2", **more}
        return run_op(device, f"conv_{pass_}", inputs, outputs, scratch, behind=behind, **numbers)[0]

    def expected(self):
        """The same by loops in float64."""
        (_, H2, W2, _), numbers = self.dy.shape, self.numbers
        dx, dw = oracle.conv_backward(self.x, self.w, self.dy, **numbers)
        y = oracle.conv_forward(self.x, self.w, self.b, H2, W2, **numbers)
        return {"forward": y, "backward_input": dx, "backward_weights": dw}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "N, H, W, D, K, P",
    [(2, 7, 5, 5, 8, (1, 1)), (1, 8, 8, 36, 33, (0, 0)), (3, 6, 9, 9, 40, (2, 1)), (1, 5, 5, 4, 4, (3, 4))],
)
def test_all_passes_give_what_the_loops_give(cuda_device, rng, N, H, W, D, K, P, dtype):
    """Parts that are full and not, several blocks both ways, odd sizes, padding of no, one and more rows, no packs."""
    case = Case(rng, N, H, W, D, K, P, dtype)
    tolerance = 1.5e-6 if dtype is np.float32 else 1e-14
    for pass_, expected in case.expected().items():
        oracle.assert_near(case.run(cuda_device, pass_), expected, tolerance)


def test_pytorch_agrees(cuda_device, rng):
    import torch

    case = Case(rng, 2, 6, 7, 12, 8)
    x, w, b = (torch.from_numpy(a) for a in (case.x.transpose(0, 3, 1, 2), case.w.transpose(0, 3, 1, 2), case.b))
    expected = torch.nn.functional.conv2d(x, w, b, padding=1).numpy().transpose(0, 2, 3, 1)
    oracle.assert_near(case.run(cuda_device, "forward"), expected, 3e-6)


@pytest.mark.parametrize("pass_", PASSES)
def test_every_order_of_threads_gives_the_same_bits(ordered_device, rng, pass_):
    case = Case(rng, 1, 6, 5, 12, 8)
    np.testing.assert_array_equal(case.run(ordered_device, pass_), case.run(make_device("emulated"), pass_))


def test_no_bit_depends_on_the_other_images_of_the_batch(cuda_device, rng):
    """Which block makes a tile, and which place of it, follows from how many tiles there are before."""
    case = Case(rng, 5, 6, 7, 8, 12)
    for pass_ in ("forward", "backward_input"):
        whole, last = case.run(cuda_device, pass_), case.run(cuda_device, pass_, images=slice(4, 5))
        np.testing.assert_array_equal(whole[4:], last)


def test_without_packs_the_same_bits_come(cuda_device, rng):
    case = Case(rng, 2, 6, 7, 8, 12)
    for pass_ in PASSES:
        moved = case.run(cuda_device, pass_, behind={0: 1, 1: 1})
        np.testing.assert_array_equal(moved, case.run(cuda_device, pass_))


@pytest.mark.parametrize("slices", [2, 5, 40])
def test_slices_of_tiles_are_added_up_in_order_and_to_what_there_was(cuda_device, rng, slices):
    """More slices than tiles, too: those behind the last are zeros."""
    case = Case(rng, 3, 6, 5, 5, 6)
    found = case.run(cuda_device, "backward_weights", slices=slices)
    oracle.assert_near(found, case.expected()["backward_weights"], 1.5e-6)
    both = case.run(cuda_device, "backward_weights", slices=slices, onto=case.w.copy())
    np.testing.assert_array_equal(both, case.w + found)


def test_no_bias_is_a_bias_of_zeros(cuda_device, rng):
    case = Case(rng, 1, 4, 5, 3, 4)
    without = case.run(cuda_device, "forward", bias=False)
    case.b[:] = 0
    np.testing.assert_array_equal(without, case.run(cuda_device, "forward"))


def test_nan_reaches_exactly_the_outputs_that_see_it(cuda_device, rng):
    """The values at points of which an output is made are made of what it sees alone."""
    case = Case(rng, 2, 8, 9, 3, 4)
    case.x[1, 3, 4, 2] = np.nan
    expected = np.zeros(case.dy.shape, bool)
    expected[1, 2:5, 3:6] = True
    np.testing.assert_array_equal(np.isnan(case.run(cuda_device, "forward")), expected)


# ---- what is chosen ----

SHAPE = ConvShape(64, 56, 56, 128, 56, 56, 256, 1, Filters(3, 3, 1, 1, 1, 1, 1, 1))
EXACT = {"dtype": "float32", "math": "exact", "device": "cuda", "capability": (8, 6), "scratch_limit_bytes": 2**26}


@pytest.mark.parametrize("capability", [(5, 2), (7, 5), (9, 0)])
@pytest.mark.parametrize("pass_", PASSES)
def test_the_convolutions_of_vgg_nets_are_winograds(pass_, capability):
    for side, D, K in ((224, 64, 64), (112, 64, 128), (56, 256, 256), (14, 512, 512)):
        shape = ConvShape(64, side, side, D, side, side, K, 1, SHAPE.filters)
        best = candidates(pass_, shape, **{**EXACT, "capability": capability})[0]
        assert best.name == "winograd2" and best.workspace_bytes <= algorithms.MOST_SLICES_BYTES
        assert best.workspace_bytes == best.slices * 16 * K * D * 4 and not best.needs_columns


@pytest.mark.parametrize("pass_", PASSES)
@pytest.mark.parametrize(
    "shape, how",
    [
        (SHAPE, {"math": "direct"}),
        (SHAPE, {"dtype": "float64"}),
        (SHAPE, {"scratch_limit_bytes": 16 * 128 * 256 * 4 - 1}),
        (replace(SHAPE, filters=replace(SHAPE.filters, S_rows=2)), {}),
        (replace(SHAPE, filters=replace(SHAPE.filters, dilation_rows=2)), {}),
        (replace(SHAPE, filters=replace(SHAPE.filters, dilation_columns=2)), {}),
        (replace(SHAPE, filters=Filters(5, 3, 1, 1, 2, 1, 1, 1)), {}),
        (replace(SHAPE, groups=2), {}),
    ],
    ids=str,
)
def test_it_is_no_candidate_where_it_may_not_be_or_does_not_suit(pass_, shape, how):
    assert "winograd2" not in {one.name for one in candidates(pass_, shape, **{**EXACT, **how})}


def test_few_tiles_are_left_to_the_product_of_one_launch():
    for shape in (ConvShape(4, 8, 8, 8, 8, 8, 8, 1, SHAPE.filters), replace(SHAPE, D=3, N=1)):
        found = [one.name for one in candidates("backward_weights", shape, **EXACT)]
        assert found[0] == "implicit" and "winograd2" in found


@pytest.mark.parametrize("batch", [1, 64])
def test_its_scratch_in_vgg16_is_at_most_16_mib_at_any_batch(batch):
    ops = gpunet.plan(vgg16(), batch, device="cuda").program.ops
    scratch = [t.nbytes for op in ops if op.attributes.get("algorithm") == "winograd2" for t in op.scratch if t]
    assert scratch and max(scratch) <= 16 * 2**20


# ---- in a net ----


def test_a_net_learns_with_it_as_without_it(monkeypatch, rng):
    net = Net("8x7x4", [Conv(8), ReLU(), Conv(6, P=0), ReLU(), FC(3)])
    images, labels = rng.standard_normal((4, 8, 7, 4)), rng.integers(0, 3, 4)
    monkeypatch.setattr(algorithms, "LAUNCH", -1e9)
    with (
        Model(net, 4, make_device("emulated"), seed=1, debug=True) as fast,
        Model(net, 4, "cpu", dtype="float64") as exact,
    ):
        ops = [op for op in fast.plan.program.ops if op.name.startswith("conv_")]
        assert {op.attributes["algorithm"] for op in ops} == {"winograd2"}
        assert fast.arena_bytes == fast.plan.arena_bytes
        for name in exact.parameters:
            exact.parameters[name] = fast.parameters[name]
        found, expected = fast.gradients(images, labels), exact.gradients(images, labels)
        for name, gradient in expected.items():
            oracle.assert_near(found[name].astype(np.float64), gradient, 1e-5)


def test_relu_and_pools_in_the_same_kernel_change_no_bit(monkeypatch, rng):
    """In training and in inference, which wants no switches; the gradient of the input made from that behind a pool."""
    net = Net(
        "10x9x3", [Conv(8), ReLU(), Conv(8), ReLU(), MaxPool(2, fit="crop"), Conv(6), MaxPool(2, fit="crop"), FC(3)]
    )
    images, labels = rng.standard_normal((4, 10, 9, 3)), rng.integers(0, 3, 4)
    monkeypatch.setattr(algorithms, "LAUNCH", -1e9)
    found, names = [], []
    for without in ((), (*FUSIONS, "conv-slope")):
        with Model(net, 4, make_device("emulated"), seed=1, debug=True, without=without) as model:
            losses = [model.step(images, labels) for _ in range(2)]
            found.append(
                [losses, *(value.tobytes() for value in model.parameters.values()), model.forward(images).tobytes()]
            )
            names.append([op.name for op in model.plan.program.ops])
        with Model(net, 4, make_device("emulated"), seed=1, mode="infer", debug=True, without=without) as model:
            found[-1].append(model.forward(images).tobytes())
    assert found[0] == found[1]
    assert names[0].count("conv_pool_forward") == names[0].count("conv_pool_backward_weights") == 2
    gradients = [name for name in names[0] if name in ("conv_pool_backward_input", "conv_pool_relu_backward_input")]
    assert len(gradients) == 2 and "conv_relu_forward" in names[0]
    assert not any(name.startswith(("conv_pool", "conv_relu")) for name in names[1])


def test_the_volumes_before_the_pools_of_vgg16_and_their_gradients_never_exist():
    plan = gpunet.plan(vgg16(), 8, device="cuda")
    names, algorithms_used = {t.name for t in plan.tensors}, set()
    for op in plan.program.ops:
        if op.name.startswith("conv_pool"):
            algorithms_used.add(op.attributes.get("algorithm", "winograd2"))
    assert algorithms_used == {"winograd2"}
    assert not names & {
        f"{name}{number}.{of}" for name, of in (("conv", "y"), ("relu", "dx")) for number in (2, 4, 7, 10, 13)
    }
    assert not {"pool1.max", "pool1.dmax"} & names and {"pool1.y", "pool1.switches"} <= names


MUTANTS = [
    *mutants_of(
        "winograd.cuh",
        "winograd",
        ("inputs that are not subtracted", "first = c - a, last", "first = c, last"),
        ("weights that are not halved", "ends = real(0.5) * (a + c)", "ends = a + c"),
        ("the sign of the second output", "b = b - c + d;", "b = b + c + d;"),
        ("a gradient of outputs is left out", "d = b, b = a + d, c = a - d;", "d = b, b = a, c = a - d;"),
        ("the third weight lacks a point", "c = sum + d;", "c = sum;"),
        ("rows alone are changed", "row < ROWS; ++row) one", "row < 0; ++row) one"),
        ("rows go on in the next image", "row(number / across % down)", "row(number / across)"),
        ("the tiles of the next row", "if (++row == down) row = 0, ++image;", ""),
        ("rows outside are seen", "if ((unsigned int)(top + at) < (unsigned int)H) seen", "seen"),
        ("columns outside are seen", "if ((unsigned int)(left + at) < (unsigned int)W) columns", "columns"),
        ("runs that are not turned", "(own ^ turns % 16)", "own"),
        ("the stage is not switched", "shared.stages[step & 1]", "shared.stages[0]"),
        (
            "no barrier in front of a step",
            "        __syncthreads();\n        const bool more",
            "        const bool more",
        ),
        ("a step is left out", "const bool more = step + 1 < steps;", "const bool more = step + 2 < steps;"),
    ),
    *mutants_of(
        "winograd2.cu",
        "filters_to_points",
        ("filters that are not turned", "turned ? 8 - tap : tap", "tap"),
        ("a filter too many", "if (k < K && d < D) {", "if (d < D) {"),
        ("filters behind the last are written", "k0 + row < K && d0", "d0"),
        ("maps behind the last are written", "k0 + row < K && d0 + column < D", "k0 + row < K"),
        (
            "no barrier behind a point",
            "            __syncthreads();\n            shared[filter]",
            "            shared[filter]",
        ),
    ),
    *mutants_of(
        "winograd_convolve.cuh",
        "convolve",
        ("maps behind the last", "step * STEP + map() < p.D", "true"),
        ("tiles behind the last are read", "place() < PART && number < p.tiles_of_all()", "place() < PART"),
        ("filters of other maps", "step * STEP + at() < p.D ? source.seen : 0", "source.seen"),
        ("tiles behind the last are written", "if (number >= p.tiles_of_all()) continue;", ""),
        ("filters behind the last", "column < p.W2 && k < p.K)", "column < p.W2)"),
        ("columns outside are written", "row < p.H2 && column < p.W2", "row < p.H2"),
        ("no bias", "tile[i][j] + bias", "tile[i][j]"),
        ("ReLU always", "(relu && value <= real(0)) ||", "value <= real(0) ||"),
        ("no ReLU", "(relu && value <= real(0)) ||", ""),
        ("results over the last step", "        __syncthreads();  // what stood there has been read\n", ""),
        (
            "no barrier in front of the outputs",
            "sum, first, shared);\n        __syncthreads();",
            "sum, first, shared);",
        ),
        ("the first results again", "part.down * PART + first + row;", "part.down * PART + row;"),
    ),
    *mutants_of(
        "winograd_sums.cuh",
        "sum_tiles",
        ("maps behind the last", "place() < STEP && map0 + map() < maps ?", "place() < STEP ?"),
        ("tiles of the next slice", "held.seen = step < source.seen ? inside", "held.seen = source.seen > 0 ? inside"),
        ("gradients are padded", "2 * at.row - (SIDE == 2 ? 0 : t.P_top)", "2 * at.row - t.P_top"),
        ("the first slice again", "first = part.rest * each", "first = 0"),
        ("all slices in one place", "(long long)(part.rest * POINTS + own_point())", "(long long)own_point()"),
    ),
    *mutants_of(
        "winograd2_weights.cu",
        "sums_to_weights",
        ("a slice is left out", "slice = 1; slice < slices", "slice = 2; slice < slices"),
        ("what was there is forgotten", "accumulate ? weight +", "accumulate ?"),
        ("the taps of the first filter", "((long long)((int)item / maps) * 9 + tap) * D", "tap * D"),
    ),
]
