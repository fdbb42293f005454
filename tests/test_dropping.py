"""What a choice of dropped values takes: counted one by one as it changes, against the program compiled for it."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from gpunet import Net
from gpunet.compile.chunk import chunk_cuts
from gpunet.compile.dropping import Dropping, Marks
from gpunet.compile.lower import lower
from gpunet.compile.makers import Makers, makers_of
from gpunet.compile.recompute import extra_flops, is_again, saved
from gpunet.compile.ways import Ways, change, prepare
from gpunet.devices import target
from gpunet.planning.choose import bound
from gpunet.planning.clock import clock
from gpunet.program.program import Dtype, Program
from gpunet.program.tensor import HALVES
from tests.graphs import random_graph
from tests.nets import random_net, shipped

BATCH = 8
WAYS = Ways(4000, one_buffer=True)
NS = clock("", BATCH)


def prepared(net: Net, device: str = "cpu", *, rounds: bool = False, dtype: Dtype = "float32") -> Program:
    return prepare(
        lower(
            net,
            batch=BATCH,
            mode="train",
            dtype=dtype,
            optimizer="sgd",
            target=target(device),
            scratch_limit_bytes=WAYS.scratch_limit_bytes,
            accumulates=rounds,
        )
    )


def some(makers: Makers, rng: np.random.Generator) -> Marks:
    """Some values dropped, some others kept, some made twice."""
    values = makers.values
    missing = [rng.random() < 0.4 if v.saved else not (v.fixed or (v.keepable and rng.random() < 0.2)) for v in values]
    return missing, [bool(rng.random() < 0.3) for _ in values]


def with_it(ways: Ways, state: Dropping) -> Ways:
    dropped, kept, twice = state.names
    return replace(ways, dropped=dropped, kept=kept, twice=twice)


def counted(
    net: Net, rng: np.random.Generator, ways: Ways = WAYS, device: str = "cpu", dtype: Dtype = "float32"
) -> Iterator[float]:
    """For some choices, the bytes that were counted over those of the program; what else is counted must be exact."""
    before = prepared(net, device, rounds=ways.rounds, dtype=dtype)
    plain = change(before, ways)
    state = Dropping(makers_of(plain, NS))
    assert state.peak == bound(plain) and state.cost.flops == state.cost.ns == 0
    for _ in range(3):
        state.become(some(state.makers, rng))
        made = change(before, with_it(ways, state))
        assert state.cost.flops == extra_flops(made)
        assert state.cost.ns == pytest.approx(sum(NS(op) for op in made.ops if is_again(op)), rel=0.5)
        yield state.peak / bound(made)


def test_what_is_counted_is_what_a_program_takes_but_for_what_rewrites_do_better():
    found: list[float] = []
    for seed in range(24):
        rng = np.random.default_rng(seed)
        layers = int(rng.integers(4, 12))
        found += counted(
            random_graph(rng, layers=layers, drops=True) if seed % 2 else random_net(rng, layers=layers), rng
        )
    assert min(found) > 0.97 and np.mean([ratio == 1 for ratio in found]) > 0.5 and np.mean(found) < 1.02


@pytest.mark.parametrize("name", ["resnet50", "googlenet", "mobilenet_v2", "densenet121"])
def test_what_is_counted_of_nets_of_blocks_is_exact_to_a_hundredth(name):
    found = list(counted(shipped(name), np.random.default_rng(1), device="cuda"))
    assert min(found) > 0.99 and max(found) < 1.05


@pytest.mark.parametrize("dtype", HALVES)
def test_copies_of_weights_are_counted_too(dtype):
    found: list[float] = []
    for seed in range(8):
        rng = np.random.default_rng(200 + seed)
        net = random_graph(rng, layers=8) if seed % 2 else random_net(rng, layers=8)
        found += counted(net, rng, dtype=dtype)
    assert min(found) > 0.97 and np.mean([ratio == 1 for ratio in found]) > 0.5 and np.mean(found) < 1.04
    found = list(counted(shipped("googlenet"), np.random.default_rng(1), device="cuda", dtype=dtype))
    assert min(found) > 0.97 and max(found) < 1.05


def test_rounds_are_counted_too():
    found: list[float] = []
    for seed in range(12):
        rng = np.random.default_rng(100 + seed)
        net = random_net(rng, layers=8)
        before = prepared(net, rounds=True)
        for cut in [name for name in chunk_cuts(before) if name in saved(before)][-2:]:
            found += counted(net, rng, replace(WAYS, cut=cut, chunk=2))
    assert min(found) > 0.97 and np.mean(found) < 1.02


@pytest.mark.parametrize("seed", range(4))
def test_a_choice_is_the_same_whatever_came_before_it(seed):
    rng = np.random.default_rng(seed)
    makers = makers_of(change(prepared(random_graph(rng, layers=10)), WAYS), NS)
    walked = Dropping(makers)
    for _ in range(6):
        walked.become(some(makers, rng))
        at_once = Dropping(makers)
        at_once.become(walked.marks)
        assert (walked.peak, walked.cost, walked.names) == (at_once.peak, at_once.cost, at_once.names)
        assert walked.most.tolist() == at_once.most.tolist()
    walked.become(walked.marks_of((), (), ()))
    assert walked.most.tolist() == Dropping(makers).most.tolist() and walked.cost.ns == 0


def test_what_is_made_twice_is_gone_between_its_two_makings():
    """A chain whose first value is needed for all of it, and by backward at the very end."""
    net = shipped("vgg16_bn")
    before = prepared(net)
    state = Dropping(makers_of(change(before, WAYS), NS))
    names = {value.name: at for at, value in enumerate(state.makers.values)}
    state.toggle(names["conv1.y"], names["relu1.y"])
    once = change(before, with_it(WAYS, state))
    twice = change(before, replace(with_it(WAYS, state), twice=("conv1.y",)))
    first, last = once.lifetimes["conv1.y.again"]
    assert once.lifetimes["conv1.y.again"] == (first, last) and "conv1.y.again2" not in once.tensors
    assert twice.lifetimes["conv1.y.again"][1] < twice.lifetimes["conv1.y.again2"][0]
    assert extra_flops(twice) == 2 * extra_flops(once)
