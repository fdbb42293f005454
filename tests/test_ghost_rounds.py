"""Ghost rounds: a step in rounds, each a batch to batch normalization; against PyTorch, and as parts in turn."""

from typing import Any

import numpy as np
import pytest
import torch

import gpunet
from gpunet import FC, BatchNorm, ConfigError, Conv, Model, Net, ReLU
from gpunet.compile.ranks import Division
from gpunet.devices.device import Device
from gpunet.planning.fitter import ladder, survey

NET = Net("6x5x3", [Conv(4), BatchNorm(momentum=0.3), ReLU(), FC(3)], name="normed")
RUNNING = ("bn1.mean", "bn1.variance")
ASKED: dict[str, Any] = dict(budget=1, optimizer="sgd", ways=["ghost-rounds"])


def batch(images: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(images)
    return rng.standard_normal((images, 6, 5, 3)), rng.integers(0, 3, images)


def stepped(images: int, device: Device, parts: int = 1, **options: Any) -> dict[str, np.ndarray]:
    """The parameters after one step of a plan with these options, or in so many parts."""
    told: dict[str, Any] = {"dtype": "float64", "optimizer": "sgd"}
    plan = gpunet.plan(NET, images, device=device.name, division=Division(parts=parts), **{**told, **options})
    with Model(NET, images, device, seed=1, learning_rate=0.1, plan=plan, debug=True, **told) as model:
        model.step(*batch(images))
        return {name: np.array(values) for name, values in model.parameters.items()}


def by_pytorch(start: dict[str, np.ndarray], images: int, rounds: list[int]) -> dict[str, np.ndarray]:
    """One step of SGD in rounds of so many images, each normalized by itself; the running statistics move once, to the
    mean of those of the rounds, by how many images these have."""
    t = {name: torch.tensor(values, requires_grad=name not in RUNNING) for name, values in start.items()}
    x, labels = batch(images)
    loss, first, mean, variance = 0.0, 0, 0.0, 0.0
    for count in rounds:
        part = torch.tensor(x[first : first + count]).permute(0, 3, 1, 2)
        y = torch.nn.functional.conv2d(part, t["conv1.w"].permute(0, 3, 1, 2), t["conv1.b"], padding=1)
        mean = mean + count / images * y.detach().mean((0, 2, 3))
        variance = variance + count / images * y.detach().var((0, 2, 3), unbiased=False)
        y = torch.nn.functional.batch_norm(y, None, None, t["bn1.scale"], t["bn1.shift"], training=True)
        y = torch.relu(y).permute(0, 2, 3, 1).flatten(1) @ t["fc1.w"].T + t["fc1.b"]
        wanted = torch.tensor(labels[first : first + count])
        loss = loss + torch.nn.functional.cross_entropy(y, wanted, reduction="sum") / images
        first += count
    loss.backward()
    made = {name: (v - 0.1 * v.grad if v.requires_grad else v).detach().numpy() for name, v in t.items()}
    n = max(rounds) * 30
    return made | {
        "bn1.mean": 0.7 * start["bn1.mean"] + 0.3 * mean.numpy(),
        "bn1.variance": 0.7 * start["bn1.variance"] + 0.3 * variance.numpy() * n / (n - 1),
    }


def starting() -> dict[str, np.ndarray]:
    with Model(NET, 7, "cpu", seed=1, dtype="float64") as model:
        return {name: np.array(values) for name, values in model.parameters.items()}


@pytest.mark.parametrize("images, rounds", [(7, [2, 2, 2, 1]), (9, [2, *[1] * 7])])
def test_each_round_is_a_batch_to_batch_normalization_and_running_statistics_move_once(device, images, rounds):
    """They move to the mean over the rounds, each weighed by its images."""
    found, wanted = stepped(images, device, **ASKED), by_pytorch(starting(), images, rounds)
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-10, atol=1e-12, err_msg=name)


def test_they_are_the_bits_of_as_many_parts_in_turn_and_not_those_of_one_go(device):
    found, parts, at_once = (stepped(7, device, **how) for how in (ASKED, {"parts": 4}, {}))
    assert all(found[name].tobytes() == parts[name].tobytes() for name in found)
    assert any(found[name].tobytes() != at_once[name].tobytes() for name in found)


def test_they_are_as_few_as_a_budget_wants_and_none_where_they_are_not_asked_for():
    large = Net("32x32x3", [Conv(8), BatchNorm(), ReLU(), Conv(8), BatchNorm(), ReLU(), FC(3)])
    options: dict[str, Any] = dict(device="cpu", reserve=1)
    free = gpunet.plan(large, 64, **options).total_bytes
    found = []
    for share in (1.0, 0.7, 0.45, 0.3):
        plan = gpunet.plan(large, 64, budget=int(share * free), ways=["ghost-rounds"], **options)
        assert plan.fits and plan.parts == max(plan.ways.ghost_rounds, 1)
        found.append(plan.ways.ghost_rounds)
    assert found == sorted(found) and found[0] == 0 and len(set(found)) > 2
    assert not gpunet.plan(large, 64, budget=int(0.2 * free), **options).ways.ghost_rounds
    asked = gpunet.plan(large, 64, budget=int(0.3 * free), ways=["recompute", "ghost-rounds"], **options)
    assert asked.fits and asked.ways.names == ("ghost-rounds",)


def test_they_stand_in_a_ladder_where_they_are_asked_for():
    options: dict[str, Any] = dict(device="cpu", reserve=1, optimizer="sgd")
    budget = gpunet.plan(NET, 16, **options).total_bytes
    assert ("ghost-rounds",) not in [rung.ways for rung in ladder(NET, budget, **options)]
    ways = ("recompute", "chunks", "ghost-rounds")
    found = survey(NET, budget, ways=ways, **options)
    assert found.chosen.ways == ways and found.chosen.batch > found.ladder[0].batch >= 16
    assert found.chosen.batch == gpunet.fit(NET, budget, ways=ways, **options).batch


def test_what_they_cannot_be_is_refused_in_a_sentence():
    plain = Net("6x5x3", [Conv(4), ReLU(), FC(3)], name="plain")
    with pytest.raises(ConfigError, match="no layer of plain takes any: ask for micro-batches"):
        gpunet.plan(plain, 4, **ASKED)
    with pytest.raises(ConfigError, match="divided into 2 parts, and ghost rounds would divide it, too: leave one"):
        gpunet.plan(NET, 4, **ASKED, division=Division(2))
    with pytest.raises(ConfigError, match="use a smaller batch, or, where results may be others, ask for ghost rounds"):
        gpunet.plan(NET, 4, budget=1, ways=["micro-batches"])


def test_a_layer_that_needs_two_images_has_them_in_every_round():
    pairs = Net("6x5x3", [Conv(4), ReLU(), FC(3), BatchNorm()])
    plan = gpunet.plan(pairs, 33, **ASKED)
    assert plan.ways.ghost_rounds == 16 and min(last - first for first, last in plan.program.loops[0].rounds(33)) == 2
