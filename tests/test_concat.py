"""Concatenation without a copy: the same bits in fewer bytes, and who may lie within whom."""

from dataclasses import replace

import numpy as np
import pytest

import gpunet
from gpunet import Model, PlanError
from gpunet.compile.concat import CONVOLUTIONS, READS, WRITES, concat_in_place
from gpunet.compile.in_place import in_place
from gpunet.devices import target
from gpunet.memory.plan import arrange, live_bytes
from gpunet.memory.validate_within import validate_within
from gpunet.planning.predict import op_bytes
from gpunet.program.program import Program, Within
from tests.graphs import random_graph
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw

STRIDED = [
    *((op, at, False) for op, places in READS.items() for at in places),
    *((op, at, True) for op, places in WRITES.items() for at in places),
    *((op, 0, True) for op in (*CONVOLUTIONS, "concat_backward")),
    ("concat_forward", 0, False),
    ("concat_forward", 1, False),
]
"""(op, position, whether among its outputs) of all that may be maps of a wider volume."""

NETS = {
    "branches": "INPUT[8x8x3] -> CONV3-4 -> RELU -> { CONV1-4 -> RELU | CONV1-4 -> RELU -> CONV3-8 -> RELU | "
    "POOL3(S=1, P=1) -> CONV1-3 } -> { CONV1-4 -> BN -> RELU | CONV3-5 -> BN -> RELU | ID } -> GAP -> FC-5",
    "dense": "INPUT[8x8x3] -> CONV3-4 -> BN -> RELU -> [{ ID | BN -> RELU -> CONV1-8 -> BN -> RELU -> CONV3-4 }]*3 -> "
    "BN -> CONV1-6 -> POOL2 -> [{ ID | BN -> CONV3-3 }]*2 -> BN -> RELU -> GAP -> FC-5",
    "dense without norms": "INPUT[8x8x3] -> CONV3-4 -> RELU -> [{ ID | CONV3-2 -> RELU }]*3 -> GAP -> FC-5",
}


@pytest.mark.parametrize(("op", "at", "made"), STRIDED)
def test_maps_of_a_wider_volume_give_the_same_bits(device, op, at, made):
    rng = np.random.default_rng(len(op) + at)
    for first, behind in ((4, 4), (3, 2)):  # whole packs, and none
        for dtype in (np.float32, np.float64):
            call = drawn(Draw(rng, dtype), op, device.name)
            position = at + len(call.inputs) if made else given_at(call, at)
            spec = call.outputs[at] if made else call.inputs[position]
            D = spec[0][-1] if isinstance(spec, tuple) else spec.shape[-1]
            wide = {position: (first, D + first + behind)}
            assert as_bytes(call.run(device, within=wide)) == as_bytes(call.run(device)), wide


@pytest.mark.parametrize("name", NETS)
def test_nets_learn_the_same_bits_with_and_without_copies(device, name):
    assert learnt(name, device) == learnt(name, device, without=("concat",))


@pytest.mark.parametrize("name", NETS)
def test_dropping_and_rounds_leave_what_is_learnt_but_for_rounding(name):
    options = dict(device="cpu", reserve=1, math="direct", scratch_limit="64KiB")
    net = gpunet.load(NETS[name])
    least = gpunet.plan(net, 6, budget=2, max_cost=9, **options).total_bytes
    plans = gpunet.plan(net, 6, budget=least + least // 10, max_cost=9, **options), gpunet.plan(net, 6, **options)
    assert plans[0].ways.dropped and plans[0].fits
    tight, wide = (learnt(name, "cpu", plan=plan) for plan in plans)
    for found, expected in zip(tight, wide, strict=True):
        np.testing.assert_allclose(np.frombuffer(found, "f4"), np.frombuffer(expected, "f4"), rtol=1e-3, atol=1e-5)


def test_maps_that_are_concatenated_are_made_where_they_go():
    plan = gpunet.plan(gpunet.load(NETS["branches"]), 6)
    places = {name: (place.whole, place.first) for name, place in plan.program.within.items()}
    assert places["relu2.y"] == ("concat1.y", 0) and places["relu4.y"] == ("concat1.y", 4)
    assert places["conv5.y"] == ("concat1.y", 12) and places["relu5.y"] == ("concat2.y", 0)
    assert "concat1.y" not in places, "the convolutions that read it know no stride"
    (moved,) = (op for op in plan.program.ops if op.name == "concat_forward" and op.layer == "concat2")
    assert moved.still == (0, 1)
    assert op_bytes(moved, 6) == 2 * plan.program.tensors["concat1.y"].nbytes


@pytest.mark.slow
def test_all_of_a_dense_block_lies_within_its_last_volume():
    net = gpunet.load("densenet121")
    with_it, copies = (gpunet.plan(net, 64, without=names) for names in ((), ("concat",)))
    wholes = {place.whole for place in with_it.program.within.values()}
    assert {"concat6.y", "concat18.y", "concat42.y", "concat58.y"} == {name for name in wholes if name.endswith(".y")}
    assert with_it.program.within["concat3.y"] == Within("concat6.y", 0)
    assert with_it.program.within["conv9.y"] == Within("concat6.y", 64 + 3 * 32)
    assert with_it.lower_bound_bytes < 0.73 * copies.lower_bound_bytes


def test_a_plan_counts_bytes_once_and_tells_where_a_part_lies():
    plan = gpunet.plan(gpunet.load(NETS["dense"]), 6)
    tensors = {one.name: one for one in plan.tensors}
    part, whole = tensors["conv3.y"], tensors["concat3.y"]
    assert (part.within, part.nbytes, part.offset) == ("concat3.y", 0, whole.offset + 4 * 4)
    assert whole.first <= part.first and part.last <= whole.last
    assert max(plan.live_bytes) == sum(one.nbytes for one in plan.alive(plan.peak_step) if not one.within)


@pytest.mark.parametrize("seed", range(6))
def test_no_peak_rises(seed):
    net = random_graph(np.random.default_rng(seed), layers=12)
    for device in ("cpu", "cuda"):
        peaks = [gpunet.plan(net, 4, device=device, without=names).lower_bound_bytes for names in ((), ("concat",))]
        assert peaks[0] <= peaks[1]


def test_a_volume_that_would_lie_idle_at_the_peak_is_joined_by_copying():
    text = "INPUT[32x32x3] -> { CONV1-64 | CONV3-64 -> RELU -> [CONV3-64 -> RELU]*4 -> CONV3-8 } -> BN -> GAP -> FC-5"
    program = gpunet.plan(gpunet.load(text), 6, mode="infer", device="cpu").program
    assert live_peak(concat_in_place(replace(program, within={}))) <= live_peak(replace(program, within={}))


def test_a_plan_in_which_something_else_stands_where_a_part_is_read_is_refused():
    program = dense()
    name, other = "conv3.y", "conv5.y"
    swapped = {**program.within, name: program.within[other], other: program.within[name]}
    with pytest.raises(PlanError, match="where something else stands"):
        arrange(replace(program, within=swapped))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (Within("concat3.y", 13), "cannot be the maps 13 to 17 of concat3.y"),
        (Within("concat3.y", -1), "cannot be the maps -1 to 3"),
        (Within("concat2.y", 0), "lies within concat2.y, which has no bytes of its own"),
        (Within("nothing", 0), "lies within nothing, which has no bytes"),
        (Within("input.images", 0), "cannot be the maps 0 to 4 of input.images"),
    ],
)
def test_a_part_must_fit_where_it_lies(place, message):
    program = dense()
    with pytest.raises(PlanError, match=message):
        validate_within(replace(program, within={**program.within, "conv3.y": place}))


def test_a_part_cannot_change_hands():
    program = dense()
    with pytest.raises(PlanError, match="changes hands"):
        validate_within(replace(program, takes_over={**program.takes_over, "relu3.y": "conv3.y"}))


def dense() -> Program:
    return gpunet.plan(gpunet.load(NETS["dense"]), 6, device="cpu").program


def live_peak(program: Program) -> int:
    return max(live_bytes(in_place(program)))


def learnt(name, device, **options) -> list[bytes]:
    """The parameters behind two steps of different sizes, in poisoned memory."""
    rng = np.random.default_rng(5)
    with Model(gpunet.load(NETS[name]), 6, device, seed=1, debug=True, **options) as model:
        for n in (6, 5):
            model.step(rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8), rng.integers(0, 5, n))
        return [value.tobytes() for value in model.parameters.values()]


def drawn(draw: Draw, op: str, device: str) -> Call:
    """A call that may write maps: of a convolution, one of an algorithm that the target says it of."""
    while True:
        call = draw.call(op)
        algorithm = call.attributes.get("algorithm", "im2col")
        fuses = "maps" in target(device).fusions.get(algorithm, ()) and call.attributes.get("slices", 1) == 1
        if op not in CONVOLUTIONS or fuses:
            return call


def given_at(call: Call, at: int) -> int:
    """The position among all inputs of the one at `at` of those that are given."""
    return [position for position, values in enumerate(call.inputs) if values is not None][at]


def as_bytes(arrays: list[np.ndarray]) -> list[bytes]:
    return [array.tobytes() for array in arrays]


MUTANTS = [
    *mutants_of(
        "merge.cu",
        "add_maps",
        ("positions of a side by side", "position * a_row + map", "position * D + map"),
        ("positions of b side by side", "position * b_row + map", "position * D + map"),
        ("packs across positions", "(D | a_row | b_row) % WIDTH == 0 && ", ""),
    ),
    *mutants_of(
        "relu.cu",
        "relu_backward_maps",
        ("gradients side by side", "dy + (position * dy_row + d)), outputs", "dy + (position * D + d)), outputs"),
        ("outputs side by side", "y + (position * y_row + d)", "y + (position * D + d)"),
        ("packs across positions", "(D | dy_row | y_row) % WIDTH == 0 && ", ""),
    ),
    *mutants_of(
        "relu.cu",
        "relu_mask_maps",
        ("the row does not end", "if (++d == D.number) d = 0, from += y_row;", "++d;"),
        ("the row begins again", "d = 0, from += y_row;", "d = 0;"),
        ("values of the next image", "values - in_image < 8 ? values - in_image : 8", "8"),
        ("all images alike", "(image * positions + position) * y_row", "position * y_row"),
    ),
    *mutants_of(
        "relu.cu",
        "relu_backward_masked_maps",
        ("positions side by side", "position * dy_row + (item", "position * D + (item"),
        ("bits of another value", ">> place % 8;", ";"),
        ("the mask of the first image", "mask[image * bytes + place / 8]", "mask[place / 8]"),
    ),
    *mutants_of(
        "batch_norm.cu",
        "rows of batch norm",
        (
            "of x, summed",
            "const auto values = load<COUNT>(x + row * x_row + k)",
            "const auto values = load<COUNT>(x + row * D + k)",
        ),
        ("of the first in a part", "load<COUNT>(x + first * x_row + k)", "load<COUNT>(x + first * D + k)"),
        ("of x, normalized", "(x + (row * x_row + k));\n            Pack", "(x + (row * D + k));\n            Pack"),
        ("of y", "store(y + (row * y_row + k)", "store(y + (row * D + k)"),
        ("of dy, summed", "load<COUNT>(dy + row * dy_row + k)", "load<COUNT>(dy + row * D + k)"),
        ("of dy, passed on", "load<COUNT>(dy + (row * dy_row + k))", "load<COUNT>(dy + (row * D + k))"),
        ("packs across rows", "return (D | one_row | other_row) % WIDTH == 0;", "return D % WIDTH == 0;"),
    ),
    *mutants_of(
        "plus_bias.cuh",
        "rows of implicit",
        ("side by side", "c.positions + position) * row", "c.positions + position) * c.K"),
        ("packs across positions", "(c.filters | row) % WIDTH == 0", "c.filters % WIDTH == 0"),
    ),
    *mutants_of(
        "winograd_convolve.cuh", "rows of winograd", ("side by side", "column) * y_row + k;", "column) * p.K + k;")
    ),
]
"""Changes of the kernels' rows that the tests above must notice."""
