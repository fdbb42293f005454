"""What the planner finds for small problems is the best that there is, which is found here by trying all of it."""

from dataclasses import replace
from itertools import pairwise, permutations, product
from random import Random

import numpy as np
import pytest

import gpunet
from gpunet import FC, Add, BatchNorm, Conv, MaxPool, Net, Node, ReLU
from gpunet.compile.changes import Change, Changes
from gpunet.compile.chunk import chunk_cuts
from gpunet.compile.dropping import Dropping
from gpunet.compile.frontier import frontier
from gpunet.compile.makers import Cost, Maker, Makers, Price, Value
from gpunet.compile.ranks import Division
from gpunet.compile.recompute import saved
from gpunet.compile.relaxation import least_price
from gpunet.compile.ways import Ways
from gpunet.memory import crowded, problem, search
from gpunet.memory.arena import Buffer, place
from gpunet.memory.plan import live_bytes
from gpunet.memory.problem import NOWHERE, Problem
from gpunet.memory.validate import validate
from gpunet.planning.fitter import largest, most_images, survey
from gpunet.planning.options import Options
from gpunet.planning.planner import MAX_BATCH, Needed, Planner, nearby
from tests.hard_plans import hard_plan
from tests.test_ways import lowered

BY_TIME = Price(0, 1)
PLENTY = Cost(10**30, 10**30)
UNIT = 256

# -- what to drop ----------------------------------------------------------------------------------


def chain(sizes: list[int], costs: list[int]) -> Makers:
    """Layers one behind the other, each saved until the backward pass, which goes the same way back, has read it.

    The step after the forward pass is the first of backward; what a layer gives is read there as the last is first.
    """
    count = len(sizes)
    values = tuple(
        Value(
            name=f"v{at}",
            maker=at,
            saved=True,
            masked=False,
            fixed=False,
            keepable=False,
            nbytes=UNIT * size,
            round_bytes=UNIT * size,
            read=2 * count - at - 1,
            gone=(min(at + 2, count), 2 * count - at),
            once=(0, 0),
            ends=2 * count - at,
            last=2 * count - at,
        )
        for at, size in enumerate(sizes)
    )
    makers = tuple(Maker(() if not at else (at - 1,), (at,), (), 0, Cost(0, cost)) for at, cost in enumerate(costs))
    users = tuple((at + 1,) if at + 1 < count else () for at in range(count))
    live = tuple(sum(v.nbytes for at, v in enumerate(values) if at <= step < v.last) for step in range(2 * count))
    before = tuple(sum(v.nbytes for at, v in enumerate(values) if at < step < v.last) for step in range(2 * count))
    return Makers(values, makers, users, live, before, ())


def by_hand(makers: Makers, missing: list[bool]) -> tuple[int, int]:
    """(most bytes alive, nanoseconds) of a chain with these dropped, by running it in thought."""
    count, sizes = len(makers.values), [value.nbytes for value in makers.values]
    there, most, ns = set(range(count)), 0, 0
    alive: set[int] = set()
    for at in range(count):  # forward: an input is there until its reader has read it
        alive.add(at)
        most = max(most, sum(sizes[v] for v in alive))
        alive -= {v for v in alive if missing[v] and v < at}
    there = {v for v in alive if not missing[v]}
    again: set[int] = set()
    for at in reversed(range(count)):
        here = there | again
        if at not in here:
            first = at
            while first and first - 1 not in here:
                first -= 1
            held: set[int] = set()
            for v in range(first, at + 1):
                held.add(v)
                ns += makers.makers[v].cost.ns
                most = max(most, sum(sizes[v] for v in there | again | held))
            again |= held
        most = max(most, sum(sizes[v] for v in there | again))
        there.discard(at)
        again.discard(at)
    return most, ns


def choices(count: int) -> list[list[bool]]:
    return [list(one) for one in product([False, True], repeat=count)]


@pytest.mark.parametrize("seed", range(6))
def test_bytes_and_cost_of_every_choice_of_a_chain_are_those_of_a_run_in_thought(seed):
    random = Random(seed)
    count = 6
    makers = chain([random.randint(1, 9) for _ in range(count)], [random.randint(1, 9) for _ in range(count)])
    state = Dropping(makers)
    for missing in random.sample(choices(count), 40):
        missing[-1] = False  # its reader comes at once
        state.become((missing, [False] * count))
        most, ns = by_hand(makers, missing)
        assert (state.peak, state.cost.ns) == (most, ns), missing


@pytest.mark.parametrize("seed", range(10))
def test_no_choice_of_a_small_chain_is_cheaper_for_any_limit(seed):
    random = Random(100 + seed)
    count = 6
    makers = chain([random.randint(1, 9) for _ in range(count)], [random.randint(1, 9) for _ in range(count)])
    every = []
    state = Dropping(makers)
    for missing in choices(count):
        state.become((missing, [False] * count))
        every.append((state.peak, state.cost.ns))
    points = frontier(makers, BY_TIME, PLENTY)
    worse = 0
    for limit in sorted({peak for peak, _ in every}):
        best = min(ns for peak, ns in every if peak <= limit)
        mine = min((point.cost.ns for point in points if point.peak_bytes <= limit), default=None)
        worse += mine is None or mine > best
        bound = least_price(makers, BY_TIME, limit, count)
        assert bound is not None and bound <= best + 1e-6
    assert worse == 0


def test_the_relaxation_is_exact_where_one_value_must_go():
    makers = chain([4, 4, 4, 4], [5, 3, 9, 7])
    top = max(makers.live)
    assert least_price(makers, BY_TIME, top, 4) == 0
    assert least_price(makers, BY_TIME, top - 1, 4) == pytest.approx(3 / (4 * UNIT), rel=0.5)
    assert least_price(makers, BY_TIME, 0, 4) is None


def all_of(state: Dropping) -> tuple[object, ...]:
    moments = [state.moments(value) for value in range(len(state.makers.values))]
    return state.peak, state.cost, state.names, state.most.tolist(), moments


@pytest.mark.parametrize("seed", range(4))
def test_what_is_undone_is_as_if_it_had_never_been(seed):
    random = Random(seed)
    makers = chain([random.randint(1, 9) for _ in range(8)], [random.randint(1, 9) for _ in range(8)])
    state = Dropping(makers)
    for _ in range(30):
        kept = random.randrange(8)
        before = all_of(state)
        state.undo(state.toggle(*random.sample(range(8), 2), twice=kept))
        assert before == (
            state.peak,
            state.cost,
            state.names,
            state.most.tolist(),
            [state.moments(v) for v in range(8)],
        )
        state.toggle(random.randrange(8))


def test_what_is_kept_for_another_is_there_in_the_step_before_which_that_is_made():
    makers = chain([4, 3, 2, 1], [1, 1, 1, 1])
    short = replace(makers.values[0], last=6, gone=(2, 6))  # it ends where what is made from it is read
    live = tuple(nbytes - (step >= 6) * short.nbytes * (step < 8) for step, nbytes in enumerate(makers.live))
    before = tuple(nbytes - (step >= 6) * short.nbytes * (step < 8) for step, nbytes in enumerate(makers.before))
    shorter = replace(makers, values=(short, *makers.values[1:]), live=live, before=before)
    whole, other = Dropping(makers), Dropping(shorter)
    for state in (whole, other):
        state.toggle(1)
        assert state.moments(1) == (6,)
    assert whole.most[6] == other.most[6] and whole.most[7] > other.most[7]


def test_what_a_change_may_free_is_what_it_lies_in():
    makers = chain([4, 4, 4, 4], [5, 3, 9, 7])
    changes = Changes(makers, BY_TIME, PLENTY)
    first, last = changes._spans()
    assert [*zip(first.tolist(), last.tolist(), strict=True)] == [value.free for value in makers.values]
    changes._make(Change((0,)))
    changes._make(Change((1,)))
    first, last = changes._spans()
    assert (int(first[0]), int(last[0])) == (min(changes.state.uses(0)), makers.values[0].read)
    assert (int(first[1]), int(last[1])) == (0, 0)


# -- where it lies ---------------------------------------------------------------------------------


def lowest(buffers: list[Buffer]) -> int:
    """The height of the best placement: every order by first-fit."""
    best = 10**18
    for order in permutations(buffers):
        at: dict[str, int] = {}
        for buffer in order:
            others = sorted(
                (at[other.name], at[other.name] + other.nbytes)
                for other in buffers
                if other.name in at and other.first < buffer.last and buffer.first < other.last
            )
            low = 0
            for first, last in others:
                if first - low >= buffer.nbytes:
                    break
                low = max(low, last)
            at[buffer.name] = low
        best = min(best, max(at[b.name] + b.nbytes for b in buffers))
    return best


@pytest.mark.parametrize("seed", range(12))
def test_few_buffers_lie_as_low_as_can_be(seed):
    random = Random(seed)
    buffers = []
    for at in range(6):
        first = random.randrange(6)
        buffers.append(Buffer(f"b{at}", random.randint(1, 9), first, first + random.randint(1, 4)))
    found = place(buffers, alignment=1)
    validate(buffers, found.offsets, found.height_bytes, 1)
    assert found.height_bytes == lowest(buffers)


@pytest.mark.parametrize("count", [12, 60])
def test_a_crowd_lies_where_it_would_lie_otherwise(count, monkeypatch):
    random = Random(count)
    buffers = hard_plan(count, count)
    one = Problem([-(-b.nbytes // 256) for b in buffers], [b.first for b in buffers], [b.last for b in buffers])
    assert [len(near) for near in one.neighbours] == one.conflicts and not one.crowded
    for _ in range(4):
        order = random.sample(range(count), count)
        for ceiling in (NOWHERE, 21_000, one.bound):
            assert crowded.skyline(one, order, ceiling) == search.skyline(one, order, ceiling)
        assert crowded.first_fit(one, order) == search.first_fit(one, order)
    monkeypatch.setattr(problem, "CROWDED", 0)
    again = place(buffers, deadline_s=0)
    monkeypatch.undo()
    assert again == place(buffers, deadline_s=0)


def test_thousands_of_buffers_that_live_together_need_no_list_of_their_pairs():
    count = 3000
    one = Problem([1 + at % 5 for at in range(count)], [0] * count, [1 + at % 3 for at in range(count)])
    assert one.crowded and one.conflicts == [count - 1] * count
    assert search.search(one, 1.0).height == one.bound == sum(one.sizes)
    assert "neighbours" not in vars(one)


# -- what fits -------------------------------------------------------------------------------------

SMALL = Net("8x8x3", [Conv(4), ReLU(), MaxPool(2), Conv(4), ReLU(), FC(3)])


class Line(Planner):
    """Batches cost so many bytes an image, and some more at a step; what is asked for is written down."""

    def __init__(self, image_bytes: int, step: int, **options):
        super().__init__(SMALL, Options(device="cpu", reserve=1, **options))
        self._image, self._step, self.asked = image_bytes, step, []

    def needed(self, batch, ways=None):
        self.asked.append(batch)
        return self.at(batch)

    def at(self, batch):
        share = batch // self.ranks
        return Needed(share * self._image + (share >= self._step) * 5000, self._image)

    def free(self, batch):
        return Needed(batch // self.ranks * self._image, self._image)

    def known(self, ways=None):
        return {batch: self.at(batch) for batch in self.asked}


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("budget", [1, 99, 100, 101, 12_345])
@pytest.mark.parametrize("step", [1, 57, 10**9])
def test_the_largest_batch_is_the_last_that_fits(ranks, budget, step):
    planner = Line(100, step, division=Division(ranks))
    found = most_images(planner, budget)
    assert found % ranks == 0
    assert found < ranks or planner.at(found).total_bytes <= budget
    assert planner.at(found + ranks).total_bytes > budget


@pytest.mark.parametrize("ranks", [1, 3])
def test_no_batch_is_looked_for_beyond_the_largest_that_is_planned(ranks):
    planner = Line(100, 57, division=Division(ranks))
    assert most_images(planner, 10**12) == MAX_BATCH // ranks * ranks
    assert max(planner.asked) <= MAX_BATCH and len(planner.asked) < 40


def test_a_search_for_the_largest_batch_takes_few_tries():
    planner = Line(100, 57)
    most_images(planner, 123_456)
    assert len(planner.asked) <= 4
    again = Line(100, 57)
    assert most_images(again, 123_456, start=1180) == most_images(planner, 123_456)


def test_what_was_looked_at_for_one_budget_is_not_looked_at_again():
    planner = Line(100, 10**9)
    assert most_images(planner, 12_345) == 123
    looked = len(planner.asked)
    for budget, batch in ((12_300, 123), (12_399, 123), (12_400, 124), (12_299, 122)):
        assert most_images(planner, budget) == batch
        if batch == 123:
            assert len(planner.asked) == looked


def test_the_rung_of_other_ways_than_those_of_the_ladder_stands_in_it_too():
    found = survey(SMALL, "1MiB", device="cpu", reserve=1, ways=("chunks",))
    assert found.chosen in found.ladder and found.chosen.ways == ("chunks",)
    assert found.chosen.batch == gpunet.fit(SMALL, "1MiB", device="cpu", reserve=1, ways=("chunks",)).batch
    assert [rung.ways for rung in found.ladder].count(("recompute", "chunks")) == 1
    with pytest.raises(gpunet.BudgetError, match="one image takes"):
        gpunet.fit(SMALL, 2000, device="cpu", reserve=1)
    mixed = Net("8x8x3", [FC(4), BatchNorm(), FC(3)])
    with pytest.raises(gpunet.BudgetError, match="2 images, the least to train on, takes"):
        gpunet.fit(mixed, 2000, device="cpu", reserve=1)


@pytest.mark.parametrize("batch, near", [(1, 1), (2, 4), (3, 4), (4, 4), (7, 4), (8, 16), (31, 16), (32, 64)])
def test_a_batch_is_searched_for_with_those_from_half_to_twice_as_many(batch, near):
    assert nearby(batch) == near


def test_the_programs_of_the_last_batches_stay_for_a_plan():
    planner = Planner(SMALL, Options(device="cpu", reserve=1, scratch_limit=4000))
    for batch in (5, 6, 7, 9, 10):
        planner.needed(batch)
    kept = {batch: chooser.compile.__self__ for batch, chooser in planner._recent.items()}
    assert [*kept] == [7, 9, 10]
    assert planner.plan(7, 10**9).program in kept[7]._made.values() and [*planner._recent] == [9, 10, 7]


def test_a_smaller_scratch_limit_that_changes_nothing_compiles_nothing():
    planner = Planner(Net("4x4x1", [FC(3)]), Options(device="cuda", reserve=1))
    compiler = planner._compiler.at(4)
    assert compiler.compile(Ways(2**24)) is compiler.compile(Ways(2**20))
    conv = Planner(SMALL, Options(device="cpu", reserve=1))._compiler.at(4)
    assert conv.compile(Ways(8 * 2**20)) is not conv.compile(Ways(2**10))


def test_a_card_of_the_same_kind_shares_the_search_and_has_its_own_plan():
    one, other = (gpunet.devices.target("cuda", name) for name in ("rtx 3060", "gtx 1060 6gb"))
    planner = Planner(SMALL, Options(device=one))
    assert planner.on(one) is planner and planner.on(other).target is other
    budget = planner.plan(100, 10**9).total_bytes
    rung = largest(planner, budget, where=one)
    assert rung == largest(planner, budget) == largest(planner, budget, start=3)
    assert rung.batch >= 100 and rung.next_total_bytes > budget >= rung.total_bytes
    assert largest(planner, 1).batch == 0 and largest(planner, 1, where=other).total_bytes is None


# -- cuts ------------------------------------------------------------------------------------------


def crossing(net: Net) -> list[str]:
    """Activations that alone lead from what is made before to what is made behind, by looking at all pairs."""
    forward = [op for op in lowered(net, 4, "cpu").ops if op.phase == "forward" and op.name != "relu_mask"]
    found = []
    for at in range(len(forward) - 1):
        made = {t.name: t for op in forward[: at + 1] for t in op.outputs}
        over = {t.name for op in forward[at + 1 :] for t in op.inputs if t.name in made}
        if len(over) == 1 and (name := over.pop()) in {t.name for t in forward[at].outputs}:
            found += [name] * (made[name].kind == "activation")
    return found


def test_a_net_can_be_cut_where_one_activation_alone_crosses():
    branchy = Net(
        "8x8x3",
        [
            Node("a", Conv(4), ("input",)),
            Node("b", Conv(4), ("a",)),
            Node("c", ReLU(), ("b",)),
            Node("d", Add(), ("a", "c")),
            Node("e", MaxPool(2), ("d",)),
            Node("f", FC(3), ("e",)),
        ],
    )
    for net in (SMALL, branchy):
        assert chunk_cuts(lowered(net, 4, "cpu")) == crossing(net)
    mixed = Net("8x8x3", [Conv(4), ReLU(), BatchNorm(), Conv(4), FC(3)])
    assert chunk_cuts(lowered(mixed, 4, "cpu")) == ["conv1.y", "relu1.y"]


# -- ways ------------------------------------------------------------------------------------------


def test_every_smaller_budget_costs_no_less_and_holds_what_was_asked_for():
    options = {"device": "cpu", "reserve": 1, "scratch_limit": 4000, "max_cost": 2.0, "ways": ("recompute",)}
    net = Net("16x16x3", [layer for _ in range(5) for layer in (Conv(6), ReLU())] + [FC(3)])
    free, least = (gpunet.plan(net, 8, budget=budget, **options) for budget in (10**9, 1))
    assert free.extra_time_fraction == 0 and least.arena_bytes < free.arena_bytes
    plans = [
        gpunet.plan(net, 8, budget=least.total_bytes + (free.total_bytes - least.total_bytes) * part // 6, **options)
        for part in range(7)
    ]
    assert all(plan.fits for plan in plans)
    for tight, wide in pairwise(plans):
        assert tight.extra_time_fraction >= wide.extra_time_fraction and tight.total_bytes <= wide.total_bytes
    for plan in (least, free):
        assert plan.lower_bound_bytes <= max(live_bytes(plan.program)) + sum(
            t.nbytes for t in plan.program.tensors.values() if t.kind.persistent
        )
    assert not gpunet.plan(net, 8, budget=least.total_bytes - 1, **options).fits


def test_the_least_that_is_made_again_is_told_and_is_no_more_than_what_is():
    net = Net("16x16x3", [layer for _ in range(5) for layer in (Conv(6), ReLU())] + [FC(3)])
    plan = gpunet.plan(net, 8, budget=1, device="cpu", reserve=1, scratch_limit=4000, max_cost=2.0, ways=("recompute",))
    assert plan.ways.dropped and set(plan.ways.dropped) <= set(saved(lowered(net, 8, "cpu"))) | {"relu1.y"}
    assert plan.least_cost is not None and 0 <= plan.least_cost <= plan.extra_time_fraction
    assert replace(plan, least=None).least_cost is None and np.isfinite(plan.extra_time_fraction)


def test_of_what_runs_in_rounds_the_least_cost_is_told_too():
    plan = gpunet.plan(gpunet.load("vgg16"), 64, budget=1, reserve=1, max_cost=0.5)
    assert plan.ways.chunk and plan.ways.dropped
    assert 0 < plan.least_cost <= plan.extra_time_fraction
    assert plan.cost_gap == plan.extra_time_fraction - plan.least_cost < 0.1


def test_where_flops_are_to_be_few_the_gap_is_one_of_flops():
    options = {"device": "cpu", "reserve": 1, "scratch_limit": 4000, "ways": ("recompute",)}
    net = Net("16x16x3", [layer for _ in range(5) for layer in (Conv(6), ReLU())] + [FC(3)])
    plan = gpunet.plan(net, 8, budget=1, max_cost_flops=2.0, **options)
    assert 0 <= plan.least_cost <= plan.extra_flops_fraction
    assert plan.cost_gap == plan.extra_flops_fraction - plan.least_cost
