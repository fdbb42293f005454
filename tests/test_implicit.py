"""Convolution without im2col on CUDA: kernels of every tile, of depthwise filters, of slices, and what is chosen.

Random calls of these algorithms are among those of tests/test_ops.py and tests/test_kernels.py.
"""

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpunet
from bench.host import IdleDriver
from gpunet import FC, Conv, Model, Net, ReLU
from gpunet.devices import target
from gpunet.devices.algorithms import candidates
from gpunet.devices.cuda import algorithms, implicit, tiles
from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.device import CudaDevice
from gpunet.program.filters import ConvShape, Filters
from gpunet.program.program import RunTime
from gpunet.program.volume import pair
from gpunet.system.resources import config_names
from tests import oracle
from tests.conftest import make_device
from tests.geometries import COMMON, FILTERS, Geometry, conv_numbers
from tests.mutations import mutants_of
from tests.nets import vgg16
from tests.ops import run_op
from tests.test_huge import SparseDriver

TILES = list(tiles.TILES)
PASSES = ("forward", "backward_input", "backward_weights")
GEOMETRIES = [*COMMON, *FILTERS]


class Case:
    """Random arrays of a convolution, N images, D maps and K filters a group."""

    def __init__(self, rng, g, dtype=np.float32, N=3, D=4, K=8, groups=0):
        groups = groups or g.groups
        self.geometry, self.dtype = g, np.dtype(dtype)
        self.x = rng.standard_normal((N, g.H, g.W, D * groups)).astype(dtype)
        self.w = rng.standard_normal((K * groups, *pair(g.F), D)).astype(dtype)
        self.b = rng.standard_normal(K * groups).astype(dtype)
        self.dy = rng.standard_normal((N, g.H2, g.W2, K * groups)).astype(dtype)

    @property
    def shape(self) -> ConvShape:
        return ConvShape.of(self.x.shape, self.w.shape, self.dy.shape, self.geometry.conv_numbers)

    def run(self, device, pass_, *, onto=None, behind=None, **how):
        """What a pass gives; `onto`: what dw is added to."""
        inputs, output = {
            "forward": ((self.x, self.w, self.b), self.dy.shape),
            "backward_input": ((self.dy, self.w), self.x.shape),
            "backward_weights": ((self.x, self.dy), self.w.shape),
        }[pass_]
        workspace = (how.get("slices", 1) * prod(output),), self.dtype
        if onto is not None:
            how["accumulate"] = 1
        outputs = [(output, self.dtype) if onto is None else onto]
        numbers = {**self.geometry.conv_numbers, **how}
        return run_op(device, f"conv_{pass_}", inputs, outputs, [None, workspace], behind=behind, **numbers)[0]

    def expected(self):
        """The same by loops in float64."""
        g = self.geometry
        dx, dw = oracle.conv_backward(self.x, self.w, self.dy, **g.conv_numbers)
        y = oracle.conv_forward(self.x, self.w, self.b, g.H2, g.W2, **g.conv_numbers)
        return {"forward": y, "backward_input": dx, "backward_weights": dw}


# ---- values ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_every_tile_with_packs_and_without_gives_the_same_bits_near_those_of_the_loops(
    cuda_device, rng, geometry, dtype
):
    D, K = (4, 8) if rng.random() < 0.6 else (3, 5)
    case = Case(rng, geometry, dtype, D=D, K=K)
    slices = int(rng.integers(1, 4))
    for pass_, expected in case.expected().items():
        first = case.run(cuda_device, pass_, algorithm="implicit", tile=4, slices=slices)
        oracle.assert_near(first, expected)
        for tile in TILES[:-1]:
            found = case.run(cuda_device, pass_, algorithm="implicit", tile=tile, slices=slices)
            np.testing.assert_array_equal(found, first, err_msg=f"{pass_}, tile {tile}")
        moved = case.run(cuda_device, pass_, algorithm="implicit", tile=2, slices=slices, behind={0: 1})
        np.testing.assert_array_equal(moved, first, err_msg=f"{pass_}, without packs")


@pytest.mark.parametrize("D, K", [(12, 68), (20, 132), (9, 70)])
def test_tiles_that_are_partly_full_in_both_directions(cuda_device, rng, D, K):
    case = Case(rng, Geometry(7, 5, F=3, S=1, P=1), N=2, D=D, K=K)
    for pass_ in PASSES:
        expected = case.run(make_device("cpu"), pass_, algorithm="implicit")
        for tile in TILES:
            oracle.assert_near(case.run(cuda_device, pass_, algorithm="implicit", tile=tile), expected)


@pytest.mark.parametrize("slices", [2, 5, 60])
def test_slices_are_added_up_in_order_whatever_there_was(cuda_device, rng, slices):
    """More slices than steps, too: those behind the last are zeros."""
    case = Case(rng, Geometry(7, 6, F=3, S=1, P=1), D=8)
    for pass_, expected in case.expected().items():
        how = {"algorithm": "implicit", "tile": 4, "slices": slices}
        found = case.run(cuda_device, pass_, **how)
        oracle.assert_near(found, expected)
        if pass_ == "backward_weights":
            np.testing.assert_array_equal(case.run(cuda_device, pass_, onto=case.w.copy(), **how), case.w + found)


@pytest.mark.parametrize("algorithm, D", [("implicit", 4), ("implicit", 3), ("depthwise", 1)])
def test_a_gradient_is_added_to_what_was_there(cuda_device, rng, algorithm, D):
    case = Case(rng, Geometry(7, 6, F=3, S=1, P=1), D=D, groups=4)
    how = {"algorithm": algorithm, "tile": 4}
    found = case.run(cuda_device, "backward_weights", **how)
    both = case.run(cuda_device, "backward_weights", onto=case.w.copy(), **how)
    np.testing.assert_array_equal(both, case.w + found)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("groups, K", [(8, 1), (5, 1), (3, 2)])
@pytest.mark.parametrize("geometry", [g for g in GEOMETRIES if g.groups == 1][::3], ids=str)
def test_depthwise_filters_give_what_the_loops_give(cuda_device, rng, geometry, groups, K, dtype):
    case = Case(rng, geometry, dtype, N=2, D=1, K=K, groups=groups)
    for pass_, expected in case.expected().items():
        oracle.assert_near(case.run(cuda_device, pass_, algorithm="depthwise", slices=3), expected)


def test_more_depthwise_filters_than_a_block_takes(cuda_device, rng):
    case = Case(rng, Geometry(5, 12, F=3, S=1, P=1), D=1, K=1, groups=76)
    for pass_ in PASSES:
        expected = case.run(make_device("cpu"), pass_, algorithm="depthwise")
        oracle.assert_near(case.run(cuda_device, pass_, algorithm="depthwise", slices=2), expected)


@pytest.mark.parametrize("algorithm, groups", [("implicit", 2), ("depthwise", 4)])
@pytest.mark.parametrize(
    ("geometry", "unseen"),
    [
        (Geometry(8, 11, F=2, S=3, P=0), (slice(2, None, 3), slice(2, None, 3))),
        (Geometry(8, 10, F=3, S=2, P=0, fit="crop"), (slice(7, None), slice(9, None))),
    ],
    ids=str,
)
def test_what_no_window_sees_gets_a_gradient_of_exactly_zero(cuda_device, rng, geometry, unseen, algorithm, groups):
    case = Case(rng, geometry, D=4 // groups if groups == 4 else 2, groups=groups)
    dx = case.run(cuda_device, "backward_input", algorithm=algorithm, tile=4)
    for part in (dx[:, unseen[0]], dx[:, :, unseen[1]]):
        assert (part == 0).all() and not np.signbit(part).any()
    assert (dx[:, 0, 0] != 0).any()


@pytest.mark.parametrize("algorithm", ["implicit", "depthwise"])
def test_nan_reaches_exactly_the_outputs_that_see_it(cuda_device, rng, algorithm):
    case = Case(rng, Geometry(6, 7, F=3, S=1, P=1), D=1, K=1, groups=4)
    case.x[1, 0, 3, 2] = np.nan
    expected = np.zeros(case.dy.shape, bool)
    expected[1, 0:2, 2:5, 2] = True
    y = case.run(cuda_device, "forward", algorithm=algorithm, tile=4)
    np.testing.assert_array_equal(np.isnan(y), expected)


def test_the_last_tile_of_a_huge_batch(tmp_path: Path) -> None:
    """x has more than 2**32 values, and so have y, dy and dx."""
    N, H, D, K = 2**22 + 1, 4, 72, 68
    shape = ConvShape(N, H, H, D, H, H, K, 1, Filters(3, 3, 1, 1, 1, 1, 1, 1))
    assert tiles.can_run(shape) and N * H * H * D > 2**32
    rng = np.random.default_rng(3)
    x, w, dy = (rng.integers(-3, 4, n).astype(np.float32) for n in ((H, H, D), (K, 3, 3, D), (H, H, K)))
    numbers = conv_numbers(1, 1)
    expected = oracle.conv_forward(x[None], w, np.zeros(K), H, H, **numbers)[0]
    dx, _ = oracle.conv_backward(x[None], w, dy[None], **numbers)
    for pass_ in ("forward", "backward_input"):
        grid = tiles.blocks(pass_, shape, tiles.TILES[3])
        device = CudaDevice(SparseDriver(_folder(tmp_path, pass_), grid=grid, block=grid - 2))
        arrays = {
            name: device.allocate(4 * prod(like)).view(0, like, "float32")
            for name, like in {"x": (N, H, H, D), "w": w.shape, "y": (N, H, H, K)}.items()
        }
        device.write(arrays["w"], w)
        given, made, values = ("x", "y", x) if pass_ == "forward" else ("y", "x", dy)
        device.write(arrays[given].rows(N - 1, N), values[None])
        if pass_ == "forward":
            implicit.forward(arrays["x"], arrays["w"], None, arrays["y"], None, shape, 3, 1)
        else:
            implicit.backward_input(arrays["y"], arrays["w"], arrays["x"], None, shape, 3, 1)
        found = device.read(arrays[made].rows(N - 1, N))[0]
        np.testing.assert_array_equal(found[..., :64], (expected if pass_ == "forward" else dx[0])[..., :64])
        assert not device.read(arrays[made].rows(0, 2**10)).any()
        device.close()


def _folder(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name


# ---- what is chosen ----


def _chosen(pass_: Any, shape: ConvShape, limit: int = 64 * 2**20, dtype: str = "float32"):
    how = {"math": "direct", "device": "cuda", "capability": (8, 6)}
    return candidates(pass_, shape, dtype=dtype, scratch_limit_bytes=limit, **how)


SHAPE = ConvShape(64, 56, 56, 128, 56, 56, 256, 1, Filters(3, 3, 1, 1, 1, 1, 1, 1))


@pytest.mark.parametrize("pass_", PASSES)
def test_every_tile_is_a_candidate_with_the_same_slices_and_im2col_is_the_last(pass_):
    *found, last = _chosen(pass_, SHAPE)
    assert {one.tile for one in found} == set(TILES) and {one.name for one in found} == {"implicit"}
    assert len({(one.slices, one.workspace_bytes) for one in found}) == 1
    assert last.name == "im2col" and last.needs_columns


def test_slices_fill_a_gpu_and_stay_within_the_scratch():
    images = replace(SHAPE, N=8)
    for limit in (0, 10**6, 10**7, 10**9):
        best = _chosen("backward_weights", images, limit)[0]
        assert best.workspace_bytes <= min(limit, algorithms.MOST_SLICES_BYTES)
        assert best.slices == 1 or best.workspace_bytes == best.slices * 256 * 9 * 128 * 4
    assert best.slices == 14
    assert _chosen("forward", SHAPE)[0].slices == 1
    assert _chosen("forward", ConvShape(1, 7, 7, 512, 7, 7, 512, 1, SHAPE.filters))[0].slices > 1


def test_small_shapes_get_small_tiles():
    assert _chosen("forward", SHAPE)[0].tile == 1
    assert _chosen("forward", replace(SHAPE, K=64))[0].tile == 2
    assert _chosen("forward", ConvShape(4, 8, 8, 8, 8, 8, 8, 1, SHAPE.filters))[0].tile == 4


@pytest.mark.parametrize("pass_", PASSES)
def test_groups_of_one_map_have_kernels_of_their_own(pass_):
    names = [one.name for one in _chosen(pass_, replace(SHAPE, groups=128))]
    assert names[0] == "depthwise" and set(names) == {"depthwise", "implicit", "im2col"}
    assert "depthwise" not in {one.name for one in _chosen(pass_, replace(SHAPE, D=1))}


@pytest.mark.parametrize(
    "change", [{"S_rows": 2**31}, {"P_left": 2**31}, {"dilation_rows": 2**30}, {"dilation_columns": 2**30}]
)
def test_what_an_int_cannot_count_is_left_to_im2col(change):
    shape = replace(SHAPE, filters=replace(SHAPE.filters, **change))
    assert [one.name for one in _chosen("forward", shape)] == ["im2col"]
    assert [one.name for one in _chosen("forward", replace(SHAPE, N=2**21))] == ["im2col"]


DEEP = {"preact_resnet110", "preact_resnet164", "preact_resnet1001", "msra_resnet101", "msra_resnet152", "resnet152"}
"""More of the same blocks as others, and long to plan."""


@pytest.mark.parametrize("mode", ["train", "infer"])
def test_no_shipped_net_plans_an_im2col_matrix_for_a_gpu(mode):
    for name in set(config_names()) - DEEP:
        plan = gpunet.plan(gpunet.load(name), 4, device="cuda", mode=mode, max_cost=0)
        assert not [t.name for t in plan.tensors if t.name.endswith("columns") and "loc" not in t.layer], name


def test_convolutions_of_vgg16_take_little_scratch():
    program = gpunet.plan(vgg16(), 64, device="cuda").program
    scratch = [t.nbytes for op in program.ops if op.name.startswith("conv_") for t in op.scratch if t]
    assert max(scratch) <= 16 * 2**20


MOST_CALLS = {"vgg16": (64, 155), "vgg_cifar": (64, 100), "resnet50": (32, 497), "resnet20": (64, 228)}
"""Images and device calls of a step; Winograd's convolution takes one more for a pass, as filters change first."""


@pytest.mark.parametrize("name", MOST_CALLS)
def test_a_step_makes_few_calls(name):
    batch, most = MOST_CALLS[name]
    driver = IdleDriver()
    device, calls = CudaDevice(driver), 0
    for op in gpunet.plan(gpunet.load(name), batch, device="cuda", optimizer="momentum").program.ops:
        arrays = [None if t is None else DeviceArray(2**40, t.shape, np.dtype(t.dtype), driver) for t in op.arguments]
        numbers = {key: 1 if isinstance(value, RunTime) else value for key, value in op.attributes.items()}
        calls += len(device.bind(op.name, arrays, numbers))
    assert calls <= most


def test_im2col_is_still_there_and_learns_the_same(monkeypatch, rng):
    layers = [Conv(8), ReLU(), Conv(8, S=2, P=1, fit="pad"), ReLU(), Conv(8, groups=8), Conv(4, F=1), FC(3)]
    net = Net("9x8x3", layers)
    pixels, labels = rng.integers(0, 256, (5, 9, 8, 3), dtype=np.uint8), rng.integers(0, 3, 5)
    losses, found = {}, {}
    every = algorithms.candidates
    for name in ("implicit", "im2col"):
        if name == "im2col":
            monkeypatch.setattr(algorithms, "candidates", lambda *given, **how: every(*given, **how)[-1:])
        with Model(net, 5, make_device("emulated"), seed=1, debug=True) as model:
            assert {op.attributes["algorithm"] for op in model.plan.program.ops if op.name == "conv_forward"} == (
                {"im2col"} if name == "im2col" else {"implicit", "depthwise"}
            )
            assert model.arena_bytes == model.plan.arena_bytes
            losses[name] = [model.step(pixels, labels) for _ in range(3)]
            found[name] = model.forward(pixels)
    np.testing.assert_allclose(losses["implicit"], losses["im2col"], rtol=1e-5)
    np.testing.assert_allclose(found["implicit"], found["im2col"], rtol=1e-3, atol=1e-4)


def test_the_target_says_what_the_card_is():
    where = target("cuda", "gtx 1060 6gb")
    best = where.conv_algorithm("forward", SHAPE, dtype="float32", math="direct", scratch_limit_bytes=2**20)
    assert best == _chosen("forward", SHAPE, 2**20)[0]


MUTANTS = [
    *mutants_of(
        "tile.cuh",
        "tile",
        ("the second half of the columns is the first", "first / RUN * 32], 0, b)", "first / RUN * 0], 0, b)"),
        ("sums of one step alone", "multiply_add(a[i], b[j], sum[i][first + j])", "a[i] * b[j]"),
        ("the stage is not switched", "now ^= 1;", ""),
        (
            "no barrier behind a step",
            "right.put(stages.of[now].right);\n    __syncthreads();",
            "right.put(stages.of[now].right);",
        ),
        ("a step is left out", "order.skip(next), next = 0;", "order.skip(next + 1), next = 0;"),
        (
            "never a turn",
            "if (order.step() < stages.last) left.turn(), right.turn();",
            "if (order.step() < stages.last) ;",
        ),
        ("packs at any place", "if (packed && first < left) store(", "if (first < left) store("),
        ("results behind the last", "if (!packed && first + lane < left) values", "if (!packed) values"),
        ("what was there is forgotten", "if (!packed && lane < left) run.value[lane] += (Sum)values[lane];", ""),
        ("slices overlap", "first = slice * each < steps ? slice * each", "first = slice < steps ? slice"),
        ("the last slice goes on", "last = first + each < steps ? first + each : steps", "last = first + each"),
        ("all tiles are in the first row", "down(number / tiles_across % tiles_down)", "down(0)"),
    ),
    *mutants_of(
        "gather.cuh",
        "gather",
        (
            "rows outside are seen",
            "seen && (unsigned int)(top[pack] + order.rows) < (unsigned int)H &&",
            "seen &&",
        ),
        ("one row below the input", "order.rows) < (unsigned int)H", "order.rows) <= (unsigned int)H"),
        ("columns wrap around", "order.columns) < (unsigned int)W;", "order.columns) < (unsigned int)W + 1;"),
        (
            "32-bit places",
            "behind(x + (map0 + order.along()), inside[pack] ? pixel[pack] + pixels : 0, D)",
            "x + (map0 + order.along() + (inside[pack] ? pixel[pack] + pixels : 0) * D)",
        ),
        ("behind the sum", "inside[pack] = seen && ", "inside[pack] = "),
    ),
    *mutants_of(
        "forward.cuh",
        "forward",
        ("the first group alone", "c.D, group * c.maps, order", "c.D, 0, order"),
        ("filters of the first group", "first = (group * order.c.filters + n0", "first = (n0"),
        ("no padding", "i * c.S_rows - c.P_top", "i * c.S_rows"),
        ("one stride for both axes", "j * c.S_columns - c.P_left", "j * c.S_rows - c.P_left"),
        ("no dilation", "rows = row * c.dilation_rows, columns", "rows = row, columns"),
        (
            "a window is as wide as high",
            "columns == c.F_columns * c.dilation_columns",
            "columns == c.F_rows * c.dilation_columns",
        ),
        ("one dilation for both axes", "columns += c.dilation_columns", "columns += c.dilation_rows"),
        ("straight on into the next tap", "(tap + c.maps - first) / DEPTH", "(tap + c.maps - first + 7) / DEPTH"),
    ),
    *mutants_of(
        "plus_bias.cuh",
        "forward",
        ("a bias for each slice", "slices == 1 ? b : nullptr", "b"),
        ("the bias of the first filters", "+= b[filter + lane]", "+= b[lane]"),
        ("slices in one place", "((long long)slice * c.positions + position)", "((long long)position)"),
        ("a position too many", "if (position < c.positions && filter", "if (filter"),
    ),
    *mutants_of(
        "backward_input.cuh",
        "backward_input",
        ("taps of other positions", "(first + P - tap * dilation) % S != 0", "(first + P) % S != 0"),
        ("a tap too few", "(F - 1 - tap) / apart + 1 : 0", "(F - 1 - tap) / apart : 0"),
        ("all taps are a stride apart", "apart = S / common", "apart = S"),
        ("windows go back one by one", "back = dilation / common", "back = 1"),
        ("windows go on", "rows = -row * set.down.back", "rows = row * set.down.back"),
        ("places of the first set", "const int h = down.first +", "const int h ="),
        ("no stride", "image * down.count) * c.S_rows;", "image * down.count);"),
        ("filters of the next tap", "return first + at < c.filters", "return true"),
        ("maps of the first group", "(stages.kept[1] * c.maps + map)", "map"),
        ("one dilation for both axes", "c.P_left, c.dilation_columns)", "c.P_left, c.dilation_rows)"),
        ("weights of the first group", "(long long)group * c.filters * c.length, order", "0, order"),
        (
            "straight on into the next tap",
            "max(1, (c.filters - first) / DEPTH)",
            "max(1, (c.filters - first + 7) / DEPTH)",
        ),
    ),
    *mutants_of(
        "backward_weights.cuh",
        "backward_weights",
        ("positions behind the last", "inside[pack] = at < end;", "inside[pack] = true;"),
        ("windows behind the last", "{at < order.count ? h : NOWHERE, v", "{h, v"),
        ("a row is as long as that of the input", "line = at / c.W2", "line = at / c.W"),
        ("the image does not end", "(line - image * c.H2) * c.S_rows, v", "line * c.S_rows, v"),
        ("one stride for both axes", "(at - line * c.W2) * c.S_columns;", "(at - line * c.W2) * c.S_rows;"),
        ("corners of more positions than there is room for", "min(T::THREADS, count - position)", "(count - position)"),
        (
            "no barrier behind a turn",
            "find banks of their own\n        __syncthreads();",
            "find banks of their own\n",
        ),
        ("no dilation", "row * c.dilation_rows - c.P_top", "row - c.P_top"),
        ("one dilation for both axes", "* c.dilation_columns - c.P_left", "* c.dilation_rows - c.P_left"),
        ("what was there is forgotten", "if (accumulate) place", "if (false) place"),
        ("slices in one place", "((long long)stages.kept[3] * c.K +", "((long long)0 +"),
    ),
    *mutants_of(
        "slices.cu",
        "add_slices",
        ("a slice is left out", "slice < slices; ++slice", "slice < slices - 1; ++slice"),
        ("the bias of the first filter", "b[item % K]", "b[0]"),
        ("what was there is forgotten", "if (accumulate) sum", "if (false) sum"),
    ),
    *mutants_of(
        "depthwise.cu",
        "depthwise_forward",
        ("maps of other filters", "COUNT > 1 ? k : k / by.each", "k % c.D"),
        ("no bias", "if (b) sum", "if (false) sum"),
        ("rows outside are seen", "if (0 <= h && h < c.H && 0 <= v", "if (h < c.H && 0 <= v"),
        ("packs of several filters a map", "c.K == c.D && c.K % WIDTH == 0 && aligned(x, y)", "aligned(x, y)"),
        ("a pack of the next position stays", "if (pack >= packs) pack -= packs, ++column;", ""),
        ("one dilation for both axes", "left + column * c.dilation_columns", "left + column * c.dilation_rows"),
    ),
    *mutants_of(
        "depthwise.cu",
        "depthwise_backward_input",
        ("windows between the positions", "return behind == 0 && 0 <= window", "return 0 <= window"),
        ("windows behind the last", "0 <= window && window < windows", "0 <= window"),
        ("one filter a map", "k < (d + 1) * each", "k < d * each + 1"),
        ("one dilation for both axes", "c.S_columns, c.dilation_columns, c.W2", "c.S_columns, c.dilation_rows, c.W2"),
    ),
    *mutants_of(
        "depthwise.cu",
        "depthwise_backward_weights",
        ("one lane of all", "for (int other = 1; other < LANES; ++other) sum += shared[other][filter];", ""),
        ("no barrier", "    __syncthreads();\n    if (lane > 0", "    if (lane > 0"),
        ("the first slice alone", "Slice lines(part.rest, (int)slices", "Slice lines(0, (int)slices"),
        ("rows outside are seen", "if (h < 0 || h >= c.H) continue;", "if (h >= c.H) continue;"),
        ("one map for all", "* c.D + k / by.each", "* c.D"),
        ("one dilation for both axes", "* c.dilation_columns - c.P_left", "* c.dilation_rows - c.P_left"),
    ),
]
"""Changes of the kernels that the tests above, and those of all ops, must notice."""
