"""Updates that wait for others: fewer calls, the same bits, no more bytes."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import gpunet
from gpunet import FC, BatchNorm, Conv, Learning, MaxPool, Model, Net, ReLU
from gpunet.compile.joint import joint_updates
from gpunet.compile.rewrite import REWRITES, rewrite
from gpunet.compile.ways import Ways
from gpunet.memory.plan import live_bytes
from gpunet.optimize.optimizers import OPTIMIZERS, Momentum
from gpunet.program.program import Op
from gpunet.program.tensor import Kind
from tests.conftest import make_device
from tests.nets import vgg16
from tests.test_ways import LIMIT
from tests.test_ways import planned as in_rounds


def blocks() -> Net:
    """Many small parameters, and statistics that move."""
    layers = [
        Conv(8),
        BatchNorm(),
        ReLU(),
        Conv(8),
        BatchNorm(),
        ReLU(),
        MaxPool(2),
        Conv(8),
        BatchNorm(),
        ReLU(),
        FC(4),
    ]
    return Net("16x16x3", layers, name="blocks")


def planned(net: Net | None = None, **options):
    return gpunet.plan(net or blocks(), 4, device="cuda", max_cost=0, **options)


def updates(plan) -> list[Op]:
    return [op for op in plan.program.ops if op.phase == "update"]


def changed(ops: list[Op]) -> list[str]:
    return sorted(t.name for op in ops for t in op.outputs)


def test_one_call_updates_all_small_parameters_that_may_wait() -> None:
    joint, alone = planned(), planned(without=["joint-updates"])
    assert Counter(op.name for op in updates(joint)) == {"momentum_update": 2, "batch_norm_update": 2}
    assert Counter(op.name for op in updates(alone)) == {"momentum_update": 14, "batch_norm_update": 3}
    assert changed(updates(joint)) == changed(updates(alone))


def test_the_cpu_whose_calls_cost_nothing_updates_as_early_as_it_can() -> None:
    program = gpunet.plan(blocks(), 4, device="cpu").program
    assert joint_updates(program) is program


def test_other_settings_take_another_call() -> None:
    how = Learning(Momentum(weight_decay=0.1), decay="weights", rate_factors={"fc1": 2})
    found = [op for op in updates(planned(optimizer=how)) if op.name == "momentum_update"]
    kinds = [{t.name.partition(".")[0] == "fc1" for t in op.outputs} for op in found]
    assert len(found) == 4 and all(len(kind) == 1 for kind in kinds)
    assert {len(op.attributes) for op in found} == {3}


@pytest.mark.parametrize("name", ["vgg16", "resnet20", "googlenet"])
def test_what_waits_raises_no_peak(name: str) -> None:
    plan = gpunet.plan(gpunet.load(name), 16, device="cuda", max_cost=0)
    alone = gpunet.plan(gpunet.load(name), 16, device="cuda", max_cost=0, without=["joint-updates"])
    assert max(live_bytes(plan.program)) == max(live_bytes(alone.program))
    assert plan.arena_bytes <= alone.arena_bytes * 1.0005
    assert len(updates(plan)) < len(updates(alone)) / 4


def test_large_gradients_wait_for_nobody() -> None:
    plan = gpunet.plan(vgg16(), 4, device="cuda", max_cost=0)
    alone = [op for op in updates(plan) if "fc1.w" in {t.name for t in op.outputs}]
    assert [t.name for t in alone[0].outputs if t.kind is Kind.PARAMETER] == ["fc1.w"]


def test_updates_come_behind_the_loops_and_loops_stay_whole() -> None:
    net = Net("12x12x3", [Conv(8), ReLU(), MaxPool(2), Conv(8), ReLU(), FC(4)])
    program = in_rounds(net, 8, "cuda", Ways(LIMIT, micro_batch=2)).program
    (loop,) = program.loops
    inside = program.ops[loop.first : loop.last]
    assert {op.phase for op in inside} == {"forward", "loss", "backward"} and loop.images == 2
    assert [op.name for op in program.ops[loop.last :] if op.phase == "update"] == ["momentum_update"]


def test_what_an_op_reads_is_updated_behind_it() -> None:
    """An op between that uses a parameter once more, as one of a layer of one's own may."""
    program = planned(without=["joint-updates", "in-place"]).program
    update = next(step for step, op in enumerate(program.ops) if "fc1.w" in {t.name for t in op.outputs})
    w = program.ops[update].outputs[0]
    reader = next(step for step, op in enumerate(program.ops) if step > update and op.phase == "backward")
    ops = list(program.ops)
    ops[reader] = Op("reads", "fc1", "backward", (*ops[reader].inputs, w), ops[reader].outputs)
    found = joint_updates(replace(program, ops=tuple(ops)))
    names = [op.name for op in found.ops]
    first = next(step for step, op in enumerate(found.ops) if w in op.outputs)
    assert first < names.index("reads") and len(found.ops) < len(ops)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_gives_the_same_bits_joined_or_not(optimizer: str) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (4, 16, 16, 3), np.uint8), rng.integers(0, 4, 4)
    ends = []
    for without in ([], ["joint-updates"]):
        device = make_device("emulated")
        plan = gpunet.plan(blocks(), 4, device="cuda", optimizer=optimizer, without=without, max_cost=0)
        with Model(blocks(), 4, device, plan=plan, seed=1, debug=True) as model:
            losses = [model.step(images, labels) for _ in range(2)]
            gradients = model.gradients(images, labels)
            assert set(gradients) == {p.tensor.name for p in plan.program.parameters if p.gradient is not None}
            ends.append((losses, *(array.tobytes() for array in (*model.parameters.values(), *gradients.values()))))
        device.close()
    assert ends[0] == ends[1]


def test_its_place_is_behind_what_says_when_updates_are_due() -> None:
    names = list(REWRITES)
    assert names.index("early-updates") < names.index("joint-updates") < names.index("in-place")
    assert rewrite(planned().program, only=("joint-updates",)).steps <= planned().steps


def test_the_time_of_a_joint_update_is_told_by_layer() -> None:
    prediction = gpunet.plan(blocks(), 4, device="cuda", gpu="3060").predicted
    by_layer = prediction.by_layer
    sizes = {layer: by_layer[layer].update_ms for layer in ("conv1", "conv2", "fc1")}
    assert 0 < sizes["conv1"] < sizes["conv2"] < sizes["fc1"]
    whole = sum(op.ms.likely for op in prediction.ops if op.op.phase == "update")
    assert sum(one.update_ms for one in by_layer.values()) == pytest.approx(whole)
