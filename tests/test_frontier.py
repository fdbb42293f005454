"""The search for what to drop: against brute force on small nets, against a relaxation on large ones."""

from itertools import pairwise, product

import numpy as np
import pytest

import gpunet
from gpunet import FC, BatchNorm, Concat, Conv, Net, Node, ReLU
from gpunet.compile.dropping import Dropping
from gpunet.compile.frontier import Counted, Point, frontier
from gpunet.compile.makers import Cost, Makers, Price, makers_of
from gpunet.compile.relaxation import least_price
from gpunet.compile.ways import change
from gpunet.planning.clock import cost_of
from tests.graphs import random_graph
from tests.nets import random_net, shipped
from tests.test_dropping import NS, WAYS, prepared

PLENTY = Cost(10**30, 10**30)
BY_TIME = Price(0, 1)


def makers(net: Net, device: str = "cpu", without: tuple[str, ...] = ()) -> Makers:
    return makers_of(change(prepared(net, device), WAYS, without), NS)


def turn(net: Net, device: str = "cpu") -> int:
    """The first step of the backward pass."""
    return next(at for at, op in enumerate(change(prepared(net, device), WAYS).ops) if op.phase == "backward")


def price_within(points: list[Point], limit: int, price: Price = BY_TIME) -> int | None:
    """Of the cheapest point that holds a limit."""
    return next((price(point.cost) for point in points if point.peak_bytes <= limit), None)


def brute_force(found: Makers) -> list[tuple[int, Cost]]:
    """Bytes and cost of every choice of what to drop."""
    saved = [at for at, value in enumerate(found.values) if value.saved]
    state, every = Dropping(found), []
    for dropped in product([False, True], repeat=len(saved)):
        missing, twice = Dropping(found).marks
        for at, gone in zip(saved, dropped, strict=True):
            missing[at] = gone
        state.become((missing, twice))
        every.append((state.peak, state.cost))
    return every


def test_on_small_nets_it_is_as_good_as_brute_force():
    """What is made twice, or kept beside, it may even do better; at most one limit in fifty may cost more."""
    worse, all_of_them = [], 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        net = random_graph(rng, layers=int(rng.integers(3, 8))) if seed % 2 else random_net(rng, layers=6)
        found = makers(net)
        if not 1 <= sum(value.saved for value in found.values) <= 6:
            continue
        price = (BY_TIME, Price(10**9, 1))[seed % 3 == 0]
        points, every = frontier(found, price, PLENTY), brute_force(found)
        for limit in sorted({peak for peak, _ in every}):
            best = min(price(cost) for peak, cost in every if peak <= limit)
            mine = price_within(points, limit, price)
            all_of_them += 1
            if mine is None or mine > best:
                worse.append((seed, limit, best, mine))
    assert all_of_them > 150 and len(worse) <= all_of_them / 50, worse


def test_points_cost_more_and_more_for_less_and_less_and_no_more_than_they_may():
    for seed in range(8):
        found = makers(random_graph(np.random.default_rng(seed), layers=12))
        free = frontier(found, BY_TIME, PLENTY)
        assert free[0] == Point(max(found.live), Cost())
        for before, after in pairwise(free):
            assert after.peak_bytes < before.peak_bytes and after.cost.ns > before.cost.ns
        most = Cost(10**30, free[-1].cost.ns // 2)
        assert all(point.cost.within(most) for point in frontier(found, BY_TIME, most))
        assert frontier(found, BY_TIME, Cost()) == free[:1]


def test_the_bytes_of_every_point_are_those_of_its_choice():
    found = makers(shipped("vgg16_bn"))
    points = frontier(found, BY_TIME, PLENTY)
    counted = Counted(found, points)
    assert [counted[at] for at in reversed(range(len(counted)))] == points[::-1]
    for at, point in enumerate(points):
        assert counted.first_within(point.peak_bytes) == at
        assert counted.first_within(point.peak_bytes - 1) == at + 1


def test_a_chain_of_equal_layers_needs_twice_the_square_root_of_them():
    """With n links of one size and price, segments of sqrt(n) leave about 2*sqrt(n) of them at once."""
    count = 25
    net = Net("8x8x4", [*[layer for _ in range(count) for layer in (Conv(4), ReLU())], FC(2)])
    found = makers(net)
    one = 8 * 8 * 8 * 4 * 4  # images x values x bytes
    rest = max(found.live) - count * one
    assert frontier(found, BY_TIME, PLENTY)[-1].peak_bytes - rest <= (2 * count**0.5 + 4) * one


def test_what_needs_no_product_is_dropped_for_no_flops():
    found = makers(gpunet.load("resnet50"), "cuda")
    first, *_, last = frontier(found, Price(10**9, 1), Cost(0, 10**30))
    assert last.cost.flops == 0 < last.cost.ns
    assert last.peak_bytes < 0.75 * first.peak_bytes
    assert {"relu4.y", "relu7.y"} <= set(last.dropped)


def test_of_a_concatenation_of_concatenations_the_parts_are_kept():
    """DenseNets: what is made of products is small, and all the rest follows from it."""
    nodes, at = [Node("conv0", Conv(8), ("input",))], "conv0"
    for number in range(1, 9):
        nodes += [
            Node(f"bn{number}", BatchNorm(), (at,)),
            Node(f"relu{number}", ReLU(), (f"bn{number}",)),
            Node(f"conv{number}", Conv(4), (f"relu{number}",)),
            Node(f"concat{number}", Concat(), (at, f"conv{number}")),
        ]
        at = f"concat{number}"
    net = Net("16x16x3", [*nodes, Node("fc", FC(2), (at,))])
    copied, within = (
        frontier(makers(net, without=without), Price(10**9, 1), Cost(0, 10**30)) for without in (("concat",), ())
    )
    assert any(point.kept for point in copied)  # where they do not lie in what they are parts of anyway
    for points in (copied, within):
        assert points[-1].cost.flops == 0 and points[-1].peak_bytes < 0.65 * points[0].peak_bytes


@pytest.mark.parametrize("name", ["vgg16_bn", pytest.param("googlenet", marks=pytest.mark.slow)])
def test_on_nets_of_blocks_it_comes_near_the_relaxation(name):
    """What is alive while something is made again is not in the relaxation: for the least memory it says little."""
    net = gpunet.load(name)
    found, first = makers(net, "cuda"), turn(net, "cuda")
    points = frontier(found, BY_TIME, Cost(10**30, cost_of(change(prepared(net, "cuda"), WAYS), NS).ns // 20))
    bounds = [least_price(found, BY_TIME, point.peak_bytes, first) or 0 for point in points]
    for bound, point in zip(bounds, points, strict=True):
        assert bound <= point.cost.ns * (1 + 1e-9)
    assert len(points) > 10 and sum(point.cost.ns for point in points) <= 1.25 * sum(bounds)


def test_the_relaxation_is_below_every_choice():
    for seed in range(12):
        rng = np.random.default_rng(200 + seed)
        net = random_graph(rng, layers=6)
        found, first = makers(net), turn(net)
        if sum(value.saved for value in found.values) > 6:
            continue
        every = brute_force(found)
        for limit in {peak for peak, _ in every}:
            bound = least_price(found, BY_TIME, limit, first)
            best = min(cost.ns for peak, cost in every if peak <= limit)
            assert bound is not None and bound <= best * (1 + 1e-6)
        assert least_price(found, BY_TIME, max(found.live), first) == 0
