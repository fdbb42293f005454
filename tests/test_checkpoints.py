"""What to drop and make again: the cheapest choice against brute force, and what a rewritten program must keep."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest

from gpunet import FC, Conv, MaxPool, Net, ReLU
from gpunet.compile.checkpoints import STATES, Link, cheapest, links
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

PLENTY = 10**12

# -- the dynamic programme against brute force -----------------------------------------------------


def random_chain(rng: np.random.Generator, count: int) -> list[Link]:
    """Links with any sizes at all: nothing says that the peaks go with what is saved."""
    found = []
    for number in range(count):
        last = number == count - 1
        inner = tuple(f"inner{number}.{i}" for i in range(int(rng.integers(0, 3))))
        found.append(
            Link(
                checkpoint="" if last else f"checkpoint{number}",
                checkpoint_bytes=0 if last else int(rng.integers(1, 30)),
                inner=inner,
                inner_bytes=int(rng.integers(1, 20)) if inner else 0,
                flops=int(rng.integers(0, 10)),
                forward_bytes=int(rng.integers(40, 200)),
                backward_bytes=int(rng.integers(40, 200)),
            )
        )
    return found


def priced(chain: Sequence[Link], dropped: Sequence[bool], again: Sequence[bool]) -> tuple[int, int]:
    """(most bytes alive, extra FLOPs) where these checkpoints are dropped, and what these links keep beside them.

    From the definition. Links with nothing kept between them run backward as one, everything within them made again
    before; of what stands before them only what is kept is there. Forward, what is dropped is gone as soon as the next
    link has read it.
    """
    starts = [0]
    for number in range(1, len(chain)):
        starts.append(starts[-1] if dropped[number - 1] else number)
    lost = [
        (link.checkpoint_bytes if out else 0) + (link.inner_bytes if inner else 0)
        for link, out, inner in zip(chain, dropped, again, strict=True)
    ]
    most = 0
    for number, link in enumerate(chain):
        read = chain[number - 1].checkpoint_bytes if number and dropped[number - 1] else 0
        most = max(most, link.forward_bytes - sum(lost[:number]) + read)
        most = max(most, link.backward_bytes - sum(lost[: starts[number]]))
    return most, sum(link.flops for link, out, inner in zip(chain, dropped, again, strict=True) if out or inner)


def by_brute_force(chain: Sequence[Link], limit: int, most_flops: int) -> int | None:
    """The fewest extra FLOPs over all choices; a link that runs again makes all it saves again."""
    found = None
    for choice in product(("keep", "inner", "all"), repeat=len(chain)):
        if choice[-1] == "all" or any(one == "inner" and not link.inner for one, link in zip(choice, chain)):  # noqa: B905
            continue
        dropped = [one == "all" for one in choice]
        peak, flops = priced(chain, dropped, [one != "keep" for one in choice])
        if peak <= limit and flops <= most_flops and (found is None or flops < found):
            found = flops
    return found


def as_choice(chain: Sequence[Link], names: tuple[str, ...]) -> tuple[list[bool], list[bool]]:
    """(checkpoints dropped, inner ones dropped), by link; every name stands for something, and once."""
    assert len(set(names)) == len(names)
    assert set(names) <= {name for link in chain for name in (link.checkpoint, *link.inner) if name}
    inner = [bool(set(link.inner) & set(names)) for link in chain]
    assert all(set(link.inner) <= set(names) for link, gone in zip(chain, inner, strict=True) if gone)
    return [link.checkpoint in names and link.checkpoint != "" for link in chain], inner


@pytest.mark.parametrize("seed", range(6))
def test_the_cheapest_choice_is_that_of_brute_force(seed):
    rng = np.random.default_rng(seed)
    outcomes = set()
    for _ in range(60):
        chain = random_chain(rng, int(rng.integers(1, 6)))
        peak = max(max(link.forward_bytes, link.backward_bytes) for link in chain)
        limit, most_flops = int(rng.integers(peak // 3, peak + 5)), int(rng.integers(0, 40))
        wanted = by_brute_force(chain, limit, most_flops)
        found = cheapest(chain, limit, most_flops)
        outcomes.add("none" if wanted is None else "free" if wanted == 0 else "paid")
        assert (found is None) == (wanted is None), (chain, limit, most_flops)
        if found is not None:
            assert wanted is not None
            dropped, inner = as_choice(chain, found)
            peak, flops = priced(chain, dropped, inner)
            assert (flops, peak <= limit) == (wanted, True), (chain, limit, found)
            assert cheapest(chain, limit, wanted) is not None
            assert wanted == 0 or cheapest(chain, limit, wanted - 1) is None
    assert outcomes == {"none", "free", "paid"}


def test_nothing_is_dropped_where_all_fits():
    chain = random_chain(np.random.default_rng(1), 6)
    assert cheapest(chain, PLENTY, PLENTY) == ()


def test_a_long_chain_is_followed_in_few_states_and_stays_within_both_limits():
    """The square root of a chain: with n equal links, 2*sqrt(n) of them need be there at once."""
    count = 144
    chain = [
        Link(f"c{i}" if i < count - 1 else "", 1000 if i < count - 1 else 0, (), 0, 1, 1000 * (i + 1), 1000 * (i + 1))
        for i in range(count)
    ]
    names = cheapest(chain, 25_000, PLENTY)
    assert names is not None
    dropped, inner = as_choice(chain, names)
    peak, flops = priced(chain, dropped, inner)
    assert peak <= 25_000 and flops <= count
    assert cheapest(chain, 25_000, flops // 2) is None
    assert count**2 > STATES


# -- links of programs -----------------------------------------------------------------------------


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


def test_the_links_of_a_net_by_hand():
    net = Net("8x6x3", [Conv(5), ReLU(), MaxPool(2), Conv(7), ReLU(), FC(9), ReLU(), FC(4)])
    program = lowered(net, batch=2)
    found = links(program, live_bytes(program))
    # ReLU runs behind the pool, so it is the pool's output that is saved, and which place of each window it was
    assert [link.checkpoint for link in found] == ["pool1.y", "relu2.y", "relu3.y", ""]
    assert [link.checkpoint_bytes for link in found] == [4 * 2 * 4 * 3 * 5, 4 * 2 * 4 * 3 * 7, 4 * 2 * 9, 0]
    assert [link.inner for link in found] == [("pool1.switches",), (), (), ()]
    assert found[0].inner_bytes == 2 * 4 * 3 * 5
    macs = [8 * 6 * 5 * 27, 4 * 3 * 7 * 45, 4 * 3 * 7 * 9, 9 * 4]
    assert [link.flops for link in found] == [2 * 2 * count for count in macs]


@pytest.mark.parametrize("seed", range(8))
def test_the_links_cover_what_is_saved_and_every_step_once(seed):
    program = lowered(random_net(np.random.default_rng(100 + seed), layers=9))
    live = live_bytes(program)
    found = links(program, live)
    names = [name for link in found for name in (*link.inner, link.checkpoint) if name]
    kept = saved(program)
    assert sorted(names) == sorted(kept)
    assert sum(link.checkpoint_bytes + link.inner_bytes for link in found) == sum(t.nbytes for t in kept.values())
    assert sum(link.flops for link in found) == sum(op.flops for op in program.ops if op.phase in ("forward", "loss"))
    assert max(max(link.forward_bytes, link.backward_bytes) for link in found) == max(live)


def test_vgg16s_first_link_is_what_is_recomputed_first():
    program = lowered(vgg16(), batch=64)
    live = live_bytes(program)
    found = links(program, live)
    assert found[0].checkpoint == "relu1.y"
    assert found[0].flops == 2 * 64 * 224 * 224 * 64 * 27
    assert cheapest(found, max(live) - 1, PLENTY) is not None
    assert cheapest(found, sum(p.tensor.nbytes for p in program.parameters), PLENTY) is None


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


def test_the_bytes_of_a_loop_count_for_the_link_behind_it():
    """What is dropped within a loop is gone from all of that loop only when it is over, so nothing there gets less."""
    net = Net("7x5x3", [layer for K in (5, 6, 7) for layer in (Conv(K), ReLU())] + [FC(4)])
    chunked = run_in_chunks(lowered(net), "relu2.y", 2)
    live = live_bytes(chunked)
    found = links(chunked, live)
    assert [link.checkpoint for link in found] == ["relu1.y", "relu2.y", "relu3.y", ""]
    forward, backward = chunked.loops
    assert (found[0].forward_bytes, found[1].forward_bytes) == (0, 0)
    assert found[2].forward_bytes >= max(live[forward.first : forward.last])
    assert found[2].backward_bytes >= max(live[backward.first : backward.last])
