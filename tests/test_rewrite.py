"""Rewrites that cost nothing: every value stays as it was, bit for bit, and the peak does not rise."""

from itertools import combinations

import numpy as np
import pytest

import gpunet
from gpunet import ConfigError, Kind, MaxPool, Model, Net
from gpunet.compile.chunk import run_in_chunks
from gpunet.compile.fuse import FUSIONS
from gpunet.compile.lower import lower
from gpunet.compile.recompute import recompute
from gpunet.compile.rewrite import REWRITES, rewrite
from gpunet.devices import target
from gpunet.memory.plan import live_bytes
from gpunet.optimize.optimizers import Momentum
from tests.nets import random_net, small, vgg16

FUSED = (*FUSIONS, "late-unpool", "late-conv-norm")
"""Those that make several ops one: tests/test_fuse.py."""

CALLS = ("joint-updates", "spare-masks", "conv-slope", "sum-slope")
"""Those that make fewer calls at the same peak."""

OF_ONE = [name for name in REWRITES if name != "overlap"]
"""Those that change anything where there is one rank: for several see tests/test_rank_plans.py."""

ONE = [without for count in (0, 1, len(OF_ONE) - 1) for without in combinations(OF_ONE, count)]
TWO = [without for count in (2, len(OF_ONE) - 2) for without in combinations(OF_ONE, count)]
SUBSETS = [*ONE, *TWO[::2]]
"""Without any of the rewrites, without one and with one alone; half of those without two and with two alone."""


def train(net: Net, device, without, seed: int = 3):
    """Losses, gradients and parameters, as bytes, of three steps with batches of different sizes."""
    rng = np.random.default_rng(seed)
    model = Model(net, 4, device, seed=seed, without=without, debug=True, scratch_limit=3000)
    found = []
    for n in (4, 3, 4):
        images = rng.standard_normal((n, *net.input.shape)).astype(np.float32)
        labels = rng.integers(0, net.classes, n)
        found.append({name: value.tobytes() for name, value in model.gradients(images, labels).items()})
        found.append(model.step(images, labels))
    found.append({name: value.tobytes() for name, value in model.parameters.items()})
    model.close()
    return found


@pytest.mark.parametrize("pairs", [8, pytest.param(len(SUBSETS), marks=pytest.mark.slow)])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
def test_subsets_of_the_rewrites_give_the_same_bits(device, seed, pairs):
    rng = np.random.default_rng(40 + seed)
    net = small() if seed == 0 else random_net(rng, layers=8)
    plain = train(net, device, tuple(OF_ONE))
    singles = [without for without in SUBSETS if len(without) in (0, 1, len(OF_ONE) - 1)]
    others = [SUBSETS[i] for i in rng.permutation(len(SUBSETS))[:pairs]] if seed == 0 else []
    for without in dict.fromkeys((*singles, *others)):
        assert train(net, device, without) == plain, without


@pytest.mark.parametrize("name", [name for name in OF_ONE if name not in (*FUSED, *CALLS)])
def test_each_rewrite_lowers_the_peak_of_a_net_that_has_what_it_is_for(name):
    first = [gpunet.Conv(16), gpunet.ReLU()]
    nets = {"in-place": [*first, gpunet.FC(2)], "relu-masks": [*first, gpunet.Conv(2), gpunet.FC(2)]}
    net = Net("32x32x3", nets[name]) if name in nets else vgg16()
    if name == "concat":
        net = gpunet.load("INPUT[16x16x3] -> CONV3-8(P=1) -> [{ ID | BN -> CONV3-8(P=1) }]*4 -> FC-2")
    others = tuple(other for other in REWRITES if other != name)
    program = lower(
        net,
        batch=16,
        mode="train",
        dtype="float32",
        optimizer=Momentum(),
        target=target("cpu"),
        scratch_limit_bytes=2**20,
    )
    with_it, nothing = (max(live_bytes(rewrite(program, without))) for without in (others, REWRITES))
    assert with_it < nothing


def test_all_together_reach_what_a_static_plan_can_reach():
    for batch in (64, 256):  # scratch and parameters are in both, so they drop out of the difference
        once, twice = (gpunet.plan(vgg16(), images).lower_bound_bytes for images in (batch, 2 * batch))
        assert (twice - once) / batch <= 38.5e6


def test_masks_lower_the_peak_whatever_else_is_saved():
    for batch in (16, 512):
        peaks = [
            gpunet.plan(vgg16(), batch, without=names).lower_bound_bytes for names in (FUSED, (*FUSED, "relu-masks"))
        ]
        assert peaks[0] < peaks[1]


def test_the_output_of_a_relu_is_gone_while_its_gradient_is_made():
    program = gpunet.plan(vgg16(), 2, without=(*FUSED, "spare-masks")).program
    masked = [op for op in program.ops if op.name == "relu_backward_masked"]
    assert len(masked) == 15  # every ReLU of VGG-16
    for op in masked:
        dy, mask = op.inputs
        y = next(one.inputs[0] for one in program.ops if mask in one.outputs)
        makes_dy = next(step for step, one in enumerate(program.ops) if dy in one.outputs)
        assert program.lifetimes[y.name][1] <= makes_dy
        assert mask.shape == (2, y.nbytes // y.shape[0] // 4 // 8)


def in_rounds(net: Net, cut: str, images: int, dropped=()):
    """A program of 6 images, some activations made again, what stands before the cut in rounds; savings to come."""
    options = dict(optimizer=Momentum(), target=target("cpu"), scratch_limit_bytes=3000, accumulates=True)
    program = lower(net, batch=6, mode="train", dtype="float32", **options)
    program = rewrite(program, only=["pool-before-relu", "small-switches"])
    program = recompute(program, dropped)
    return run_in_chunks(program, cut, images) if images else program


def deep() -> Net:
    layers = [layer for K in (5, 6, 7, 3) for layer in (gpunet.Conv(K), gpunet.ReLU())]
    return Net("7x5x3", [*layers, gpunet.FC(4)])


@pytest.mark.parametrize("cut", ["relu1.y", "conv2.y", "relu2.y", "relu3.y"])
def test_masks_and_updates_stand_right_in_programs_with_loops(cut):
    before = in_rounds(deep(), cut, 2)
    program = rewrite(before, skip=["in-place", *FUSED])
    for old, new in zip(before.loops, program.loops, strict=True):
        inside = [op for op in program.ops[new.first : new.last] if op.name != "relu_mask"]
        assert [op.layer for op in inside] == [op.layer for op in before.ops[old.first : old.last]]
        assert all(op.phase != "update" for op in inside)
    for op in (op for op in program.ops if op.name == "relu_mask"):
        (y,), (mask,) = op.inputs, op.outputs
        step = program.ops.index(op)
        loop = program.loop_at(step)
        reader = next(s for s, one in enumerate(program.ops) if mask in one.inputs)
        together = loop is not None and loop is program.loop_at(reader)
        assert mask.shape[0] == y.shape[0] == (2 if together else 6)
        assert step < reader
        assert y in program.ops[step - 1].inputs
        assert not any(y in one.inputs for one in program.ops[step + 1 :])


def test_an_output_that_a_loop_holds_anyway_has_no_mask():
    """The rounds of the forward loop leave their parts of relu1.y to the backward loop, which holds all of it."""
    program = rewrite(in_rounds(deep(), "relu2.y", 2))
    made = {t.layer for op in program.ops if op.name == "relu_mask" for t in op.outputs}
    assert made == {"relu2", "relu3", "relu4"}


def test_an_output_that_is_made_again_gets_its_own_mask():
    program = rewrite(in_rounds(deep(), "", 0, dropped=["relu2.y"]))
    assert "relu2.y.again.mask" in program.tensors  # and no name stands for two tensors
    assert program.lifetimes["relu2.y.again"][1] <= program.lifetimes["conv3.dx"][0]


def test_the_volume_before_a_pool_dies_at_the_pool():
    plan = gpunet.plan(vgg16(), 2, without=FUSED)
    at = {t.name: t for t in plan.tensors}
    pool = next(step for step, op in enumerate(plan.program.ops) if op.name == "max_pool_forward")
    assert at["conv2.y"].last == pool + 1
    assert plan.program.ops[pool + 1].name == "relu_forward"


def test_one_gradient_of_a_parameter_is_alive_at_a_time():
    plan = gpunet.plan(vgg16(), 2, without=["joint-updates"])
    for step in range(plan.steps):
        layers = {t.layer for t in plan.alive(step) if t.kind is Kind.PARAMETER_GRADIENT}
        assert len(layers) <= 1


def test_no_parameter_is_read_after_its_update():
    for net in (vgg16(), small()):
        program = gpunet.plan(net, 2).program
        updated: set[str] = set()
        for op in program.ops:
            assert not updated & {t.name for t in op.inputs}
            if op.phase == "update":
                updated |= {t.name for t in op.outputs if t.kind is Kind.PARAMETER}
        assert updated == {p.tensor.name for p in program.parameters}


@pytest.mark.parametrize("D", [2, 5])
def test_switches_take_half_a_byte_up_to_windows_of_15_places_and_a_byte_up_to_256(D):
    for F, nbytes in ((2, -(-D // 2)), (3, -(-D // 2)), (4, D), (16, D), (17, 4 * D)):
        net = Net("34x34x2", [MaxPool(F), gpunet.Conv(2), gpunet.FC(3)], fit="crop")
        learning = Net("34x34x2", [gpunet.Conv(D), MaxPool(F), gpunet.FC(3)], fit="crop")
        assert "pool1.switches" not in {t.name for t in gpunet.plan(net, 1, mode="infer").tensors}
        switches = next(t for t in gpunet.plan(learning, 1).tensors if t.name == "pool1.switches")
        assert switches.nbytes == np.prod(switches.tensor.shape[:3]) * nbytes


def test_an_unknown_rewrite_is_refused_with_a_hint():
    with pytest.raises(ConfigError, match="no rewrite 'pool-before-rellu' to leave out; did you mean pool-before-relu"):
        gpunet.plan(small(), 2, without=["pool-before-rellu"])
    with pytest.raises(
        ConfigError,
        match="there are pool-before-relu, small-switches, conv-pool, conv-relu, unpool, norm-relu, conv-norm, late-",
    ):
        gpunet.plan(small(), 2, without=["xyz"])


@pytest.mark.parametrize("name", ["vgg16", "resnet20", "googlenet"])
def test_masks_that_lower_no_peak_are_not_made(name):
    for budget in (None, "3GiB"):
        spared, masked = (
            gpunet.plan(gpunet.load(name), 16, device="cuda", budget=budget, without=without)
            for without in ([], ["spare-masks"])
        )
        assert max(live_bytes(spared.program)) <= max(live_bytes(masked.program))
        assert spared.arena_bytes <= 1.001 * masked.arena_bytes
        masks = [sum(op.name == "relu_mask" for op in plan.program.ops) for plan in (spared, masked)]
        assert masks[0] < masks[1]


def test_where_the_peak_is_masks_stay():
    """The output of the first ReLU is as large as all else together, and its gradient too."""
    net = Net("32x32x3", [gpunet.Conv(16), gpunet.ReLU(), gpunet.Conv(2), gpunet.FC(2)])
    names = [op.name for op in gpunet.plan(net, 16, device="cpu", without=FUSED).program.ops]
    assert "relu_backward_masked" in names and "relu_backward" not in names
