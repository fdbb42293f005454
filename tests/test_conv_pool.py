"""Convolution with max pooling and ReLU behind it: bit for bit what the separate ops give, on each device."""

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import pytest

from gpunet.devices import open_device
from gpunet.devices.device import Device
from gpunet.errors import ShapeError
from gpunet.program.chunks import chunk_rows, chunks, strip_rows, strips
from gpunet.program.volume import output_size
from tests import oracle
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op
from tests.test_bias import counters
from tests.test_conv import draw_filters


@dataclass(frozen=True)
class Case:
    """A convolution and a pool over its output, arrays that fit, and scratch as a plan would give it."""

    x: np.ndarray
    w: np.ndarray
    b: np.ndarray | None
    dy: np.ndarray
    switches: np.ndarray
    conv: dict[str, int]
    pool: dict[str, int]
    rows: int

    @property
    def before(self) -> tuple[int, ...]:
        return (len(self.x), self.pool["H2"], self.pool["W2"], len(self.w))

    @property
    def windows(self) -> dict[str, int]:
        """Of the pool, as its own ops take them."""
        return {"F": self.pool["F"], "S": self.pool["S"], "P": 0}

    @property
    def numbers(self) -> dict[str, int]:
        return {**self.conv, **self.pool}

    def scratch(self, strips: int = 1) -> tuple[Any, ...]:
        """The im2col matrix, workspace for products, and the strip, which has so many times the rows of the matrix."""
        matrix, product = self.conv_scratch
        rows = min(strips * self.rows, prod(self.before[:3]))
        return matrix, product, ((rows, len(self.w)), self.x.dtype)

    @property
    def conv_scratch(self) -> tuple[Any, ...]:
        size = prod(self.w.shape[1:])
        return ((self.rows, size), self.x.dtype), ((max(64, self.w.size),), self.x.dtype)


def drawn(draw: Draw) -> Case:
    N, H, W, maps = draw.volume()
    while True:
        conv, extents, H2, W2 = draw_filters(draw, H, W)
        F = draw.size(1, 4)
        S, fit = F + draw.size(0, 1), draw.policy()
        try:
            H3, W3 = output_size(H2, F, S, 0, fit), output_size(W2, F, S, 0, fit)
        except ShapeError:
            continue
        break
    groups = draw.size(1, 2)
    D, K = groups * maps, groups * draw.depth()
    switches = lying(draw.rng.integers(0, F * F + 1, (N, H3, W3, K)), F)
    rows = chunk_rows(N, H2, W2, draw.size(1, N * H2 * W2))
    pool = {"H2": H2, "W2": W2, "F": F, "S": S}
    w, b = draw.values(K, *extents, maps), draw.values(K) if draw.rng.random() < 0.8 else None
    return Case(draw.values(N, H, W, D), w, b, draw.values(N, H3, W3, K), switches, conv, pool, rows)


def lying(switches: np.ndarray, F: int) -> np.ndarray:
    """Switches of windows of F x F, or of nowhere, as they lie in plans: two a byte, or a byte each."""
    return oracle.in_halves(switches) if F <= 3 else switches.astype(np.uint8)


def in_twos(case: Case, rng: np.random.Generator) -> Case:
    """The same convolution with a pool of 2 x 2 within its output, which a GPU makes in the kernel of the product.

    Of several groups each gets an even number of filters, so that none share a byte of switches.
    """
    if case.x.shape[3] > case.w.shape[3]:
        w, b = np.repeat(case.w, 2, axis=0), None if case.b is None else np.repeat(case.b, 2)
        case = replace(case, w=w, b=b)
    H2, W2 = (max(2, size) for size in case.before[1:3])  # positions outside x read zeros
    shape = len(case.x), H2 // 2, W2 // 2, len(case.w)
    pool = {"H2": H2, "W2": W2, "F": 2, "S": 2}
    switches = lying(rng.integers(0, 5, shape), 2)
    return replace(case, dy=rng.integers(-3, 4, shape).astype(case.x.dtype), switches=switches, pool=pool)


def of_winograd(draw: Draw, volume: tuple[int, int, int, int], K: int, P: tuple[int, int, int, int]) -> Case:
    """A convolution by 3 x 3 at stride 1 over N x H x W x D, with a pool of 2 x 2 behind it."""
    N, H, W, D = volume
    H2, W2 = max(2, H + P[0] + P[1] - 2), max(2, W + P[2] + P[3] - 2)
    conv = {"S_rows": 1, "S_columns": 1, "P_top": P[0], "P_left": P[2], "dilation_rows": 1, "dilation_columns": 1}
    pool, shape = {"H2": H2, "W2": W2, "F": 2, "S": 2}, (N, H2 // 2, W2 // 2, K)
    dy, switches = draw.values(*shape), lying(draw.rng.integers(0, 5, shape), 2)
    return Case(draw.values(N, H, W, D), draw.values(K, 3, 3, D), draw.values(K), dy, switches, conv, pool, 0)


def some(seed: int) -> Case:
    return drawn(Draw(np.random.default_rng(seed), (np.float32, np.float64)[seed % 2]))


def separately(device: Device, case: Case, relu: bool) -> tuple[np.ndarray, np.ndarray]:
    """Outputs and switches by an op for each; where ReLU gives 0, the switch points nowhere."""
    given = case.x, case.w, case.b
    outputs = [(case.before, case.x.dtype)]
    (before,) = run_op(device, "conv_forward", given, outputs, case.conv_scratch, **case.conv)
    shape, F = case.dy.shape, case.pool["F"]
    both = [(shape, case.x.dtype), (shape, np.uint8)]
    y, switches = run_op(device, "max_pool_forward", [before], both, **case.windows)
    if relu:
        (y,) = run_op(device, "relu_forward", [y], [(shape, case.x.dtype)])
        switches = np.where(y <= 0, F * F, switches)
    return y, lying(switches, F)


@pytest.mark.parametrize("relu", [0, 1])
@pytest.mark.parametrize("seed", range(8))
def test_forward_gives_the_bits_of_the_separate_ops(device, seed, relu):
    case = some(seed)
    case.x[0, 0, 0, 0] = np.nan
    wanted = separately(device, case, bool(relu))
    shape, S = case.dy.shape, case.pool["S"]
    both = [(shape, case.x.dtype), (case.switches.shape, np.uint8)]
    given = [case.x, case.w, case.b]
    found = run_op(device, "conv_pool_forward", given, both, case.scratch(S), **case.numbers, relu=relu)
    assert [one.tobytes() for one in found] == [one.tobytes() for one in wanted]


@pytest.mark.parametrize("relu", [0, 1])
@pytest.mark.parametrize("K", [1, 3, 7])
def test_the_last_of_an_odd_number_of_maps_has_a_byte_of_its_own(device, rng, K, relu):
    """Whatever stands at the next position, which comes right behind it."""
    case = of_winograd(Draw(rng), (2, 6, 8, 3), K, (1, 1, 1, 1))
    case = replace(case, b=np.linspace(-9, -1, K, dtype=np.float32), rows=2 * 6 * 8)
    both = [(case.dy.shape, case.x.dtype), (case.switches.shape, np.uint8)]
    found = run_op(
        device, "conv_pool_forward", [case.x, case.w, case.b], both, case.scratch(2), **case.numbers, relu=relu
    )
    assert [one.tobytes() for one in found] == [one.tobytes() for one in separately(device, case, bool(relu))]


@pytest.mark.parametrize("seed", range(4))
def test_inference_has_no_switches(device, seed):
    case = some(seed)
    y, _ = separately(device, case, True)
    scratch = case.scratch(case.pool["S"])
    arrays = [(y.shape, y.dtype)]
    call = Call("conv_pool_forward", (case.x, case.w, case.b), arrays, scratch, {**case.numbers, "relu": 1})
    assert without_switches(device, call)[0].tobytes() == y.tobytes()


def without_switches(device: Device, call: Call) -> list[np.ndarray]:
    """The call with None for switches, which stand behind y: as scratch that is not given."""
    return run_op(device, call.op, call.inputs, call.outputs, (None, *call.scratch), **call.attributes)


def unpooled(device: Device, case: Case) -> np.ndarray:
    outputs = [(case.before, case.x.dtype)]
    return run_op(device, "max_pool_backward", [case.dy, case.switches], outputs, **case.windows)[0]


@pytest.mark.parametrize("seed", range(8))
def test_backward_gives_the_bits_of_the_separate_ops(device, seed):
    case = some(seed)
    dz, dtype, behind = unpooled(device, case), case.x.dtype, [case.dy, case.switches]
    for accumulate in (0, 1):
        dw = np.ones_like(case.w) if accumulate else (case.w.shape, dtype)
        more = {"accumulate": accumulate}
        wanted = run_op(device, "conv_backward_weights", [case.x, dz], [dw], case.conv_scratch, **case.conv, **more)
        given = [case.x, *behind]
        found = run_op(device, "conv_pool_backward_weights", given, [dw], case.scratch(), **case.numbers, **more)
        assert found[0].tobytes() == wanted[0].tobytes()
    dx = [(case.x.shape, dtype)]
    (wanted,) = run_op(device, "conv_backward_input", [dz, case.w], dx, case.conv_scratch, **case.conv)
    (found,) = run_op(device, "conv_pool_backward_input", [*behind, case.w], dx, case.scratch(), **case.numbers)
    assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("block_rows", [7, 64, 512])
@pytest.mark.parametrize("seed", range(4))
def test_the_bias_gradient_has_the_bits_of_the_one_before_the_pool(device, seed, block_rows):
    case = some(seed)
    dz, K, dtype = unpooled(device, case), len(case.w), case.x.dtype
    partials = [((-(-dz.size // (K * block_rows)), K), dtype)]
    for accumulate in (0, 1):
        db = np.ones(K, dtype) if accumulate else ((K,), dtype)
        numbers = {"block_rows": block_rows, "accumulate": accumulate}
        (wanted,) = run_op(device, "bias_backward", [dz, counters(K)], [db], partials, **numbers)
        given = [case.dy, case.switches]
        (found,) = run_op(device, "conv_pool_backward_bias", given, [db], partials, **case.pool, **numbers)
        assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("seed", range(4))
def test_values_are_those_of_the_definition(device, seed):
    case = some(2 * seed + 1)  # float64
    before = oracle.conv_forward(case.x, case.w, case.b, *case.before[1:3], **case.conv)
    expected, _ = oracle.max_pool(before, *case.dy.shape[1:3], **case.windows)
    shape, scratch = case.dy.shape, case.scratch(case.pool["S"])
    both = [(shape, case.x.dtype), (case.switches.shape, np.uint8)]
    given = [case.x, case.w, case.b]
    y, _ = run_op(device, "conv_pool_forward", given, both, scratch, **case.numbers, relu=1)
    oracle.assert_near(y, np.maximum(expected, 0))


def test_the_cpu_takes_every_algorithm_without_scratch():
    cpu, case = open_device("cpu"), some(3)
    y, switches = separately(cpu, case, True)
    both = [(y.shape, y.dtype), (switches.shape, switches.dtype)]
    numbers, none = {**case.numbers, "algorithm": "implicit"}, (None, None, None)
    found = run_op(cpu, "conv_pool_forward", [case.x, case.w, case.b], both, none, **numbers, relu=1)
    oracle.assert_near(found[0], y)
    np.testing.assert_array_equal(found[1], switches)
    dz, behind = unpooled(cpu, case), [case.dy, case.switches]
    dx, dw = oracle.conv_backward(case.x, case.w, dz, **case.conv)
    found = run_op(cpu, "conv_pool_backward_weights", [case.x, *behind], [(dw.shape, dw.dtype)], none, **numbers)
    oracle.assert_near(found[0], dw)
    found = run_op(cpu, "conv_pool_backward_input", [*behind, case.w], [(dx.shape, dx.dtype)], none, **numbers)
    oracle.assert_near(found[0], dx)


@pytest.mark.parametrize("tile", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_one_kernel_gives_the_bits_of_the_separate_ones(cuda_device, seed, tile):
    """By "implicit"; whatever the tile, and whether the sums of gradients are cut into slices."""
    case = in_twos(some(seed), np.random.default_rng(seed))
    conv = {**case.conv, "algorithm": "implicit", "tile": tile}
    dtype, none, behind = case.x.dtype, (None, None), [case.dy, case.switches]
    given = [case.x, case.w, case.b]
    (before,) = run_op(cuda_device, "conv_forward", given, [(case.before, dtype)], none, **conv)
    both = [(case.dy.shape, dtype), (case.switches.shape, np.uint8)]
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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "N, H, W, D, K, P",
    [
        (2, 9, 14, 5, 8, (1, 1)),
        (1, 8, 11, 36, 33, (1, 1)),
        (1, 8, 11, 36, 34, (1, 1)),
        (3, 6, 9, 9, 40, (2, 1)),
        (2, 7, 8, 8, 12, (0, 2)),
    ],
)
def test_winograds_kernels_give_the_bits_of_the_separate_ones(cuda_device, rng, N, H, W, D, K, P, dtype):
    """Odd outputs, whose last row no window sees; packs and none; padding by which tiles begin within a window, and
    with one; several blocks both ways."""
    case = of_winograd(Draw(rng, dtype), (N, H, W, D), K, (P[0], 1, P[1], 1))
    case.x[0, 2, 3, 0] = np.nan
    scratch, behind = (None, ((3 * 16 * K * D,), dtype)), [case.dy, case.switches]
    conv = {**case.conv, "algorithm": "winograd2"}
    given, before = [case.x, case.w, case.b], [(case.before, dtype)]
    (plain,) = run_op(cuda_device, "conv_forward", given, before, scratch, **conv)
    (found,) = run_op(cuda_device, "conv_relu_forward", given, before, scratch, **conv)
    assert found.tobytes() == np.maximum(plain, 0).tobytes()
    both = [(case.dy.shape, dtype), (case.switches.shape, np.uint8)]
    y, switches = run_op(cuda_device, "max_pool_forward", [plain], both, **case.windows)
    for relu in (0, 1):
        found = run_op(cuda_device, "conv_pool_forward", given, both, (*scratch, None), **conv, **case.pool, relu=relu)
        assert [found[0].tobytes(), found[1].tobytes()] == [y.tobytes(), switches.tobytes()]
        switches, y = lying(np.where(y <= 0, 4, oracle.of_halves(switches, K)), 2), np.maximum(y, 0)
    x, dz = np.nan_to_num(case.x), unpooled(cuda_device, case)
    for slices in (1, 3):
        numbers = {**conv, "slices": slices}
        dw, dx = [(case.w.shape, dtype)], [(x.shape, dtype)]
        wanted = run_op(cuda_device, "conv_backward_weights", [x, dz], dw, scratch, **numbers)
        wanted += run_op(cuda_device, "conv_backward_input", [dz, case.w], dx, scratch, **numbers)
        numbers, strip = {**numbers, **case.pool}, (*scratch, None)
        found = run_op(cuda_device, "conv_pool_backward_weights", [x, *behind], dw, strip, **numbers)
        found += run_op(cuda_device, "conv_pool_backward_input", [*behind, case.w], dx, strip, **numbers)
        assert [one.tobytes() for one in found] == [one.tobytes() for one in wanted]


@pytest.mark.parametrize("P", [0, 1, 2])
@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("D, K, values", [(5, 7, 40_000), (150, 130, 400_000), (130, 150, 2_000_000)])
def test_tiles_of_winograd_are_pooled_and_made_of_what_is_pooled(m, P, D, K, values):
    """Few maps, whose filters stay changed, and many, whose tiles do; odd outputs, whose last row is not seen."""
    cpu, rng = open_device("cpu"), np.random.default_rng(P)
    N, H, W = 3, 9, 14
    H2, W2 = H + 2 * P - 2, W + 2 * P - 2
    x, w, b = (rng.standard_normal(shape).astype("f") for shape in ((N, H, W, D), (K, 3, 3, D), (K,)))
    x[0, 0, 0, 0] = np.nan
    conv = {
        "S_rows": 1,
        "S_columns": 1,
        "P_top": P,
        "P_left": P,
        "dilation_rows": 1,
        "dilation_columns": 1,
        "algorithm": f"winograd{m}",
    }
    pool, scratch = {"H2": H2, "W2": W2, "F": 2, "S": 2}, (None, ((values,), np.float32))
    behind = N, H2 // 2, W2 // 2, K
    both = [(behind, np.float32), ((*behind[:3], -(-K // 2)), np.uint8)]
    (before,) = run_op(cpu, "conv_forward", [x, w, b], [((N, H2, W2, K), np.float32)], scratch, **conv)
    y, switches = run_op(cpu, "max_pool_forward", [before], both, F=2, S=2, P=0)
    switches = lying(np.where(y <= 0, 4, oracle.of_halves(switches, K)), 2)
    found = run_op(cpu, "conv_pool_forward", [x, w, b], both, (*scratch, None), **conv, **pool, relu=1)
    assert [one.tobytes() for one in found] == [np.maximum(y, 0).tobytes(), switches.tobytes()]
    (found,) = run_op(cpu, "conv_relu_forward", [x, w, b], [(before.shape, np.float32)], scratch, **conv)
    assert found.tobytes() == np.maximum(before, 0).tobytes()
    x, dy = np.nan_to_num(x), rng.standard_normal(behind).astype("f")
    (dz,) = run_op(cpu, "max_pool_backward", [dy, switches], [(before.shape, np.float32)], F=2, S=2, P=0)
    dw, dx = [(w.shape, np.float32)], [(x.shape, np.float32)]
    wanted = run_op(cpu, "conv_backward_weights", [x, dz], dw, scratch, **conv)
    wanted += run_op(cpu, "conv_backward_input", [dz, w], dx, scratch, **conv)
    numbers, scratch = {**conv, **pool}, (*scratch, None)
    found = run_op(cpu, "conv_pool_backward_weights", [x, dy, switches], dw, scratch, **numbers)
    found += run_op(cpu, "conv_pool_backward_input", [dy, switches, w], dx, scratch, **numbers)
    assert [one.tobytes() for one in found] == [one.tobytes() for one in wanted]


def test_strips_end_where_windows_do_and_hold_every_chunk():
    for N, H2, W2, rows, S in ((3, 10, 4, 12, 2), (2, 9, 5, 20, 3), (5, 4, 3, 24, 2), (1, 7, 2, 2, 4)):
        found = list(strips(N, H2, W2, rows, S))
        assert [chunk for strip in found for chunk in strip] == list(chunks(N, H2, W2, rows))
        for strip in found:
            assert strip[0][2] % S == 0 and (strip[-1][3] % S == 0 or strip[-1][3] == H2)
            (image0, image1, row0, _), row1 = strip[0], strip[-1][3]
            assert (image1 - image0) * (row1 - row0) * W2 <= strip_rows(H2, W2, rows, S)


# Random calls of each op, for the tests that go through all ops.


def by_some_algorithm(draw: Draw, strips: int = 0) -> tuple[Case, tuple[Any, ...], dict[str, Any]]:
    """A case, scratch and numbers for "im2col" or, most of the time, for "implicit" with a tile or "winograd2"."""
    how = draw.rng.random()
    if how < 0.3:
        case = of_winograd(draw, draw.volume(), draw.depth(), tuple(draw.size(0, 3) for _ in range(4)))
        slices, values = draw.size(1, 3), 16 * len(case.w) * case.x.shape[3]
        numbers = {**case.numbers, "algorithm": "winograd2", "slices": slices}
        return case, (None, ((slices * values,), draw.dtype), None), numbers
    case = drawn(draw)
    if how < 0.65:
        return case, case.scratch(strips or case.pool["S"]), case.numbers
    case, tile = in_twos(case, draw.rng), draw.size(1, 4)
    return case, (None, None, None), {**case.numbers, "algorithm": "implicit", "tile": tile}


def call_conv_pool_forward(draw: Draw) -> Call:
    case, scratch, numbers = by_some_algorithm(draw)
    outputs = (case.dy.shape, draw.dtype), (case.switches.shape, np.uint8)
    attributes = {**numbers, "relu": draw.size(0, 1)}
    return Call("conv_pool_forward", (case.x, case.w, case.b), outputs, scratch, attributes)


def call_conv_pool_backward_weights(draw: Draw) -> Call:
    case, scratch, numbers = by_some_algorithm(draw, strips=1)
    dw, accumulate = draw.sum(case.w.shape)
    given = case.x, case.dy, case.switches
    return Call("conv_pool_backward_weights", given, (dw,), scratch, {**numbers, **accumulate})


def call_conv_pool_backward_input(draw: Draw) -> Call:
    case, scratch, numbers = by_some_algorithm(draw, strips=1)
    given, dx = (case.dy, case.switches, case.w), (case.x.shape, draw.dtype)
    return Call("conv_pool_backward_input", given, (dx,), scratch, numbers)


def call_conv_pool_backward_bias(draw: Draw) -> Call:
    case = drawn(draw)
    db, accumulate = draw.sum((len(case.w),))
    block_rows = draw.size(1, 200)
    partials = (-(-prod(case.before[:3]) // block_rows), len(case.w)), draw.dtype
    numbers = {**case.pool, "block_rows": block_rows, **accumulate}
    return Call("conv_pool_backward_bias", (case.dy, case.switches), (db,), (partials,), numbers)


MUTANTS = [
    *mutants_of(
        "conv_pool.cu",
        "unpool",
        (
            "windows that overlap",
            "row / S, j = column / S, f_row = row - i * S.number",
            "row / F, j = column / S, f_row = row - i * F",
        ),
        (
            "columns by F",
            "j = column / S, f_row = row - i * S.number, f_column = column - j * S.number",
            "j = column / F, f_row = row - i * S.number, f_column = column - j * F",
        ),
        ("rows behind the last window", "if (i >= H3 || j >= W3", "if (j >= W3"),
        ("columns behind the last window", "i >= H3 || j >= W3", "i >= H3"),
        ("rows between windows", "|| f_row >= F ||", "||"),
        ("columns between windows", " || f_column >= F) return", ") return"),
        ("the first position is forgotten", "switches, first + position,", "switches, position,"),
        ("every position of a window", "where == f_row * F + f_column ?", "true ?"),
        ("tail guard off by one", "item < positions * pooled.K.number;", "item <= positions * pooled.K.number;"),
    ),
    *mutants_of(
        "implicit_pool_forward.cu",
        "pool_forward",
        (
            "columns before rows",
            "* 2 + m / 2 % 2, j = (window - line * across) * 2 + m % 2",
            "* 2 + m % 2, j = (window - line * across) * 2 + m / 2 % 2",
        ),
        ("no bias", "biased ? sum + bias : sum", "sum"),
    ),
    *mutants_of(
        "maximum.cuh",
        "maximum",
        ("the last maximum", "if (beats(four[at], value))", "if (!beats(value, four[at]))"),
        ("a gradient where ReLU gives 0", "value = real(0), number = 4;", "value = real(0);"),
        ("ReLU always", "if (relu && value", "if (value"),
    ),
    *mutants_of(
        "winograd2_pool.cu",
        "pool_convolve",
        ("no bias", "tile[1][1] + bias};", "tile[1][1]};"),
        ("columns before rows", "tile[0][1] + bias, tile[1][0] + bias", "tile[1][0] + bias, tile[0][1] + bias"),
        ("switches of no one", "if (!switches) return;", ""),
        ("filters behind the last", "if (there) y[", "y["),
        ("the switch of no filter", "there ? found.number : 0, next", "found.number, next"),
        (
            "rows of another pool",
            "(at.image * p.down() + at.row) * p.across()",
            "(at.image * p.down() + at.row) * p.W2",
        ),
    ),
    *mutants_of(
        "winograd2_pool.cu",
        "unpool_convolve",
        ("every position of a window", "where == number ? held.tile[i][j]", "true ? held.tile[i][j]"),
        ("the window of another row", "i = (row + 1) / 2, j", "i = row / 2, j"),
        ("columns before rows", "(row + 1) % 2 * 2 + (column + 1) % 2;", "(column + 1) % 2 * 2 + (row + 1) % 2;"),
        ("windows behind the last", "inside<3>(row, column, behind.H3, behind.W3)", "inside<3>(row, column, p.H, p.W)"),
        ("maps behind the last", "OwnTile::inside(step, p) ? source.seen : 0", "source.seen"),
        ("the gradient of another column", "row % 2 * 2 + column % 2", "row % 2 * 2"),
        ("rows that no window sees", "(unsigned int)row < 2u * behind.H3 &&", "row >= 0 &&"),
    ),
    *mutants_of(
        "winograd2_pool_weights.cu",
        "unpool_sum_tiles",
        ("every position of a window", "held.switches[0][0] == number ?", "true ?"),
        ("rows that no window sees", "at.row < behind.H3 && at.column", "at.column"),
        ("columns that no window sees", " && at.column < behind.W3) {", ") {"),
        ("tiles of the next slice", "step < source.seen && at.row", "source.seen && at.row"),
        (
            "the tile before",
            "at.next(STEP, t.down(), t.across());\n    }\n    __device__ void put",
            "}\n    __device__ void put",
        ),
    ),
    *mutants_of(
        "behind_pool.cuh",
        "pool_backward_input",
        ("every position of a window", "if (others & 0xfu << 4 * lane)", "if (false)"),
    ),
    *mutants_of(
        "unpool.cuh",
        "pool_backward_input",
        ("rows behind the last window", "(unsigned int)row < 2u * behind.H3 &&", "row >= 0 &&"),
        ("the gradient of another column", "pack, (row & 1) * 2 + (column & 1)", "pack, (row & 1) * 2"),
    ),
    *mutants_of(
        "unpool.cuh",
        "pool_backward_weights",
        ("windows of the first image", "(number * behind.H3 + (row >> 1))", "(row >> 1)"),
        ("positions that no window sees", "column < 2 * behind.W3 && at", "at"),
        ("the same number for all", "switched.from(pack, pooled & 3);", "switched.from(pack, 0);"),
    ),
    *mutants_of(
        "conv_pool.cu",
        "relu_and_switches",
        ("NaN becomes 0", "!(y[item] <= real(0))", "y[item] > real(0)"),
        ("0 is let through", "!(y[item] <= real(0))", "!(y[item] < real(0))"),
        ("switches stay", "if (switches) switches[item] = (unsigned char)nowhere;", ""),
        ("switches where there are none", "if (switches) switches", "switches"),
        ("tail guard off by one", "item < count;", "item <= count;"),
    ),
    *mutants_of(
        "conv_pool.cu",
        "relu_and_halves",
        ("0 is let through", "*value <= real(0))", "*value < real(0))"),
        ("the odd one's partner", "lane < 2 && 2 * pair + lane < K;", "lane < 2;"),
        ("both go nowhere", "where[lane] = nowhere;", "where[0] = where[1] = nowhere;"),
        ("switches stay", "switches[item] = both(where[0], where[1]);", ""),
    ),
    *mutants_of(
        "conv_pool.cu",
        "sum_unpooled_rows",
        ("the last row alone", "so_far.of[0].value[0] += pooled", "so_far.of[0].value[0] = pooled"),
        ("sums of another map", "switches, (Index)row, (Index)k);", "switches, (Index)row, 0);"),
        ("maps that are not there", "writes() && k < K", "writes()"),
    ),
]
