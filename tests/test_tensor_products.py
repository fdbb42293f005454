"""Convolution by products on tensor cores: kernels of every tile, what is fused with them, and what is chosen."""

from dataclasses import replace
from math import prod
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import gpunet
from gpunet import FC, Conv, MaxPool, Model, Net, ReLU
from gpunet.devices import open_device, target
from gpunet.devices.algorithms import candidates
from gpunet.devices.cuda import tensor_tiles
from gpunet.devices.cuda.device import CudaDevice
from gpunet.errors import ConfigError
from gpunet.program.filters import ConvShape, Filters
from tests import oracle
from tests.conftest import make_device
from tests.emulator.driver import ORDERS, EmulatorDriver
from tests.geometries import Geometry
from tests.mutations import mutants_of
from tests.ops import run_op
from tests.ptx.driver import PtxDriver
from tests.test_conv_pool import in_twos, lying, some, unpooled
from tests.test_implicit import GEOMETRIES, PASSES, Case

TILES = list(tensor_tiles.TILES)
OFF = {"tf32": 2e-3, "3xtf32": 1e-5}
"""By algorithm, how far from float64 a result may be, beside the largest."""

HALF_OFF = {"float16": 2e-3, "bfloat16": 2e-2}
"""The same by half type; sums that stay float32 are nearly exact."""

SUMS_OFF = 1e-5

SLOW = pytest.mark.slow
"""Kernels that take long to build: others like them are tried by default."""

MODES = ["tf32", pytest.param("3xtf32", marks=SLOW)]


def assert_close(found: np.ndarray, expected: np.ndarray, off: float) -> None:
    """Near beside the largest value, and in direction."""
    found = found.astype(float)
    np.testing.assert_allclose(found, expected, rtol=0, atol=off * np.abs(expected).max())
    assert (found * expected).sum() > 0.999 * np.sqrt((found**2).sum() * (expected**2).sum())


class HalfCase(Case):
    """A convolution in a half type: biases, gradients of weights and what slices sum up are float32."""

    def __init__(self, rng: np.random.Generator, geometry: Geometry, dtype: str, **sizes: int) -> None:
        super().__init__(rng, geometry, **sizes)
        self.half = np.dtype(getattr(ml_dtypes, dtype, dtype))
        self.exact = Case(rng, geometry, **sizes)
        self.exact.b = self.b
        for name in ("x", "w", "dy"):
            setattr(self, name, getattr(self, name).astype(self.half))
            setattr(self.exact, name, getattr(self, name).astype(np.float32))

    def expected(self):
        return self.exact.expected()

    def run(self, device, pass_, *, onto=None, behind=None, **how):
        inputs, (shape, dtype) = {
            "forward": ((self.x, self.w, self.b), (self.dy.shape, self.half)),
            "backward_input": ((self.dy, self.w), (self.x.shape, self.half)),
            "backward_weights": ((self.x, self.dy), (self.w.shape, np.float32)),
        }[pass_]
        scratch = [None, ((how.get("slices", 1) * prod(shape),), np.float32)]
        outputs = [(shape, dtype) if onto is None else onto]
        numbers = {**self.geometry.conv_numbers, "algorithm": "halves", **how}
        if onto is not None:
            numbers["accumulate"] = 1
        return run_op(device, f"conv_{pass_}", inputs, outputs, scratch, behind=behind, **numbers)[0]

    def off(self, pass_: str) -> float:
        return SUMS_OFF if pass_ == "backward_weights" else HALF_OFF[self.half.name]


def check_halves(case: HalfCase, device: Any, slices: int) -> None:
    for pass_, expected in case.expected().items():
        first, *others = [case.run(device, pass_, tile=tile, slices=slices) for tile in TILES]
        assert_close(first, expected, case.off(pass_))
        others.append(case.run(device, pass_, tile=2, behind={0: 1}, slices=slices))
        for found in others:
            np.testing.assert_array_equal(found.astype(float), first.astype(float), err_msg=pass_)


def deep(stages: int) -> CudaDevice:
    """An emulated device with so many steps in shared memory."""
    driver = EmulatorDriver("random")
    driver.capability = {2: (7, 5), 3: (8, 6), 4: (9, 0)}[stages]
    return CudaDevice(driver)


def check_every_tile(case: Case, device: Any, algorithm: str, slices: int) -> None:
    for pass_, expected in case.expected().items():
        how = {"algorithm": algorithm, "slices": slices}
        first, *others = [case.run(device, pass_, tile=tile, **how) for tile in TILES]
        assert_close(first, expected, OFF[algorithm])
        others.append(case.run(device, pass_, tile=2, behind={0: 1}, **how))  # without packs
        for found in others:
            np.testing.assert_array_equal(found, first, err_msg=pass_)


# ---- values ----


@pytest.mark.parametrize("D, K", [(3, 5), (20, 36)])
def test_every_tile_with_packs_and_without_gives_the_same_bits_near_those_of_the_loops(cuda_device, rng, D, K):
    geometry = GEOMETRIES[int(rng.integers(len(GEOMETRIES)))]
    check_every_tile(Case(rng, geometry, N=2, D=D, K=K), cuda_device, "tf32", int(rng.integers(1, 4)))


@SLOW
@pytest.mark.parametrize("algorithm", OFF)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_so_it_does_for_all_geometries(cuda_device, rng, algorithm, geometry):
    for D, K in ((4, 8), (3, 5), (20, 36)):
        check_every_tile(Case(rng, geometry, D=D, K=K), cuda_device, algorithm, int(rng.integers(1, 4)))


@pytest.mark.parametrize("N, D, K", [(3, 36, 132), (4, 9, 70)])
def test_tiles_that_are_partly_full_in_both_directions(cuda_device, rng, N, D, K):
    case = Case(rng, Geometry(7, 5, F=3, S=1, P=1), N=N, D=D, K=K)
    for pass_ in PASSES:
        expected = case.run(make_device("cpu"), pass_, algorithm="implicit")
        for tile in TILES:
            assert_close(case.run(cuda_device, pass_, algorithm="tf32", tile=tile), expected, OFF["tf32"])


@pytest.mark.parametrize("stages", [2, 3, 4])
def test_steps_ahead_change_no_bit(rng, stages):
    case = Case(rng, Geometry(6, 5, F=3, S=1, P=1), N=3, D=24, K=20)
    for pass_ in PASSES:
        wanted = case.run(make_device("emulated"), pass_, algorithm="tf32", tile=3)
        np.testing.assert_array_equal(case.run(deep(stages), pass_, algorithm="tf32", tile=3), wanted)


@pytest.mark.parametrize("algorithm", MODES)
def test_whole_numbers_are_exact_whatever_rounds_them(cuda_device, rng, algorithm):
    """Up to 2**11: what is a tf32 stays as it is."""
    case = Case(rng, Geometry(6, 5, F=3, S=1, P=1), D=8, K=8)
    for name in ("x", "w", "b", "dy"):
        setattr(case, name, rng.integers(-40, 41, getattr(case, name).shape).astype(np.float32))
    case.x.reshape(-1)[:3] = 2047, -2048, 1
    for pass_ in PASSES:
        exact = case.run(cuda_device, pass_, algorithm="implicit", tile=4)
        np.testing.assert_array_equal(case.run(cuda_device, pass_, algorithm=algorithm, tile=3), exact)


@pytest.mark.parametrize("slices", [2, 5, 60])
def test_slices_are_added_up_in_order_whatever_there_was(cuda_device, rng, slices):
    """More slices than steps, too: those behind the last are zeros."""
    case = Case(rng, Geometry(7, 6, F=3, S=1, P=1), D=8)
    for pass_, expected in case.expected().items():
        how = {"algorithm": "tf32", "tile": 3, "slices": slices}
        found = case.run(cuda_device, pass_, **how)
        assert_close(found, expected, OFF["tf32"])
        if pass_ == "backward_weights":
            np.testing.assert_array_equal(case.run(cuda_device, pass_, onto=case.w.copy(), **how), case.w + found)


@pytest.mark.parametrize("D", [4, 3])
def test_a_gradient_is_added_to_what_was_there(cuda_device, rng, D):
    case = Case(rng, Geometry(7, 6, F=3, S=1, P=1), D=D, groups=2)
    how = {"algorithm": "tf32", "tile": 2}
    found = case.run(cuda_device, "backward_weights", **how)
    both = case.run(cuda_device, "backward_weights", onto=case.w.copy(), **how)
    np.testing.assert_array_equal(both, case.w + found)


@pytest.mark.parametrize("algorithm", MODES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_reaches_exactly_the_outputs_that_see_it(cuda_device, rng, algorithm, value):
    """By 3xtf32 an infinity becomes NaN."""
    case = Case(rng, Geometry(6, 7, F=3, S=1, P=1), D=1, K=1, groups=4)
    case.x[1, 0, 3, 2] = value
    expected = np.zeros(case.dy.shape, bool)
    expected[1, 0:2, 2:5, 2] = True
    y = case.run(cuda_device, "forward", algorithm=algorithm, tile=2)
    np.testing.assert_array_equal(~np.isfinite(y), expected)
    if algorithm == "tf32":
        np.testing.assert_array_equal(np.isinf(y), expected & np.isinf(value))


def test_what_no_window_sees_gets_a_gradient_of_exactly_zero(cuda_device, rng):
    case = Case(rng, Geometry(8, 11, F=2, S=3, P=0), D=4, K=8)
    dx = case.run(cuda_device, "backward_input", algorithm="tf32", tile=3)
    for part in (dx[:, 2::3], dx[:, :, 2::3]):
        assert (part == 0).all() and not np.signbit(part).any()
    assert (dx[:, 0, 0] != 0).any()


# ---- halves ----


@pytest.mark.parametrize("dtype", [pytest.param("float16", marks=SLOW), "bfloat16"])
@pytest.mark.parametrize("D, K", [(3, 5), (40, 24)])
def test_halves_give_the_same_bits_by_every_tile_near_the_loops(cuda_device, rng, dtype, D, K):
    geometry = GEOMETRIES[int(rng.integers(len(GEOMETRIES)))]
    check_halves(HalfCase(rng, geometry, dtype, N=2, D=D, K=K), cuda_device, int(rng.integers(1, 4)))


@SLOW
@pytest.mark.parametrize("dtype", HALF_OFF)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_so_do_halves_for_all_geometries(cuda_device, rng, dtype, geometry):
    for D, K in ((8, 16), (3, 5), (40, 24)):
        check_halves(HalfCase(rng, geometry, dtype, D=D, K=K), cuda_device, int(rng.integers(1, 4)))


@SLOW
@pytest.mark.parametrize("architecture, dtype", [("75", "float16"), ("80", "float16"), ("90", "bfloat16")])
def test_the_device_code_of_halves_gives_the_same_without_races(rng, architecture, dtype):
    case = HalfCase(rng, Geometry(7, 5, F=3, S=1, P=1), dtype, N=2, D=40, K=24)
    check_halves(case, CudaDevice(PtxDriver("random", architecture=architecture, watches=True)), 2)


# ---- what is fused ----


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("seed, algorithm", [(0, "tf32")])
def test_one_kernel_gives_the_bits_of_the_separate_ones(cuda_device, seed, tile, algorithm):
    """Whatever the tile, and whether the sums of gradients are cut into slices."""
    case = in_twos(some(seed), np.random.default_rng(seed))
    conv = {**case.conv, "algorithm": algorithm, "tile": tile}
    dtype, none, behind = case.x.dtype, (None, None), [case.dy, case.switches]
    both = [(case.dy.shape, dtype), (case.switches.shape, np.uint8)]
    for bias in (None, np.linspace(-2, 2, len(case.w), dtype=dtype)):
        given, before_shape = [case.x, case.w, bias], [(case.before, dtype)]
        (before,) = run_op(cuda_device, "conv_forward", given, before_shape, none, **conv)
        (found,) = run_op(cuda_device, "conv_relu_forward", given, before_shape, none, **conv)
        np.testing.assert_array_equal(found, np.maximum(before, 0))
        y, switches = run_op(cuda_device, "max_pool_forward", [before], both, **case.windows)
        found = run_op(cuda_device, "conv_pool_forward", given, both, (*none, None), **conv, **case.pool, relu=0)
        assert [found[0].tobytes(), found[1].tobytes()] == [y.tobytes(), switches.tobytes()]
        switches = lying(np.where(y <= 0, 4, oracle.of_halves(switches, len(case.w))), 2)
        found = run_op(cuda_device, "conv_pool_forward", given, both, (*none, None), **conv, **case.pool, relu=1)
        assert [found[0].tobytes(), found[1].tobytes()] == [np.maximum(y, 0).tobytes(), switches.tobytes()]
    dz = unpooled(cuda_device, case)
    for slices in (1, 3):
        scratch = (None, ((slices * max(case.x.size, case.w.size),), dtype))
        numbers = {**conv, "slices": slices}
        dw, dx = [(case.w.shape, dtype)], [(case.x.shape, dtype)]
        wanted = run_op(cuda_device, "conv_backward_weights", [case.x, dz], dw, scratch, **numbers)
        wanted += run_op(cuda_device, "conv_backward_input", [dz, case.w], dx, scratch, **numbers)
        numbers, scratch = {**numbers, **case.pool}, (*scratch, None)
        found = run_op(cuda_device, "conv_pool_backward_weights", [case.x, *behind], dw, scratch, **numbers)
        found += run_op(cuda_device, "conv_pool_backward_input", [*behind, case.w], dx, scratch, **numbers)
        assert [one.tobytes() for one in found] == [one.tobytes() for one in wanted]


def test_results_go_among_the_maps_of_a_wider_volume(cuda_device, rng):
    case = Case(rng, Geometry(6, 5, F=3, S=1, P=1), D=4, K=8)
    numbers = {**case.geometry.conv_numbers, "algorithm": "tf32", "tile": 3}
    like, given = [(case.dy.shape, np.float32)], [case.x, case.w, case.b]
    wanted = run_op(cuda_device, "conv_forward", given, like, (None, None), **numbers)
    found = run_op(cuda_device, "conv_forward", given, like, (None, None), within={3: (4, 20)}, **numbers)
    np.testing.assert_array_equal(found, wanted)


# ---- the device code ----


@pytest.mark.parametrize("algorithm", MODES)
def test_the_device_code_gives_the_same_without_races(rng, algorithm):
    """Nearly: the emulator adds up one product after the other."""
    case = Case(rng, Geometry(7, 5, F=3, S=2, P=1), N=2, D=20, K=36)
    compiled = CudaDevice(PtxDriver("random", architecture="80", watches=True))
    for pass_, expected in case.expected().items():
        how = {"algorithm": algorithm, "slices": 2}
        first, *others = [case.run(compiled, pass_, tile=tile, **how) for tile in TILES]
        assert_close(first, expected, OFF[algorithm])
        oracle.assert_near(first, case.run(make_device("emulated"), pass_, tile=1, **how))
        for found in others:
            np.testing.assert_array_equal(found, first, err_msg=pass_)


@SLOW
@pytest.mark.parametrize("architecture", ["80", "86", "90", "120"])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", range(3))
def test_the_device_code_of_what_is_fused_has_no_races(architecture, order, seed):
    device = CudaDevice(PtxDriver(order, architecture=architecture, watches=True))
    for tile, algorithm in zip(TILES, ("tf32", "3xtf32", "tf32"), strict=True):
        test_one_kernel_gives_the_bits_of_the_separate_ones(device, 2 * seed, tile, algorithm)


# ---- what is chosen ----

SHAPE = ConvShape(64, 56, 56, 128, 56, 56, 256, 1, Filters(3, 3, 1, 1, 1, 1, 1, 1))


def chosen(shape: ConvShape, pass_: Any = "forward", math: Any = "tf32") -> Any:
    how = {"math": math, "device": "cuda", "capability": (8, 0), "scratch_limit_bytes": 2**24}
    return candidates(pass_, shape, dtype="float32", **how)


@pytest.mark.parametrize("pass_", PASSES)
def test_every_tile_is_a_candidate_with_the_slices_of_the_exact_one(pass_):
    *found, last = chosen(SHAPE, pass_)
    assert {one.tile for one in found} == set(TILES) and {one.name for one in found} == {"tf32"}
    exact = chosen(SHAPE, pass_, "direct")[0]
    assert {(one.slices, one.workspace_bytes) for one in found} == {(exact.slices, exact.workspace_bytes)}
    assert last.name == "im2col"


def test_small_shapes_get_small_tiles_and_odd_maps_the_one_that_takes_them():
    assert chosen(SHAPE)[0].tile == 1
    assert chosen(ConvShape(4, 8, 8, 8, 8, 8, 8, 1, SHAPE.filters))[0].tile == 3
    assert chosen(replace(SHAPE, D=3))[0].tile == 2


REFUSED = {
    (
        "1080 ti",
        "tf32",
        "float32",
    ): "math tf32 needs tensor cores of compute capability 8.0 or newer, and a GTX 1080 Ti has 6.1: use math exact",
    ("t4", "3xtf32", "float32"): "has 7.5",
    ("3060 12gb", "3xtf32", "float64"): "math 3xtf32 multiplies float32 on tensor cores, and the dtype is float64",
}


@pytest.mark.parametrize("gpu, math, dtype", REFUSED)
def test_what_a_card_has_not_is_refused_in_words(gpu, math, dtype):
    net = Net("8x8x3", [Conv(4), FC(3)])
    with pytest.raises(ConfigError) as error:
        gpunet.plan(net, 4, gpu=gpu, math=math, dtype=dtype)
    assert REFUSED[gpu, math, dtype] in str(error.value)


def test_a_mode_stands_in_the_plan_and_means_nothing_on_the_cpu():
    net = Net("8x8x4", [Conv(8), ReLU(), Conv(8), ReLU(), MaxPool(), FC(3)])
    how = {"device": target("cuda", "3060 12gb"), "without": ("conv-slope",)}  # which depends on scratch, too
    plain, made = (gpunet.plan(net, 4, math=math, **how) for math in ("exact", "3xtf32"))
    names = {
        op.attributes["algorithm"] for op in made.program.ops if op.name.startswith("conv_") and "bias" not in op.name
    }
    assert names == {"3xtf32"}
    fused = [[op.name for op in plan.program.ops if op.name.startswith("conv_")] for plan in (made, plain)]
    assert fused[0] == fused[1] and "conv_pool_backward_weights" in fused[0]
    on_cpu = [gpunet.plan(net, 4, device="cpu", math=math) for math in ("exact", "tf32")]
    assert on_cpu[0].arena_bytes == on_cpu[1].arena_bytes
    assert [op.attributes for op in on_cpu[0].program.ops] == [op.attributes for op in on_cpu[1].program.ops]


# ---- whole steps ----


@pytest.mark.parametrize("math", MODES)
def test_training_steps_are_near_those_of_numpy_and_the_plan_is_kept(math, rng):
    layers = [Conv(8), ReLU(), Conv(8), ReLU(), MaxPool(), Conv(6, F=1), ReLU(), FC(9), ReLU(), FC(3)]
    net = Net("8x8x3", layers)
    pixels, labels = rng.integers(0, 256, (3, 6, 8, 8, 3), dtype=np.uint8), rng.integers(0, 3, (3, 6))
    losses, found = [], []
    for device, how in ((open_device("cpu"), "exact"), (make_device("emulated-random"), math)):
        with Model(net, 6, device, seed=3, math=how, debug=True) as model:
            assert model.arena_bytes == model.plan.arena_bytes
            losses.append([model.step(pixels[i], labels[i]) for i in range(3)])
            found.append({name: np.array(values) for name, values in model.parameters.items()})
    np.testing.assert_allclose(losses[1], losses[0], rtol=50 * OFF[math])
    for name, values in found[0].items():
        np.testing.assert_allclose(found[1][name], values, rtol=0, atol=10 * OFF[math] * np.abs(values).max())


@pytest.mark.parametrize("dtype", [pytest.param("float16", marks=SLOW), "bfloat16"])
def test_training_steps_in_halves_are_near_those_of_numpy(dtype, rng):
    layers = [Conv(8), ReLU(), Conv(8), ReLU(), MaxPool(), Conv(6, F=1), ReLU(), FC(9), ReLU(), FC(3)]
    net = Net("8x8x3", layers)
    pixels, labels = rng.integers(0, 256, (3, 6, 8, 8, 3), dtype=np.uint8), rng.integers(0, 3, (3, 6))
    losses = []
    for device in (open_device("cpu"), make_device("emulated-random")):
        with Model(net, 6, device, seed=3, dtype=dtype, debug=True) as model:
            assert model.arena_bytes == model.plan.arena_bytes
            losses.append([model.step(pixels[i], labels[i]) for i in range(3)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=5 * HALF_OFF[dtype])


@pytest.mark.parametrize("N, inputs, K", [(3, 20, 12), (70, 9, 5)])
def test_fully_connected_layers_are_convolutions_of_one_position(cuda_device, rng, N, inputs, K):
    x, w, b, dy = (
        rng.standard_normal(size).astype(np.float32) for size in ((N, 1, 1, inputs), (K, inputs), K, (N, 1, 1, K))
    )
    flat, above = x.reshape(N, inputs).astype(float), dy.reshape(N, K).astype(float)
    how = {"algorithm": "tf32", "tile": 3, "slices": 2}
    calls = {
        "fc_forward": ([x, w, b], (N, 1, 1, K), flat @ w.T + b),
        "fc_backward_weights": ([x, dy], (K, inputs), above.T @ flat),
        "fc_backward_input": ([dy, w], (N, 1, 1, inputs), above @ w),
    }
    for op, (given, shape, expected) in calls.items():
        scratch = [((2 * prod(shape),), np.float32)]
        (found,) = run_op(cuda_device, op, given, [(shape, np.float32)], scratch, **how)
        assert_close(found.reshape(expected.shape), expected, OFF["tf32"])


WITH_POOLS = (
    "forward",
    "backward_input",
    "backward_weights",
    "pool_forward",
    "pool_backward_input",
    "pool_backward_weights",
)
"""What files of kernels are called, behind tensor_ or thrice_."""

PACKS_OF_SINGLE_VALUES = "packs of single values", ", 1, Warps", ", 2, Warps"

MUTANTS = [
    *(
        mutant
        for pass_ in WITH_POOLS
        for mutant in mutants_of(f"tensor_{pass_}.cu", f"tensor_{pass_}", PACKS_OF_SINGLE_VALUES)
    ),
    *mutants_of(
        "mma.cuh",
        "tensor_products",
        ("the second two chunks are the first", "row, two, a);", "row, 0, a);"),
        ("no barrier before a step", "settle(now + RIGHT);\n        __syncthreads();", "settle(now + RIGHT);"),
        (
            "a step too few is waited for",
            "else if (stages == 3) wait_for<1>();",
            "else if (stages == 3) wait_for<2>();",
        ),
        ("never a turn", "left.turn(), right.turn();\n        }", "}"),
        ("a row of the other half", "slot / 32 % 2 * 32 + slot % 8 * 4", "slot % 8 * 4"),
    ),
    *mutants_of(
        "mma_gather.cuh",
        "tensor_products",
        ("one row below the input", "order.rows) < (unsigned int)H", "order.rows) <= (unsigned int)H"),
        ("behind the sum", "is_inside = order.inside() &&", "is_inside ="),
        ("results behind the last", "if (lane < left) place[lane]", "place[lane]"),
    ),
    *mutants_of(
        "mma_forward.cuh",
        "tensor_products",
        ("a bias for each slice", "if (parts) b = nullptr, parts +=", "if (parts) parts +="),
        (
            "straight on into the next tap",
            "(tap + c.maps - first) / STEP)",
            "(tap + c.maps - first + STEP - 1) / STEP)",
        ),
        ("filters behind the last", "column < left && l < length", "l < length"),
    ),
    *mutants_of(
        "mma_backward_input.cuh",
        "tensor_products",
        ("filters of the next tap", "return first + at < c.filters", "return true"),
        ("windows go on", "rows = -row * down.back", "rows = row * down.back"),
        ("maps of the first group", "const int first = group * c.maps + n0;", "const int first = n0;"),
    ),
    *mutants_of(
        "mma_backward_weights.cuh",
        "tensor_products",
        ("positions behind the last", "const bool inside = position < end;", "const bool inside = true;"),
        ("what was there is forgotten", "if (accumulate) {", "if (false) {"),
        ("slices in one place", "((long long)number * c.K +", "((long long)0 +"),
    ),
    *mutants_of(
        "mma_pool.cuh",
        "tensor_products",
        ("a window is a row", "(window - line * across) * 2 + m % 2", "(window - line * across) * 2"),
        ("no bias", "b ? sum + bias.value[lane] : sum", "sum"),
    ),
    *mutants_of(
        "mma_unpool.cuh",
        "tensor_products",
        ("all switches point here", "if (half_of(where[pack].value[lane / 2], lane) != number[pack])", "if (false)"),
        ("windows behind the last", "column < 2u * behind_pool.W3;", "column < 2u * behind_pool.W3 + 1;"),
    ),
]
"""Changes of the kernels that the tests above must notice."""
