"""Programs in which activations are dropped and made again, or that run in chunks: what they must keep."""

from collections.abc import Sequence

import numpy as np
import pytest

from gpunet import Net
from gpunet.compile.chunk import cut_points, run_in_chunks
from gpunet.compile.lower import lower
from gpunet.compile.recompute import AGAIN, extra_flops, recompute, saved
from gpunet.compile.rewrite import rewrite
from gpunet.compile.ways import BEFORE, Ways, apply
from gpunet.devices import target
from gpunet.memory.plan import live_bytes
from gpunet.optimize.optimizers import Momentum
from gpunet.planning.choose import bound
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
