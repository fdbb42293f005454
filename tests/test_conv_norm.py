"""Normalization in front of a convolution: the bits of the separate ops, in one op that makes no normalized volume."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

import gpunet
from gpunet import Model, Net
from gpunet.compile.fuse import FUSIONS
from gpunet.compile.recompute import saved
from gpunet.compile.ways import Ways
from gpunet.devices import target
from gpunet.devices.cpu.target import CpuTarget
from gpunet.devices.cuda import algorithms, tiles
from tests.geometries import COMMON, FILTERS, Geometry
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op
from tests.test_batch_norm import _batch_norm
from tests.test_conv import call_conv_backward_weights, call_conv_forward
from tests.test_fuse import plans
from tests.test_implicit import Case

GEOMETRIES = [*COMMON, *FILTERS][::3]
PLAIN = ("conv-norm",)

# -- ops -------------------------------------------------------------------------------------------


def numbers_of(rng: np.random.Generator, x: np.ndarray) -> list[np.ndarray]:
    """Mean, variance, scale and shift of maps; some shifts are far above 0, so that a padded 0 does not stay one."""
    D, dtype = x.shape[-1], np.dtype(np.float32) if x.dtype.itemsize == 2 else x.dtype
    return [rng.standard_normal(D).astype(dtype), rng.uniform(0.5, 2, D).astype(dtype)] + [
        rng.standard_normal(D).astype(dtype) + np.asarray(shift, dtype) for shift in (0, 2)
    ]


class Normed:
    """A convolution of a volume that is normalized first."""

    def __init__(self, rng, case):
        self.case = case
        self.numbers = numbers_of(rng, self.case.x)
        self.eps = 1e-5
        self.case.x[0, 0, 0, 0] = np.nan

    def apart(self, device, pass_, relu, **how) -> bytes:
        """Normalized by one op, multiplied by another."""
        x, name = self.case.x, "batch_norm_relu_forward" if relu else "batch_norm_forward"
        given = [x, *self.numbers, *([None] if relu else [])]
        (normal,) = run_op(device, name, given, [(x.shape, x.dtype)], eps=self.eps)
        self.case.x, before = normal.astype(x.dtype), x
        found = self.case.run(device, pass_, **how)
        self.case.x = before
        return found.tobytes()

    def together(self, device, pass_, relu, behind=None, within=None, onto=None, **how) -> np.ndarray:
        case = self.case
        (table,) = run_op(device, "norm_table", self.numbers, [((3, case.x.shape[-1]), case.dtype)], eps=self.eps)
        inputs, output = {
            "forward": ((case.x, case.w, case.b, table), case.dy.shape),
            "backward_weights": ((case.x, case.dy, table), case.w.shape),
        }[pass_]
        values = how.pop("values", how.get("slices", 1) * int(np.prod(output)))
        more = {"relu": int(relu), **({} if onto is None else {"accumulate": 1})}
        numbers = {**case.geometry.conv_numbers, **how, **more}
        made = case.dy.dtype if pass_ == "forward" else case.dtype
        outputs, scratch = [(output, made) if onto is None else onto], [None, ((values,), case.dtype)]
        places = {"behind": behind, "within": within}
        return run_op(device, f"conv_norm_{pass_}", inputs, outputs, scratch, **places, **numbers)[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_every_tile_gives_the_bits_of_the_ops_one_after_the_other(cuda_device, rng, geometry, dtype):
    """With packs and without, in slices, and of maps of a wider volume."""
    D, K = (4, 8) if rng.random() < 0.6 else (3, 5)
    normed = Normed(rng, Case(rng, geometry, dtype, D=D, K=K))
    wide = {0: (4, normed.case.x.shape[-1] + 8)}
    slices, relu = int(rng.integers(1, 4)), bool(rng.integers(0, 2))
    for pass_ in ("forward", "backward_weights"):
        how = {"algorithm": "implicit", "slices": slices}
        expected = normed.apart(cuda_device, pass_, relu, tile=4, **how)
        for tile in tiles.TILES:
            found = normed.together(cuda_device, pass_, relu, tile=tile, **how)
            assert found.tobytes() == expected, (pass_, tile)
        for places in ({"behind": {0: 1}}, {"behind": {1: 1}}, {"within": wide}):
            assert normed.together(cuda_device, pass_, relu, tile=2, **how, **places).tobytes() == expected, places


def test_tiles_that_are_partly_full_and_more_maps_than_a_turn(cuda_device, rng):
    for D, K, F in ((20, 132, 3), (72, 40, 1)):
        normed = Normed(rng, Case(rng, Geometry(7, 5, F=F, S=1, P=F // 2), N=2, D=D, K=K))
        for pass_ in ("forward", "backward_weights"):
            expected = normed.apart(cuda_device, pass_, True, algorithm="implicit", tile=4)
            for tile in tiles.TILES:
                assert normed.together(cuda_device, pass_, True, algorithm="implicit", tile=tile).tobytes() == expected


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("D, K, P", [(5, 8, 1), (36, 33, 0), (9, 40, (2, 1, 1, 2)), (8, 4, 2)])
def test_winograds_tiles_give_the_bits_of_the_ops_one_after_the_other(device, rng, D, K, P, relu):
    normed = Normed(rng, Case(rng, Geometry(7, 9, F=3, S=1, P=P), D=D, K=K))
    for algorithm in ("winograd2",) if device.name.startswith("cuda") else ("winograd2", "winograd4"):
        for pass_ in ("forward", "backward_weights"):
            how = {"algorithm": algorithm, "slices": 2, "values": 200_000}
            with_room = run_with_room(normed, device, pass_, relu, how)
            assert normed.together(device, pass_, relu, **how).tobytes() == with_room, (algorithm, pass_)


def run_with_room(normed: Normed, device, pass_: str, relu: bool, how: dict[str, Any]) -> bytes:
    """The separate ops with as much scratch."""
    case, x = normed.case, normed.case.x
    name = "batch_norm_relu_forward" if relu else "batch_norm_forward"
    given = [x, *normed.numbers, *([None] if relu else [])]
    (normal,) = run_op(device, name, given, [(x.shape, x.dtype)], eps=normed.eps)
    inputs, output = (
        ((normal, case.w, case.b), case.dy.shape) if pass_ == "forward" else ((normal, case.dy), case.w.shape)
    )
    numbers = {**case.geometry.conv_numbers, "algorithm": how["algorithm"], "slices": how["slices"]}
    scratch = [None, ((how["values"],), case.dtype)]
    return run_op(device, f"conv_{pass_}", inputs, [(output, case.dtype)], scratch, **numbers)[0].tobytes()


@pytest.mark.parametrize("algorithm", ["implicit", "winograd2"])
def test_a_gradient_is_added_to_what_was_there(cuda_device, rng, algorithm):
    normed = Normed(rng, Case(rng, Geometry(7, 6, F=3, S=1, P=1), D=8))
    normed.case.x[0, 0, 0, 0] = 0
    how = {"algorithm": algorithm, "tile": 4, "values": 200_000}
    found = normed.together(cuda_device, "backward_weights", True, **how)
    both = normed.together(cuda_device, "backward_weights", True, onto=normed.case.w.copy(), **how)
    np.testing.assert_array_equal(both, normed.case.w + found)


def test_zeros_around_the_volume_stay_zeros(device, rng):
    """A filter that sees padding alone gives its bias, though what is normalized there would not be 0."""
    normed = Normed(rng, Case(rng, Geometry(5, 6, F=(1, 2), S=1, P=(3, 2, 1, 4)), D=4))
    y = normed.together(device, "forward", False, algorithm="implicit", tile=4)
    np.testing.assert_array_equal(y[:, 0], np.broadcast_to(normed.case.b, y[:, 0].shape))


def test_no_other_algorithm_of_cuda_normalizes(cuda_device, rng):
    normed = Normed(rng, Case(rng, Geometry(5, 5, F=3, S=1, P=1)))
    for pass_ in ("forward", "backward_weights"):
        with pytest.raises(TypeError, match="no kernel normalizes what im2col reads"):
            normed.together(cuda_device, pass_, True, algorithm="im2col")


# -- programs --------------------------------------------------------------------------------------


def residual() -> Net:
    """Bottlenecks with a stride and a grouped convolution, ReLU behind some normalizations, none behind others."""
    return gpunet.load(
        "INPUT[8x8x3] -> CONV3-8 -> BN -> RELU -> { CONV1-8 -> BN -> RELU -> CONV3-8(S=2,P=1,fit=crop) -> BN -> RELU "
        "-> CONV1-16 -> BN + CONV1-16(S=2,fit=crop) -> BN } -> RELU -> CONV3-16 -> BN -> CONV3-16 -> BN -> RELU "
        "-> { CONV3-8(groups=2) | CONV1-4 } -> BN -> RELU -> CONV3-8 -> FC-4"
    )


def dense() -> Net:
    """Normalization of what lies among the maps of a wider volume."""
    block = "{ ID | BN -> RELU -> CONV1-16 -> BN -> RELU -> CONV3-8 }"
    return gpunet.load(f"INPUT[8x8x3] -> CONV3-16 -> {block} -> {block} -> BN -> RELU -> FC-3")


def ops_of(net: Net, without: tuple[str, ...] = (), **options) -> Counter[str]:
    options = {"device": "cuda", "max_cost": 0, "without": without, **options}
    return Counter(op.name for op in gpunet.plan(net, 4, **options).program.ops)


@pytest.fixture
def fusing(device, monkeypatch):
    """A device whose plans fuse, by Winograd where it is left to choose: the CPU's do nothing of the kind at ease."""
    fusions = dict(type(target(device.name)).fusions)
    if device.name == "cpu":
        fusions |= {name: (*fusions[name], "norm") for name in ("winograd2", "winograd4")}
        fusions |= {"im2col": (*fusions["im2col"], "norm")}
    monkeypatch.setattr(type(target(device.name)), "fusions", fusions)
    return device


def trained(net: Net, device, without=(), dtype="float32", **options) -> list[object]:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (4, *net.input.shape), np.uint8), rng.integers(0, 3, 4)
    with Model(net, 4, device, seed=1, dtype=dtype, without=without, debug=True, **options) as model:
        assert model.arena_bytes == model.plan.arena_bytes
        losses = [model.step(images[:n], labels[:n]) for n in (4, 3)]
        arrays = {**model.parameters, **{f"d{name}": one for name, one in model.gradients(images, labels).items()}}
        return [losses, model.forward(images).tobytes(), {name: one.tobytes() for name, one in arrays.items()}]


@pytest.mark.parametrize("net", [residual, dense])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_gives_the_same_bits(fusing, monkeypatch, net, dtype):
    expected = trained(net(), fusing, PLAIN, dtype)
    assert trained(net(), fusing, (), dtype) == expected
    assert ops_of(net(), device=fusing.name)["conv_norm_forward"]
    if fusing.name != "cpu" and dtype == "float32":
        monkeypatch.setattr(algorithms, "LAUNCH", -1e9)  # Winograd's where it suits
        assert trained(net(), fusing) == trained(net(), fusing, PLAIN)


def test_inference_gives_the_same_bits_without_a_normalized_volume(fusing):
    rng, net, found = np.random.default_rng(0), residual(), []
    images = rng.standard_normal((4, *net.input.shape))
    for without in ((), PLAIN, tuple(FUSIONS)):
        with Model(net, 4, fusing, seed=1, mode="infer", without=without, debug=True) as model:
            found.append(model.forward(images).tobytes())
    assert len(set(found)) == 1


def test_frozen_layers_what_is_made_again_and_rounds_give_the_same_bits(fusing):
    net = residual()
    for learning in (gpunet.Learning(freeze="bn1"), gpunet.Learning(freeze=("conv1", "bn1", "conv2", "bn2"))):
        assert trained(net, fusing, optimizer=learning) == trained(net, fusing, PLAIN, optimizer=learning)
    program = plans(net, Ways(1 << 20), True, fusing.name).program
    dropped = tuple(name for name, t in saved(program).items() if t.batched and name.endswith(".y"))
    assert len(dropped) > 3
    found = []
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((5, *net.input.shape)).astype("f"), rng.integers(0, net.classes, 5)
    for ways in (Ways(1 << 20), Ways(1 << 20, dropped)):
        with Model(net, 5, fusing, seed=4, plan=plans(net, ways, True, fusing.name), debug=True) as model:
            steps = [model.step(images, labels) for _ in range(2)]
            found.append((steps, {name: value.tobytes() for name, value in model.parameters.items()}))
    assert found[0] == found[1]


def test_what_is_normalized_is_nowhere_and_the_peak_is_lower():
    net = gpunet.load("resnet20")
    plan, apart = (gpunet.plan(net, 16, device="cuda", max_cost=0, without=names) for names in ((), PLAIN))
    there, before = ({t.name for t in one.tensors} for one in (plan, apart))
    gone = before - there
    assert len(gone) == 9 and all(name.endswith(".y") for name in gone)
    assert plan.arena_bytes < 0.85 * apart.arena_bytes
    assert ops_of(net)["norm_table"] == ops_of(net)["conv_norm_forward"] == 9
    assert ops_of(net)["conv_norm_backward_weights"] == 9 and len(plan.program.ops) == len(apart.program.ops)


def test_maps_of_a_wider_volume_are_normalized_where_they_lie():
    for names in ((), PLAIN):
        plan = gpunet.plan(dense(), 4, device="cuda", max_cost=0, without=names)
        assert plan.program.within
    fused = ops_of(dense())
    assert fused["conv_norm_forward"] == 4 and fused["batch_norm_relu_forward"] == 1


@pytest.mark.parametrize(
    "words, options",
    [
        ("INPUT[8x8x2] -> CONV3-4 -> BN -> RELU -> { CONV3-4 + ID } -> FC-3", {}),  # a sum reads it, too
        ("INPUT[8x8x2] -> CONV3-4 -> { BN + ID } -> RELU -> CONV3-4 -> FC-3", {}),  # something is added
        ("INPUT[8x8x2] -> CONV3-4 -> BN -> LRELU -> CONV3-4 -> FC-3", {}),
        ("INPUT[8x8x2] -> CONV3-4 -> BN -> RELU -> CONV3-4(groups=4) -> FC-3", {}),  # a kernel that does not
        ("INPUT[8x8x2] -> CONV3-4 -> BN -> RELU -> CONV3-4 -> FC-3", {"device": "cpu"}),
    ],
)
def test_where_others_read_or_something_else_is_done_it_stays_apart(words, options):
    assert ops_of(gpunet.load(words), **options)["norm_table"] == 0


def test_the_cpu_only_does_so_by_winograd():
    assert not any("norm" in what for name, what in CpuTarget.fusions.items() if not name.startswith("winograd"))


# Random calls of each op, for the tests that go through all ops.


def call_norm_table(draw: Draw) -> Call:
    x, each, eps = _batch_norm(draw)
    return Call("norm_table", tuple(each), (((3, x.shape[-1]), draw.dtype),), attributes=eps)


def _table(draw: Draw, x: np.ndarray) -> np.ndarray:
    table: np.ndarray = draw.values(3, x.shape[-1])
    return table


def _how(call: Call) -> dict[str, Any]:
    """The call's numbers, by an algorithm of CUDA's that normalizes."""
    how = {"algorithm": "implicit", "tile": 4, "slices": 1, **call.attributes}
    if how["algorithm"] not in ("implicit", "winograd2"):
        how |= {"algorithm": "implicit", "tile": 4, "slices": 1}
    return how


def call_conv_norm_forward(draw: Draw) -> Call:
    call = call_conv_forward(draw)
    x, w, b = call.inputs
    how = {**_how(call), "relu": draw.size(0, 1)}
    return Call("conv_norm_forward", (x, w, b, _table(draw, x)), call.outputs, call.scratch, how)


def call_conv_norm_backward_weights(draw: Draw) -> Call:
    call = call_conv_backward_weights(draw)
    x, dy = call.inputs
    how = {**_how(call), "relu": draw.size(0, 1)}
    return Call("conv_norm_backward_weights", (x, dy, _table(draw, x)), call.outputs, call.scratch, how)


MUTANTS = [
    *mutants_of(
        "conv_norm.cu",
        "norm_table",
        ("no eps", "sqrt(variance[k] + eps)", "sqrt(variance[k])"),
        ("no scale", "scale[k] / sqrt", "real(1) / sqrt"),
        ("the shift is not there", "table[2 * D + k] = shift[k]", "table[2 * D + k] = 0"),
        ("tail guard off by one", "k < D;", "k <= D;"),
    ),
    *mutants_of(
        "normalized.cuh",
        "normalized",
        ("no mean", "fma(value - mean, factor, shift)", "fma(value, factor, shift)"),
        ("no shift", "fma(value - mean, factor, shift)", "(value - mean) * factor"),
        ("padding is normalized", "return seen && !(found", "return !(found"),
        ("no ReLU", "seen && !(found < least) ?", "seen ?"),
        ("NaN is cut off", "!(found < least)", "found >= least"),
        ("of a tile, that of its first value", "seen & 1u << at", "seen & 1u"),
        ("the factor of a tile is its mean", "factor = table[maps + map]", "factor = table[map]"),
        ("maps of a group", "(int)(groups * maps)", "(int)maps"),
    ),
    *mutants_of(
        "implicit_norm_forward.cu",
        "norm_forward",
        ("the first map of the group is 0", "norm.table, map0 + order.along()", "norm.table, order.along()"),
        ("the map of the turn", "order.along() + step * DEPTH, norm", "order.along(), norm"),
        ("no step", "        step = further;\n", "        step = 0;\n"),
        ("what is outside is taken along", "norm.change(this->held, inside,", "norm.change(this->held, {true},"),
        ("windows of the first row", "windows[Share::row(pack)];", "windows[Share::row(0)];"),
    ),
    *mutants_of(
        "implicit_norm_backward_weights.cu",
        "norm_backward_weights",
        ("the first map of the group is 0", "group * c.maps + (n0", "(n0"),
        ("the tap is forgotten", "(n0 + threadIdx.x) % c.maps", "(n0 + threadIdx.x) % norm.maps"),
        ("of the first tile", "(n0 + threadIdx.x)", "threadIdx.x"),
        ("the row of the thread", "Seen::row(), T::N", "0, T::N"),
    ),
    *mutants_of(
        "winograd2_norm.cu",
        "norm_convolve",
        ("the map of the first step", "step * STEP + OwnTile::map()", "OwnTile::map()"),
        ("the first map of a step", "step * STEP + OwnTile::map()", "step * STEP"),
    ),
    *mutants_of(
        "winograd2_norm_weights.cu",
        "norm_sum_tiles",
        ("the maps of the first block", "held.seen, map0 + map()", "held.seen, map()"),
        ("one map for all", "held.seen, map0 + map()", "held.seen, map0"),
    ),
]
