"""Ways to fit that cost something, executed: what is made again is the same bits, rounds agree to rounding."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest

import gpunet
from gpunet import FC, BatchNorm, Conv, MaxPool, Model, Net, PlanError, ReLU
from gpunet.compile.chunk import cut_points, run_in_chunks
from gpunet.compile.lower import lower
from gpunet.compile.recompute import recompute, saved
from gpunet.compile.rewrite import rewrite
from gpunet.compile.ways import BEFORE, Ways, apply
from gpunet.devices import target
from gpunet.memory.plan import Plan, arrange
from gpunet.program.program import Program
from tests.nets import random_net, small, vgg16

LIMIT = 4000


def lowered(
    net: Net, batch: int, device: str, *, mode="train", accumulates=False, dtype="float32", optimizer="momentum"
) -> Program:
    return lower(
        net,
        batch=batch,
        mode=mode,
        dtype=dtype,
        optimizer=optimizer,
        target=target(device),
        scratch_limit_bytes=LIMIT,
        accumulates=accumulates,
    )


def planned(net: Net, batch: int, device: str, ways: Ways, without: Collection[str] = (), **options) -> Plan:
    """A plan in exactly these ways."""
    program = apply(lowered(net, batch, device, accumulates=ways.rounds, **options), ways, without)
    return Plan(net.name, target(device), "momentum", program, arrange(program), 0, ways=ways)


def train(net: Net, device, ways: Ways, batch: int, counts=(5, 3, 5), dtype="float32"):
    """Losses, evaluations, scores, gradients and parameters of some steps with poison in all that is fresh or free."""
    rng = np.random.default_rng(2)
    model = Model(net, batch, device, seed=4, plan=planned(net, batch, device.name, ways, dtype=dtype), debug=True)
    numbers, arrays = [], {}
    for step, n in enumerate(counts):
        images = rng.standard_normal((n, *net.input.shape)).astype(dtype)
        labels = rng.integers(0, net.classes, n)
        numbers += [*model.evaluate(images, labels)]
        arrays[f"scores{step}"] = model.forward(images)
        arrays |= {f"{name}{step}": value for name, value in model.gradients(images, labels).items()}
        numbers += [model.step(images, labels), model.correct]
    arrays |= dict(model.parameters)
    model.close()
    return np.array(numbers), arrays


def assert_close(found, wanted, bound):
    np.testing.assert_allclose(found[0], wanted[0], rtol=bound)
    for name, value in wanted[1].items():
        assert np.abs(found[1][name] - value).max() <= bound * max(np.abs(value).max(), 1e-30), name


def saved_names(net: Net) -> list[str]:
    return list(saved(rewrite(lowered(net, 5, "cpu"), only=BEFORE)))


def cuts(net: Net, mode="train") -> list[str]:
    return cut_points(rewrite(lowered(net, 5, "cpu", mode=mode), only=BEFORE))


@pytest.mark.parametrize("seed", range(4))
def test_what_is_made_again_is_the_same_bits(device, seed):
    rng = np.random.default_rng(seed)
    net = small() if seed == 0 else random_net(rng, layers=8)
    plain = train(net, device, Ways(LIMIT), 5)
    names = saved_names(net)
    choices = [tuple(names), *(tuple(name for name in names if rng.random() < 0.5) for _ in range(3))]
    for dropped in choices:
        found = train(net, device, Ways(LIMIT, dropped), 5)
        assert found[0].tolist() == plain[0].tolist()
        for name, value in plain[1].items():
            assert found[1][name].tobytes() == value.tobytes(), (dropped, name)


def test_late_gradients_change_no_bit_and_lower_the_peak_of_a_net_with_a_large_last_layer(device):
    net = Net("9x7x2", [Conv(4), ReLU(), gpunet.FC(60), ReLU(), gpunet.FC(4)])
    plain, late = (train(net, device, Ways(LIMIT, late=late), 5) for late in (False, True))
    assert late[0].tolist() == plain[0].tolist()
    assert all(late[1][name].tobytes() == value.tobytes() for name, value in plain[1].items())
    peaks = [planned(net, 5, "cpu", Ways(LIMIT, late=late)).lower_bound_bytes for late in (False, True)]
    assert peaks[1] < peaks[0]


@pytest.mark.parametrize("images", [1, 2, 3, 4])
def test_chunks_of_images_agree_to_rounding_at_every_cut(device, images):
    net = small()
    plain = train(net, device, Ways(LIMIT), 5, dtype="float64")
    for cut in cuts(net):
        found = train(net, device, Ways(LIMIT, (), cut, images), 5, dtype="float64")
        assert_close(found, plain, 1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_chunks_with_recomputation_agree_on_random_nets(device, seed):
    rng = np.random.default_rng(60 + seed)
    net = random_net(rng, layers=8)
    plain = train(net, device, Ways(LIMIT), 5)
    names, points = saved_names(net), cuts(net)
    for _ in range(4):
        dropped = tuple(name for name in names if rng.random() < 0.5)
        ways = Ways(LIMIT, dropped, str(rng.choice(points)), int(rng.integers(1, 5)))
        assert_close(train(net, device, ways, 5), plain, 2e-5)


@pytest.mark.parametrize("images", [1, 2, 3])
def test_micro_batches_agree_to_rounding(device, images):
    for net in (small(), random_net(np.random.default_rng(71), layers=7)):
        plain = train(net, device, Ways(LIMIT), 5, dtype="float64")
        assert_close(train(net, device, Ways(LIMIT, micro_batch=images), 5, dtype="float64"), plain, 1e-12)


def test_inference_in_chunks_gives_the_same_scores(device):
    net, rng = small(), np.random.default_rng(3)
    images = rng.standard_normal((5, *net.input.shape)).astype(np.float32)
    plain = Model(net, 5, device, mode="infer", seed=1).forward(images)
    for cut in cuts(net, "infer"):
        plan = planned(net, 5, device.name, Ways(LIMIT, (), cut, 2), mode="infer")
        found = Model(net, 5, device, mode="infer", seed=1, plan=plan, debug=True).forward(images)
        np.testing.assert_allclose(found, plain, rtol=1e-5, atol=1e-6)


def test_pixels_are_converted_round_by_round(device):
    net = Net("6x5x2", [Conv(3), ReLU(), MaxPool(2), gpunet.FC(4)], fit="crop", scale=1 / 16, shift=-0.5)
    pixels = np.random.default_rng(4).integers(0, 256, (5, 6, 5, 2), dtype=np.uint8)
    plain = Model(net, 5, device, debug=True).forward(pixels)
    plan = planned(net, 5, device.name, Ways(LIMIT, (), "pool1.y", 2))
    np.testing.assert_allclose(
        Model(net, 5, device, plan=plan, debug=True).forward(pixels), plain, rtol=1e-5, atol=1e-6
    )


def test_a_dropped_activation_is_not_alive_between_its_last_use_and_its_second_making():
    program = apply(lowered(vgg16(), 4, "cuda"), Ways(LIMIT, ("relu3.y",)))
    first_life, second_life = program.lifetimes["relu3.y"], program.lifetimes["relu3.y.again"]
    phases = [op.phase for op in program.ops]
    assert phases[first_life[1] - 1] == "forward"
    assert phases[second_life[0]] == "backward"


def test_volumes_within_a_loop_are_made_for_its_images_alone():
    plan = planned(vgg16(), 64, "cuda", Ways(64 * 2**20, ("relu1.y",), "pool1.y", 4))
    shapes = {t.name: t.tensor.shape[0] for t in plan.tensors}
    assert shapes["relu1.y"] == shapes["relu1.dx"] == shapes["relu1.y.again"] == 4
    assert shapes["pool1.y"] == shapes["input.images"] == shapes["pool1.switches"] == shapes["relu3.y"] == 64


def test_a_loop_calls_its_steps_once_a_round_and_the_others_once():
    program = apply(lowered(small(), 7, "cpu", accumulates=True), Ways(LIMIT, (), "pool1.y", 3))
    turns = list(program.turns(7))
    loop = program.loops[0]
    inside = [(t.step, t.first, t.last) for t in turns if loop.first <= t.step < loop.last]
    steps = range(loop.first, loop.last)
    assert inside == [(step, a, b) for a, b in ((0, 3), (3, 6), (6, 7)) for step in steps]
    outside = [t for t in turns if program.loop_at(t.step) is None]
    assert all((t.first, t.last, t.round) == (0, 7, 0) for t in outside)
    assert len({t.step for t in outside}) == len(outside)
    assert {t.step for t in turns} == set(range(program.steps))


def test_what_cannot_be_dropped_or_cut_is_refused():
    program = lowered(small(), 3, "cpu")
    with pytest.raises(PlanError, match=r"fc2\.y cannot be dropped"):
        recompute(program, ["fc2.y"])
    with pytest.raises(PlanError, match=r"cannot be cut at fc2\.y"):
        run_in_chunks(program, "fc2.y", 1)


def test_a_model_finds_its_way_into_a_budget_and_trains_there(device):
    """A budget between what the free savings need and what the cheapest ways need."""
    layers = [Conv(16), ReLU(), Conv(16), ReLU(), MaxPool(2), Conv(16), ReLU(), MaxPool(2), gpunet.FC(5)]
    net, rng = Net("24x24x3", layers, name="deep"), np.random.default_rng(5)
    options = dict(device=device.name, scratch_limit=64 * 1024, max_cost=1.0)
    free = gpunet.plan(net, 32, **options)
    least = gpunet.plan(net, 32, budget=1, **options)
    assert least.total_bytes < free.total_bytes
    plan = gpunet.plan(net, 32, budget=(free.total_bytes + 3 * least.total_bytes) // 4, **options)
    assert plan.fits and plan.ways.names and plan.extra_flops_fraction > 0
    images, labels = rng.standard_normal((32, 24, 24, 3)).astype(np.float32), rng.integers(0, 5, 32)
    results = []
    for one in (free, plan):
        model = Model(net, 32, device, plan=one)
        assert model.arena_bytes == one.arena_bytes
        results.append([model.step(images, labels) for _ in range(3)])
        model.close()
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5)


def test_ways_name_what_they_use():
    assert Ways(1).names == () and not Ways(1).rounds
    assert Ways(1, ("a",), "b", 2).names == ("recompute", "chunks")
    assert replace(Ways(1), micro_batch=3).names == ("micro-batches",)


def test_what_is_made_again_before_an_unpooling_is_the_same_bits(device):
    blocks = [layer for _ in range(2) for layer in (Conv(8), BatchNorm(), ReLU())]
    net = Net("8x8x3", [*blocks, MaxPool(2), FC(5)])
    ways = Ways(LIMIT, ("conv1.y", "conv2.y"), twice=("conv1.y",), late=True)
    (plain, before), (again, after) = (train(net, device, one, 5) for one in (Ways(LIMIT, late=True), ways))
    np.testing.assert_array_equal(plain, again)
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name], err_msg=name)


def test_vgg16_bn_drops_its_largest_volumes():
    """176 images at 9 % more FLOPs: not two of the first volumes more than one op takes."""
    plan = gpunet.plan(gpunet.load("vgg16_bn"), 176, budget=1, reserve=1, optimizer="sgd", max_cost_flops=0.09)
    assert {"conv1.y", "conv2.y"} <= set(plan.ways.dropped) and "pool1.y" not in plan.ways.dropped
    assert plan.arena_bytes < 5.9e9 and plan.placement.gap < 0.01
