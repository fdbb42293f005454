"""Rewrites that cost nothing: every value stays as it was, bit for bit, and the peak does not rise."""

from itertools import combinations

import numpy as np
import pytest

import gpunet
from gpunet import ConfigError, Kind, MaxPool, Model, Net
from gpunet.compile.rewrite import REWRITES
from tests.nets import random_net, small, vgg16

SUBSETS = [without for count in range(len(REWRITES) + 1) for without in combinations(REWRITES, count)]


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


@pytest.mark.parametrize("seed", range(4))
def test_every_subset_of_the_rewrites_gives_the_same_bits(device, seed):
    rng = np.random.default_rng(40 + seed)
    net = small() if seed == 0 else random_net(rng, layers=8)
    plain = train(net, device, tuple(REWRITES))
    for without in SUBSETS:
        assert train(net, device, without) == plain, without


@pytest.mark.parametrize("name", REWRITES)
def test_each_rewrite_lowers_the_peak_of_a_net_that_has_what_it_is_for(name):
    rectified = Net("32x32x3", [gpunet.Conv(16), gpunet.ReLU(), gpunet.FC(2)])
    net = rectified if name == "in-place" else vgg16()
    others = tuple(other for other in REWRITES if other != name)
    with_it, nothing = (gpunet.plan(net, 16, device="cpu", without=without) for without in (others, REWRITES))
    assert with_it.lower_bound_bytes < nothing.lower_bound_bytes


def test_all_together_reach_what_a_static_plan_can_reach():
    totals = [gpunet.plan(vgg16(), batch).lower_bound_bytes for batch in (64, 128)]
    assert (totals[1] - totals[0]) / 64 <= 38.5e6


def test_the_volume_before_a_pool_dies_at_the_pool():
    plan = gpunet.plan(vgg16(), 2)
    at = {t.name: t for t in plan.tensors}
    pool = next(step for step, op in enumerate(plan.program.ops) if op.name == "max_pool_forward")
    assert at["conv2.y"].last == pool + 1
    assert plan.program.ops[pool + 1].name == "relu_forward"


def test_one_gradient_of_a_parameter_is_alive_at_a_time():
    plan = gpunet.plan(vgg16(), 2)
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
                updated.add(op.outputs[0].name)
        assert updated == {p.tensor.name for p in program.parameters}


def test_switches_take_one_byte_up_to_windows_of_256_places():
    for F, nbytes in ((2, 1), (16, 1), (17, 4)):
        net = Net("34x34x2", [MaxPool(F), gpunet.Conv(2), gpunet.FC(3)], fit="crop")
        learning = Net("34x34x2", [gpunet.Conv(2), MaxPool(F), gpunet.FC(3)], fit="crop")
        assert "pool1.switches" not in {t.name for t in gpunet.plan(net, 1, mode="infer").tensors}
        switches = next(t for t in gpunet.plan(learning, 1).tensors if t.name == "pool1.switches")
        assert switches.nbytes == np.prod(switches.tensor.shape) * nbytes


def test_an_unknown_rewrite_is_refused_with_a_hint():
    with pytest.raises(ConfigError, match="no rewrite 'pool-before-rellu' to leave out; did you mean pool-before-relu"):
        gpunet.plan(small(), 2, without=["pool-before-rellu"])
    with pytest.raises(ConfigError, match="there are pool-before-relu, small-switches, early-updates, in-place"):
        gpunet.plan(small(), 2, without=["xyz"])
