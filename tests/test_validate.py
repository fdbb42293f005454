"""The checker of placements: passes what is right and names what is wrong, whatever made it."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpunet.errors import PlanError
from gpunet.memory.arena import Buffer
from gpunet.memory.validate import validate

X = Buffer("x", 512, 0, 4)
Y = Buffer("y", 256, 3, 6)
Z = Buffer("z", 300, 4, 9)
GOOD = {"x": 0, "y": 512, "z": 0}


def test_a_sound_plan_passes() -> None:
    validate([X, Y, Z], GOOD, 768)


def test_an_arena_higher_than_needed_passes() -> None:
    validate([X, Y, Z], GOOD, 4096)


def test_overlap_names_both_buffers_their_bytes_and_their_steps() -> None:
    with pytest.raises(PlanError) as error:
        validate([X, Y, Z], {**GOOD, "y": 256}, 768)
    assert "x (steps [0, 4)) at bytes [0, 512)" in str(error.value)
    assert "y (steps [3, 6)) at bytes [256, 512)" in str(error.value)


@pytest.mark.parametrize(
    ("offsets", "height", "message"),
    [
        ({"x": 0, "y": 512}, 768, "z .* has no offset"),
        ({**GOOD, "w": 0}, 768, "no buffer: w"),
        ({**GOOD, "y": 600}, 1024, r"y .* \[600, 856\) is not aligned to 256"),
        ({**GOOD, "y": -256}, 768, r"y .* is outside"),
        (GOOD, 767, r"y .* \[512, 768\) is outside the arena's 767 bytes"),
        ({**GOOD, "y": 2**33}, 2**33 + 255, "y .* is outside"),
        ({**GOOD, "z": 256}, 768, "overlaps"),
    ],
)
def test_each_kind_of_fault_is_found(offsets: dict[str, int], height: int, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        validate([X, Y, Z], offsets, height)


@pytest.mark.parametrize("wrong", [Buffer("n", -1, 0, 1), Buffer("n", 1, 2, 2), Buffer("n", 1, 3, 2)])
def test_a_buffer_that_cannot_be_is_found(wrong: Buffer) -> None:
    with pytest.raises(PlanError, match=r"n .*negative size, or alive in no step"):
        validate([wrong], {"n": 0}, 256)


def test_two_buffers_of_one_name_are_found() -> None:
    with pytest.raises(PlanError, match="two buffers are called 'x'"):
        validate([X, X], {"x": 0}, 1024)


def test_an_overlap_of_one_byte_above_2_to_the_33_is_found() -> None:
    low, high = Buffer("low", 2**33 + 1, 0, 2), Buffer("high", 1, 1, 3)
    with pytest.raises(PlanError, match=r"low .* overlaps high"):
        validate([low, high], {"low": 0, "high": 2**33}, 2**34)
    validate([low, high], {"low": 0, "high": 2**33 + 256}, 2**34)


def test_a_large_buffer_over_a_small_one_is_found_from_both_sides() -> None:
    large, small = Buffer("large", 4096, 0, 9), Buffer("small", 8, 0, 9)
    for at in (0, 1024, 3840):
        with pytest.raises(PlanError, match="overlaps"):
            validate([large, small], {"large": 0, "small": at}, 8192)
        with pytest.raises(PlanError, match="overlaps"):
            validate([small, large], {"large": 0, "small": at}, 8192)


def test_buffers_without_bytes_overlap_nothing() -> None:
    validate([X, Buffer("empty", 0, 0, 9)], {"x": 0, "empty": 256}, 512)


boxes = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 5), st.integers(1, 4)), max_size=8)


@settings(max_examples=3_000, deadline=None)
@given(boxes)
def test_agrees_with_comparing_all_pairs(drawn: list[tuple[int, int, int, int]]) -> None:
    """Small random boxes, sound or not: the sweep says yes exactly where no two of all pairs collide."""
    buffers = [Buffer(f"b{i}", size, first, first + life) for i, (size, _, first, life) in enumerate(drawn)]
    offsets = {f"b{i}": at for i, (_, at, _, _) in enumerate(drawn)}
    colliding = any(
        max(a.first, b.first) < min(a.last, b.last)
        and max(offsets[a.name], offsets[b.name]) < min(offsets[a.name] + a.nbytes, offsets[b.name] + b.nbytes)
        for i, a in enumerate(buffers)
        for b in buffers[:i]
        if a.nbytes and b.nbytes
    )
    if colliding:
        with pytest.raises(PlanError, match="overlaps"):
            validate(buffers, offsets, 100, alignment=1)
    else:
        validate(buffers, offsets, 100, alignment=1)


def test_one_collision_among_hundreds_is_found() -> None:
    random = Random(5)
    buffers = [Buffer(f"b{i}", 256, 2 * (i // 20), 2 * (i // 20) + 2) for i in range(400)]
    offsets = {f"b{i}": 256 * (i % 20) for i in range(400)}
    validate(random.sample(buffers, 400), offsets, 20 * 256)
    offsets["b217"] = 256 * 4
    with pytest.raises(PlanError, match=r"b2(04|17) .* overlaps b2(04|17) "):
        validate(random.sample(buffers, 400), offsets, 20 * 256)
