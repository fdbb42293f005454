"""Programs in which activations are dropped and made again, or that run in chunks: what they must keep."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from gpunet import FC, BatchNorm, Conv, MaxPool, Net, ReLU
from gpunet.compile.chunk import cut_points, run_in_chunks
from gpunet.compile.dropping import Dropping
from gpunet.compile.lower import lower
from gpunet.compile.makers import makers_of
from gpunet.compile.recompute import AGAIN, extra_flops, recompute, saved
from gpunet.compile.rewrite import rewrite
from gpunet.compile.ways import BEFORE, Ways, apply, change, prepare
from gpunet.devices import target
from gpunet.memory.plan import live_bytes
from gpunet.optimize.optimizers import Momentum
from gpunet.planning.choose import bound
from gpunet.planning.clock import clock
from gpunet.program.program import Program
from tests.nets import random_net, vgg16


def lowered(net: Net, batch: int = 5, mode="train") -> Program:
    """A program with the savings that come before the ways."""
    program = lower(
        net,
        batch=batch,
        mode=mode,
        dtype="float32",
        optimizer=Momentum(),
        target=target("cpu"),
        scratch_limit_bytes=3000,
        accumulates=True,
    )
    return rewrite(program, only=BEFORE)


# -- programs that are made again, or run in chunks ------------------------------------------------


def some_of(rng: np.random.Generator, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if rng.random() < rng.choice([0.2, 0.5, 0.9]))


def assert_sound(program: Program) -> None:
    """Every op reads what was made before; every tensor is made by one op, or is fed or persistent."""
    there = {p.tensor.name for p in program.parameters} | {c.name for p in program.parameters for c in p.caches}
    fed = {t.name for t in (program.image_bytes, program.images, program.labels, program.numbers) if t is not None}
    made: dict[str, str] = {}
    for op in program.ops:
        assert {t.name for t in op.inputs} <= there | fed | set(made), op
        for t in op.outputs:
            assert t.name not in made or op.phase == "update", f"{t.name} by {made[t.name]} and {op.name}"
            made[t.name] = op.name
    assert set(program.lifetimes) == set(program.tensors)  # which raises where a name stands for two tensors
    for first, last in program.lifetimes.values():
        assert 0 <= first <= last <= program.steps


def programs(seed: int) -> list[tuple[Program, Program, tuple[str, ...]]]:
    """(plain program, the same with some activations dropped, which) for a random net."""
    rng = np.random.default_rng(seed)
    plain = lowered(random_net(rng, layers=int(rng.integers(4, 13))), batch=int(rng.integers(1, 8)))
    choices = [(), tuple(saved(plain)), *(some_of(rng, list(saved(plain))) for _ in range(4))]
    return [(plain, recompute(plain, dropped), dropped) for dropped in choices]


@pytest.mark.parametrize("seed", range(12))
def test_what_is_made_again_is_sound_and_costs_what_it_says(seed):
    for plain, again, dropped in programs(seed):
        assert_sound(again)
        total = sum(op.flops for op in plain.ops)
        assert sum(op.flops for op in again.ops) == total + extra_flops(again)
        for op in again.ops:
            if op.phase == "backward":
                assert not set(dropped) & {t.name for t in op.inputs}
        forward = [op for op in again.ops if op.phase in ("forward", "loss")]
        assert forward == [op for op in plain.ops if op.phase in ("forward", "loss")]
        twice = [t.name for op in again.ops for t in op.outputs if t.name.endswith(AGAIN)]
        assert len(set(twice)) == len(twice)


@pytest.mark.parametrize("seed", range(12))
def test_dropping_more_never_costs_less(seed):
    rng = np.random.default_rng(200 + seed)
    plain = lowered(random_net(rng, layers=10))
    dropped: list[str] = []
    before = 0
    for name in rng.permutation(list(saved(plain))):
        dropped.append(str(name))
        now = extra_flops(recompute(plain, dropped))
        assert now >= before
        before = now
    forward = sum(op.flops for op in plain.ops if op.phase == "forward")
    assert before <= forward


@pytest.mark.parametrize("seed", range(12))
def test_a_program_in_chunks_is_sound_and_runs_every_image_once(seed):
    rng = np.random.default_rng(300 + seed)
    for plain, again, _ in programs(400 + seed):
        points = cut_points(again)
        if not points:
            continue
        images = int(rng.integers(1, plain.batch + 2))
        chunked = rewrite(run_in_chunks(again, str(rng.choice(points)), images), skip=BEFORE)
        assert_sound(chunked)
        assert {(op.name, op.layer) for op in again.ops} <= {(op.name, op.layer) for op in chunked.ops} | {
            ("relu_backward", op.layer) for op in chunked.ops if op.name == "relu_backward_masked"
        }
        assert bool(chunked.loops) == (images < plain.batch)
        seen: dict[int, list[tuple[int, int]]] = {}
        for turn in chunked.turns(plain.batch):
            seen.setdefault(turn.step, []).append((turn.first, turn.last))
            assert turn.last - turn.first <= images or chunked.loop_at(turn.step) is None
        assert sorted(seen) == list(range(chunked.steps))
        for ranges in seen.values():
            assert [image for first, last in ranges for image in range(first, last)] == list(range(plain.batch))


@pytest.mark.parametrize("seed", range(12))
def test_the_bound_is_what_is_alive_in_the_fullest_step(seed):
    """Counted tensor by tensor; what takes over the bytes of another has them from there on."""
    rng = np.random.default_rng(500 + seed)
    for _, again, dropped in programs(600 + seed):
        plain_ways = Ways(3000, dropped, late=bool(rng.integers(2)))
        net_program = rewrite(again, skip=BEFORE if plain_ways.late else (*BEFORE, "late-gradients"))
        counted = []
        for step in range(net_program.steps):
            alive = [n for n, (first, last) in net_program.lifetimes.items() if first <= step < last]
            sizes = {owner(net_program, name): 0 for name in alive}
            for name in sizes:
                sizes[name] = -(-net_program.tensors[name].nbytes // 256) * 256
            counted.append(sum(sizes.values()))
        assert live_bytes(net_program) == counted
        assert bound(net_program) == max(counted)


def owner(program: Program, name: str) -> str:
    return owner(program, program.takes_over[name]) if name in program.takes_over else name


def test_a_dropped_checkpoint_lowers_the_bound_of_vgg16():
    plain = lowered(vgg16(), batch=32)
    peaks = [bound(apply(plain, Ways(3000, dropped))) for dropped in ((), ("relu1.y",))]
    assert peaks[1] < peaks[0]


def test_what_a_pool_hides_is_made_again_before_its_gradient_grows():
    """The first volumes of a net: no two of them lie beside the unpooled gradient, and the bits are as they were."""
    net = Net("16x16x3", [Conv(8), BatchNorm(), ReLU(), Conv(8), BatchNorm(), ReLU(), MaxPool(2), FC(5)])
    plain = lower_for_gpu(net)
    made = change(plain, ways := Ways(3000, ("conv1.y", "conv2.y"), twice=("conv1.y",), late=True))
    names = [(op.name, op.layer) for op in made.ops if op.phase == "backward"]
    unpooled, sums = names.index(("max_pool_backward", "pool1")), names.index(("batch_norm_backward_sums", "bn2"))
    assert names.index(("conv_norm_forward", "conv2")) < unpooled < sums
    again = [step for step, name in enumerate(names) if name == ("conv_forward", "conv1")]
    early = names.index(("conv_norm_backward_weights", "conv2"))
    assert len(again) == 3 and again[0] < unpooled < again[1] < early < again[2]
    (behind,) = [op for op in made.ops if op.name == "max_pool_backward"]
    step = made.ops.index(behind)
    volume = behind.outputs[0].nbytes
    large = [name for name, (first, last) in made.lifetimes.items() if first <= step < last]
    assert sum(made.tensors[name].nbytes >= volume for name in large) == 2  # conv2.y and the gradient, conv1.y not
    state = Dropping(makers_of(change(plain, replace(ways, dropped=(), twice=())), clock("", 5)))
    state.become(state.marks_of(set(ways.dropped), set(), set(ways.twice)))
    assert state.peak == bound(made) and state.cost.flops == extra_flops(made)


def lower_for_gpu(net: Net, batch: int = 5) -> Program:
    where = target("cuda", gpu="rtx 3060")
    return prepare(
        lower(net, batch=batch, mode="train", dtype="float32", optimizer="sgd", target=where, scratch_limit_bytes=3000)
    )
