"""Placement: nothing alive overlaps, ever; the lower bound is reached where it can be; same input, same offsets."""

from itertools import count, permutations
from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpunet.errors import PlanError
from gpunet.memory.arena import Buffer, place
from gpunet.memory.exact import reach
from gpunet.memory.problem import Problem
from gpunet.memory.search import first_fit, skyline
from tests.hard_plans import hard_plan


def overlaps(buffers: list[Buffer], offsets: dict[str, int]) -> list[tuple[str, str]]:
    """Every pair that shares a byte in some step, from the definition: all pairs."""
    found = []
    for i, a in enumerate(buffers):
        for b in buffers[:i]:
            together = max(a.first, b.first) < min(a.last, b.last)
            shared = min(offsets[a.name] + a.nbytes, offsets[b.name] + b.nbytes) - max(offsets[a.name], offsets[b.name])
            if together and a.nbytes and b.nbytes and shared > 0:
                found.append((b.name, a.name))
    return found


def most_alive(buffers: list[Buffer], alignment: int) -> int:
    """The lower bound from the definition: a sum for every step."""
    steps = range(min((b.first for b in buffers), default=0), max((b.last for b in buffers), default=0))
    rounded = {b.name: -(-b.nbytes // alignment) * alignment for b in buffers}
    return max((sum(rounded[b.name] for b in buffers if b.first <= step < b.last) for step in steps), default=0)


def test_neighbours_are_those_that_share_a_step(rng):
    for _ in range(50):
        buffers = int(rng.integers(1, 25))
        firsts = rng.integers(0, 12, buffers).tolist()
        lasts = [first + int(length) for first, length in zip(firsts, rng.integers(1, 7, buffers), strict=True)]
        shared = [
            [j for j in range(buffers) if j != i and firsts[j] < lasts[i] and firsts[i] < lasts[j]]
            for i in range(buffers)
        ]
        found = Problem([1] * buffers, firsts, lasts).neighbours
        assert [sorted(one) for one in found] == shared


@pytest.fixture
def still_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that stands still never cuts a search short, however busy the machine is."""
    monkeypatch.setattr("gpunet.memory.search.perf_counter", lambda: 0.0)


sizes = st.one_of(
    st.integers(0, 3000), st.sampled_from([0, 1, 255, 256, 257, 2**31 - 1, 2**31, 2**33 + 1]), st.integers(2**31, 2**36)
)
lives = st.tuples(st.integers(0, 12), st.integers(1, 12))


@st.composite
def plans(draw: st.DrawFn) -> list[Buffer]:
    drawn = draw(st.lists(st.tuples(sizes, lives), max_size=9))
    return [Buffer(f"b{i}", nbytes, first, first + life) for i, (nbytes, (first, life)) in enumerate(drawn)]


def assert_sound(buffers: list[Buffer], base: list[Buffer], alignment: int) -> None:
    placed = place(buffers, base=base, alignment=alignment, deadline_s=0.001)
    end = max((b.last for b in buffers), default=1)
    everything = [*buffers, *(Buffer(b.name, b.nbytes, 0, end) for b in base)]
    assert overlaps(everything, placed.offsets) == []
    assert placed.offsets.keys() == {b.name for b in everything}
    assert all(offset >= 0 and offset % alignment == 0 for offset in placed.offsets.values())
    assert all(placed.offsets[b.name] + b.nbytes <= placed.height_bytes for b in everything)
    assert placed.lower_bound_bytes == most_alive(everything, alignment) <= placed.height_bytes
    assert placed.height_bytes % alignment == 0


@settings(max_examples=3_000, deadline=None)
@given(plans())
def test_no_overlap_in_random_plans(buffers: list[Buffer]) -> None:
    assert_sound(buffers, [], 256)


@settings(max_examples=2_000, deadline=None)
@given(plans(), st.integers(0, 9), st.sampled_from([1, 3, 256, 4096]))
def test_no_overlap_above_a_base(buffers: list[Buffer], persistent: int, alignment: int) -> None:
    assert_sound(buffers[persistent:], buffers[:persistent], alignment)


@pytest.mark.parametrize("seed", range(30))
def test_no_overlap_in_plans_of_hundreds(seed: int) -> None:
    """Long random plans, which hypothesis would take too long to draw; every way of building offsets on its own."""
    random = Random(seed)
    many = random.randrange(50, 250)
    problem = Problem(
        [random.randrange(1, 2 ** random.randrange(2, 40)) for _ in range(many)],
        firsts := [random.randrange(300) for _ in range(many)],
        [first + random.randrange(1, 2 ** random.randrange(1, 9)) for first in firsts],
    )
    order = random.sample(range(many), many)
    for offsets in (first_fit(problem, order), skyline(problem, order, 2**62)):
        assert offsets is not None
        buffers = [Buffer(str(i), problem.sizes[i], problem.firsts[i], problem.lasts[i]) for i in range(many)]
        assert overlaps(buffers, {str(i): at for i, at in enumerate(offsets)}) == []


def test_base_is_contiguous_in_its_order_and_never_shared() -> None:
    base = [Buffer("w", 1000, 0, 9), Buffer("b", 3, 0, 9), Buffer("empty", 0, 0, 9), Buffer("v", 1024, 0, 9)]
    placed = place([Buffer("x", 512, 2, 3), Buffer("y", 512, 3, 4)], base=base)
    assert placed.offsets == {"w": 0, "b": 1024, "empty": 1280, "v": 1280, "x": 2304, "y": 2304}
    assert placed.height_bytes == placed.lower_bound_bytes == 2816
    assert placed.gap == 0


def test_half_open_lives_hand_their_bytes_on() -> None:
    placed = place([Buffer(f"x{i}", 2**33, i, i + 1) for i in range(5)])
    assert set(placed.offsets.values()) == {0}
    assert placed.height_bytes == 2**33


def test_offsets_beyond_2_to_the_33() -> None:
    placed = place([Buffer("x", 2**33 + 1, 0, 2), Buffer("y", 2**33 + 1, 0, 2), Buffer("z", 1, 0, 2)])
    assert sorted(placed.offsets.values())[-1] >= 2**34
    assert placed.height_bytes == 2 * (2**33 + 256) + 256


def test_nothing_to_place() -> None:
    placed = place([])
    assert (placed.offsets, placed.height_bytes, placed.lower_bound_bytes, placed.gap) == ({}, 0, 0, 0)
    assert place([Buffer("x", 0, 0, 1)]).offsets == {"x": 0}


@pytest.mark.parametrize("layers", [3, 8, 16, 40])
@pytest.mark.parametrize("seed", range(8))
def test_lower_bound_is_reached_on_training_steps(layers: int, seed: int) -> None:
    """Outputs kept for the backward pass, two gradients alive at a time, scratch, and a gradient of the weights."""
    random = Random(seed)
    end = 4 * layers
    buffers = []
    for i in range(layers):
        volume, back = random.randint(1, 10**7), end - 2 * i
        buffers += [
            Buffer(f"y{i}", volume, 2 * i, back),
            Buffer(f"columns{i}", random.randint(1, 10**6), 2 * i, 2 * i + 1),
            Buffer(f"dy{i}", volume, max(back - 3, 0), back),
            Buffer(f"d_columns{i}", random.randint(1, 10**6), back - 2, back),
            Buffer(f"dw{i}", random.randint(1, 4 * 10**6), back - 2, end + 1),
        ]
    placed = place(buffers)
    assert placed.gap <= 0.002
    if layers <= 16:
        assert placed.height_bytes == placed.lower_bound_bytes


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cut_into", [50, 200, 400])
@pytest.mark.usefixtures("still_clock")
def test_hard_plans_stay_within_a_quarter_of_the_optimum(seed: int, cut_into: int) -> None:
    buffers = hard_plan(seed, cut_into, units=20_000)
    placed = place(buffers, deadline_s=3.0)
    assert placed.lower_bound_bytes == 20_000 * 256
    assert overlaps(buffers, placed.offsets) == []
    assert placed.gap <= 0.25


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 5), st.integers(1, 4)), min_size=1, max_size=5), st.randoms()
)
def test_exact_search_finds_the_optimum_and_no_less(drawn: list[tuple[int, int, int]], random: Random) -> None:
    """The optimum by brute force: first-fit in all orders, one of which is that of an optimum's offsets."""
    problem = Problem([d[0] for d in drawn], [d[1] for d in drawn], [d[1] + d[2] for d in drawn])
    positions = range(len(drawn))
    optimum = min(max(problem.ends(first_fit(problem, list(order)))) for order in permutations(positions))
    order = random.sample(positions, len(drawn))
    offsets = reach(problem, order, optimum, work=10**9, stop=inf)
    assert offsets is not None
    assert max(problem.ends(offsets)) == optimum
    buffers = [Buffer(str(i), size, first, first + life) for i, (size, first, life) in enumerate(drawn)]
    assert overlaps(buffers, {str(i): at for i, at in enumerate(offsets)}) == []
    assert reach(problem, order, optimum - 1, work=10**9, stop=inf) is None


@pytest.mark.parametrize("cut_into", [50, 60, 70])
@pytest.mark.usefixtures("still_clock")
def test_exact_search_fills_a_rectangle_without_a_hole(cut_into: int) -> None:
    placed = place(hard_plan(20, cut_into))
    assert placed.gap == 0


@pytest.mark.usefixtures("still_clock")
def test_searching_on_pays() -> None:
    buffers = hard_plan(1, 150)
    at_once, searched = place(buffers, deadline_s=0), place(buffers, deadline_s=2.0)
    assert searched.height_bytes < at_once.height_bytes
    assert searched.order == "search"


@pytest.mark.usefixtures("still_clock")
def test_same_input_same_offsets() -> None:
    """Rounds of search are counted, not timed: as long as the clock allows them all, chance plays no part."""
    buffers = hard_plan(3, 60, steps=40)
    assert place(buffers, deadline_s=0.2) == place(buffers, deadline_s=0.2)


def test_the_clock_stops_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine so slow that each look at the clock takes 10 s tries the orders, and hardly more."""
    clock, built = count(0, 10), []
    monkeypatch.setattr("gpunet.memory.search.perf_counter", lambda: next(clock))
    monkeypatch.setattr("gpunet.memory.search.skyline", lambda *given: built.append(1) or skyline(*given))
    buffers = hard_plan(1, 150)
    placed = place(buffers, deadline_s=1.0)
    assert overlaps(buffers, placed.offsets) == []
    assert len(built) < 10


@pytest.mark.parametrize(
    ("buffers", "message"),
    [
        ([Buffer("x", 1, 3, 3)], r"x: lives in steps \[3, 3\)"),
        ([Buffer("x", 1, 3, 1)], r"x: lives in steps \[3, 1\)"),
        ([Buffer("pool1.y", -4, 0, 1)], "pool1.y: a size of -4 bytes"),
        ([Buffer("x", 1, 0, 1), Buffer("x", 1, 4, 5)], "two buffers are called 'x'"),
    ],
)
def test_impossible_buffers_are_named(buffers: list[Buffer], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        place(buffers)
    with pytest.raises(PlanError, match=message):
        place([], base=buffers)


def test_a_name_in_base_and_above_it_is_refused() -> None:
    with pytest.raises(PlanError, match="two buffers are called 'x'"):
        place([Buffer("x", 1, 0, 1)], base=[Buffer("x", 1, 0, 1)])


def test_alignment_must_be_positive() -> None:
    with pytest.raises(PlanError, match="alignment"):
        place([], alignment=0)
