"""What is fresh or free holds NaN bytes before every op, byte for byte, whatever the phases, rounds and swaps."""

import random

import numpy as np
import pytest

from gpunet import Model
from gpunet.compile.ways import Ways
from gpunet.model.poison import POISON, Poison, without
from gpunet.program.program import Turn
from tests.nets import small
from tests.test_ways import LIMIT, cuts, planned, saved_names


def test_ranges_without_others_are_those_of_sets_of_bytes() -> None:
    rng = random.Random(1)
    for _ in range(400):
        ends = sorted(rng.sample(range(60), 2 * rng.randint(0, 4)))
        ranges = list(zip(ends[::2], ends[1::2], strict=True))
        owned = sorted((first, first + rng.randint(0, 12)) for first in rng.choices(range(60), k=rng.randint(0, 6)))
        left = [byte for begin, end in without(ranges, owned) for byte in range(begin, end)]
        there = {byte for begin, end in ranges for byte in range(begin, end)}
        assert left == sorted(there - {byte for begin, end in owned for byte in range(begin, end)})


@pytest.mark.parametrize("kind", ["free", "recompute", "chunks", "micro-batches"])
def test_before_every_op_all_that_nothing_owns_is_poisoned(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = small()
    ways = {
        "free": Ways(LIMIT),
        "recompute": Ways(LIMIT, tuple(saved_names(net))),
        "chunks": Ways(LIMIT, cut=cuts(net)[-1], chunk=2),
        "micro-batches": Ways(LIMIT, micro_batch=2),
    }[kind]
    plan = planned(net, 5, "cpu", ways)
    fresh, looked = Poison.fresh, []

    def looking(self: Poison, turn: Turn) -> None:
        fresh(self, turn)
        found = self._arena.view(0, (plan.arena_bytes,), "uint8")
        owned = np.zeros(plan.arena_bytes, bool)
        for one in plan.alive(turn.step):
            owned[one.offset : one.offset + one.nbytes] = True
        assert owned.any() and not owned.all()
        assert (found[~owned] == POISON).all(), turn
        looked.append(turn.step)

    monkeypatch.setattr(Poison, "fresh", looking)
    rng = np.random.default_rng(3)
    with Model(net, 5, "cpu", plan=plan, debug=True) as model:
        for n in (5, 3, 5):
            images, labels = rng.standard_normal((n, *net.input.shape), np.float32), rng.integers(0, net.classes, n)
            model.step(images, labels)
            model.forward(images)
            model.gradients(images, labels)
    assert set(looked) == set(range(1, plan.steps))  # floats need no step that reads bytes
