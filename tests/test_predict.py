"""Images a second predicted for plans, from what a profile measured of their ops."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import gpunet
from gpunet import Net
from gpunet.devices import target
from gpunet.devices.device import Device
from gpunet.memory.plan import Plan
from gpunet.planning.predict import Kept, KeptOp, as_entry, file_name, load, op_key, predicted_images_per_second, scales
from gpunet.profile.keep import keep, summary
from gpunet.profile.measure import profile
from gpunet.program.program import Loop, Program
from gpunet.system import cache
from tests.nets import BLOCKS, blocks, tight_plan

BATCH = 7


def known(program: Program, batch: int, overhead: float = 1.5) -> Kept:
    """Milliseconds that only this file knows: by the length of the op's key."""
    ops = {op_key(op): KeptOp(len(op_key(op)) / batch, batch if scales(op) else 0) for op in program.ops}
    return Kept(batch, ops, 1e4, overhead)


def put(kept: Kept, made: Plan, of: Net | None = None) -> Path:
    name = file_name(of or blocks(), made.dtype, made.device, target(made.device).hardware() or "")
    return cache.put(name, str(kept.batch), as_entry(kept))


def expected(made: Plan, kept: Kept) -> float:
    """Images a second, added up call by call."""
    total = 0.0
    for turn in made.program.turns(made.batch):
        op = made.program.ops[turn.step]
        ms = kept.ops[op_key(op)].ms
        total += ms * (turn.last - turn.first) if scales(op) else ms
    return made.batch / (kept.overhead * total) * 1000


def test_a_profile_predicts_itself(device: Device, gpu) -> None:
    made = profile(blocks(), BATCH, device, steps=1)
    assert predicted_images_per_second(blocks(), made.plan) is None
    path = keep(made)
    assert path is not None and path.is_file()
    assert predicted_images_per_second(blocks(), made.plan) == pytest.approx(made.images_per_second, rel=1e-6)
    (kept,) = load(blocks(), "float32", target(device.name))
    assert kept.batch == BATCH and kept.overhead == pytest.approx(made.step_ms / made.ops_ms)


def test_a_profile_of_a_tight_plan_predicts_itself_too() -> None:
    options = dict(budget=tight_plan(blocks(), BATCH, "cpu").total_bytes, max_cost=1.0)
    made = profile(blocks(), BATCH, "cpu", steps=1, **options)
    assert made.plan.program.loops
    keep(made)
    assert predicted_images_per_second(blocks(), made.plan) == pytest.approx(made.images_per_second, rel=1e-6)


def test_what_is_made_again_and_rounds_count_as_often_as_they_run() -> None:
    plain = gpunet.plan(blocks(), BATCH, device="cpu", math="direct")
    close = tight_plan(blocks(), 11, "cpu", math="direct")
    without_masks = gpunet.plan(blocks(), BATCH, device="cpu", math="direct", without=("relu-masks",))
    with_masks = gpunet.plan(blocks(), BATCH, device="cpu", math="direct", without=("spare-masks",))
    programs = [plain.program, without_masks.program, with_masks.program]
    kept = known(plain.program, BATCH)
    for program in programs[1:]:
        kept = Kept(BATCH, {**known(program, BATCH).ops, **kept.ops}, kept.bytes_per_ms, kept.overhead)
    put(kept, plain)
    predicted = predicted_images_per_second(blocks(), close)
    assert predicted == pytest.approx(expected(close, kept))
    unhurried = gpunet.plan(blocks(), 11, device="cpu", math="direct")
    assert predicted < predicted_images_per_second(blocks(), unhurried)  # type: ignore[operator]
    rounds = gpunet.plan(blocks(), 11, device="cpu", math="direct", budget=1, ways=("micro-batches",))
    assert rounds.program.loops and not any(name.endswith(".again") for name in rounds.program.tensors)
    assert predicted_images_per_second(blocks(), rounds) == pytest.approx(expected(rounds, kept))


def test_what_belongs_to_no_image_counts_once_for_each_round() -> None:
    made = gpunet.plan(blocks(), BATCH, device="cpu")
    kept = known(made.program, BATCH)
    put(kept, made)
    looped = replace(made, program=replace(made.program, loops=(Loop(0, made.steps, 3),)))
    assert predicted_images_per_second(blocks(), looped) == pytest.approx(expected(looped, kept))
    measured = profile(blocks(), BATCH, "cpu", steps=1)
    thrice = replace(measured, ops=tuple(replace(op, calls=3) for op in measured.ops))
    for key, op in summary(measured).ops.items():
        assert summary(thrice).ops[key].ms == pytest.approx(op.ms if op.images else op.ms / 3)


def test_an_op_takes_what_it_took_with_most_nearly_as_many_images() -> None:
    made = gpunet.plan(blocks(), 32, device="cpu", math="direct")
    small, large = known(made.program, 2, 1.0), known(made.program, 40, 3.0)
    for kept in (small, large):
        put(kept, made)
    assert len(load(blocks(), "float32", target("cpu"))) == 2
    for batch, kept in ((1, small), (5, small), (32, large), (500, large)):
        plan = gpunet.plan(blocks(), batch, device="cpu", math="direct")
        assert predicted_images_per_second(blocks(), plan) == pytest.approx(expected(plan, kept))


def test_ops_without_products_that_were_not_measured_count_by_their_bytes() -> None:
    made = gpunet.plan(blocks(), BATCH, device="cpu")
    kept = known(made.program, BATCH)
    put(kept, made)
    infer = gpunet.plan(blocks(), 4, device="cpu", mode="infer")
    unknown = [op for op in infer.program.ops if op_key(op) not in kept.ops]
    assert {op.name for op in unknown} == {"max_pool_infer"}
    moved = 4 * 4 * (16 * 12 * 8 + 8 * 6 * 8 + 8 * 6 * 6 + 4 * 3 * 6)
    rest = sum(kept.ops[op_key(op)].ms * 4 for op in infer.program.ops if op not in unknown)
    expected_ms = kept.overhead * (rest + moved / kept.bytes_per_ms)
    assert predicted_images_per_second(blocks(), infer) == pytest.approx(4 / expected_ms * 1000)
    without = {key: op for key, op in kept.ops.items() if not key.startswith("conv_forward")}
    put(Kept(BATCH, without, kept.bytes_per_ms, kept.overhead), made)
    assert predicted_images_per_second(blocks(), infer) is None


def test_nothing_is_predicted_of_what_was_not_profiled(gpu) -> None:
    made = gpunet.plan(blocks(), BATCH, device="cuda")
    put(known(made.program, BATCH), made)
    assert predicted_images_per_second(blocks(), made) is not None
    same = gpunet.Net(blocks().input, blocks().nodes, name="another name")
    assert predicted_images_per_second(same, gpunet.plan(same, BATCH)) is not None
    other = gpunet.load(BLOCKS.replace("FC-7", "FC-8"))
    for of, options in ((blocks(), dict(dtype="float64")), (blocks(), dict(device="cpu")), (other, {})):
        assert predicted_images_per_second(of, gpunet.plan(of, BATCH, **options)) is None
    for name in ("Card 6, driver 580.65", None):
        gpu(name)
        assert predicted_images_per_second(blocks(), made) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: entry.pop("overhead"),
        lambda entry: entry.update(overhead=0),
        lambda entry: entry.update(batch="many"),
        lambda entry: entry.update(ops=[]),
        lambda entry: entry["ops"].update({"relu_forward": {"ms": float("nan"), "images": 1}}),
        lambda entry: entry["ops"].update({"relu_forward": 3}),
    ],
)
def test_a_damaged_profile_is_ignored_with_a_message(caplog, damage: Callable[[dict[str, Any]], Any]) -> None:
    made = gpunet.plan(blocks(), BATCH, device="cpu")
    path = put(known(made.program, BATCH), made)
    entries = json.loads(path.read_text())
    damage(entries[str(BATCH)])
    path.write_text(json.dumps(entries))
    assert predicted_images_per_second(blocks(), made) is None
    assert str(path) in caplog.text
