"""Random nets of branches: gradients are PyTorch's, and no saving changes them, whoever shares an output with whom.

Outputs with several readers are where a sum of gradients, a rewrite, a second making or a loop could go wrong.
"""

from typing import Any

import numpy as np
import pytest

import gpunet
from gpunet import Model, Net, Plan
from gpunet.compile.chunk import chunk_cuts
from gpunet.compile.recompute import saved
from gpunet.compile.rewrite import REWRITES, rewrite
from gpunet.compile.ways import BEFORE, Ways
from gpunet.devices import open_device
from gpunet.devices.device import Device
from gpunet.memory.plan import buffers
from gpunet.memory.validate import validate
from gpunet.optimize.learning import Learning
from tests.graphs import judge, random_graph
from tests.test_ways import LIMIT, lowered, planned

N = 4


def drawn(seed: int, **options) -> tuple[Net, np.ndarray, np.ndarray, np.random.Generator]:
    """A net, N images, their labels, and what draws the rest."""
    rng = np.random.default_rng(seed)
    net = random_graph(rng, layers=int(rng.integers(2, 14)), **options)
    return net, rng.standard_normal((N, *net.input.shape)), rng.integers(0, net.classes, N), rng


def opened(net: Net, device: Device, **options) -> Model:
    """A model in float64, with poison in all that is fresh or free, that starts from no biases of 0."""
    model = Model(net, N, device, seed=3, dtype="float64", debug=True, **options)
    rng = np.random.default_rng(0)
    for parameter in (p for p in model.plan.program.parameters if p.gradient is not None):
        name = parameter.tensor.name
        model.parameters[name] = model.parameters[name] + 0.1 * rng.standard_normal(parameter.tensor.shape)
    return model


def trained(net: Net, device: Device, images: np.ndarray, labels: np.ndarray, **options) -> dict[str, np.ndarray]:
    """The gradients of a first step, and the parameters behind two of different sizes."""
    with opened(net, device, **options) as model:
        assert model.arena_bytes == model.plan.arena_bytes
        found = {f"d{name}": value for name, value in model.gradients(images, labels).items()}
        model.step(images, labels)
        model.step(images[:3], labels[:3])
        return found | dict(model.parameters.items())


def as_bytes(found: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in found.items()}


def assert_near(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray], bound: float, *told: object) -> None:
    """Relative to the largest value of each tensor; what is 0 but for rounding has no size."""
    largest = max(np.abs(value).max() for value in wanted.values())
    for name, value in wanted.items():
        size = max(np.abs(value).max(), 1e-3 * largest)
        assert np.abs(found[name] - value).max() <= bound * size, (name, *told)


def learning(net: Net, seed: int) -> Learning:
    """Half of the nets learn all, in the others some layers are frozen; the last one, which makes the scores, never."""
    rng = np.random.default_rng(seed)
    some = rng.random() < 0.5
    learn = [node.name for node in net.nodes[:-1] if any(weights.learnt for weights in net.weights(node))]
    return Learning(freeze=[name for name in learn if some and rng.random() < 0.4])


def check_against_pytorch(device: Device, seed: int) -> None:
    net, images, labels, _ = drawn(seed)
    how = learning(net, seed)
    with opened(net, device, optimizer=how) as model:
        loss, wanted = judge(net, model.parameters, images, labels, how.freeze)
        found = model.gradients(images, labels)
        nothing = {name: np.zeros(value.shape) for name, value in found.items()}  # what no gradient of PyTorch reaches
        assert_near(found, {name: wanted.get(name, value) for name, value in nothing.items()}, 1e-10, seed)
        assert abs(model.step(images, labels) - loss) <= 1e-10 * max(1, abs(loss))


def check_savings(device: Device, seed: int) -> None:
    net, images, labels, rng = drawn(seed, across_images=bool(seed % 2), drops=True)
    how = learning(net, seed)
    plain = trained(net, device, images, labels, optimizer=how, scratch_limit=LIMIT)
    for without in (tuple(REWRITES), *((name,) for name in REWRITES)):
        found = trained(net, device, images, labels, optimizer=how, scratch_limit=LIMIT, without=without)
        assert as_bytes(found) == as_bytes(plain), (seed, without)

    def run(ways: Ways) -> dict[str, np.ndarray]:
        plan = planned(net, N, device.name, ways, optimizer=how, dtype="float64")
        return trained(net, device, images, labels, plan=plan)

    program = rewrite(lowered(net, N, device.name, optimizer=how), only=BEFORE)
    names = list(saved(program))
    once = run(Ways(LIMIT))
    for part in (1, 0.5):
        dropped = tuple(name for name in names if rng.random() <= part)
        late = bool(rng.random() < 0.5)
        twice = tuple(name for name in dropped if rng.random() < 0.5)
        made = [t.name for op in program.ops if op.phase == "forward" for t in op.outputs if t.name not in names]
        kept = tuple(name for name in made if rng.random() < 0.2)
        ways = Ways(LIMIT, dropped, late=late, kept=kept, twice=twice)
        assert as_bytes(run(ways)) == as_bytes(once), (seed, ways)
    rounds = [Ways(LIMIT, dropped, cut, int(rng.integers(1, N))) for cut in chunk_cuts(program)[-2:]]
    rounds += [] if net.mixing(how.freeze) else [Ways(LIMIT, dropped, micro_batch=int(rng.integers(1, N)))]
    for ways in rounds:
        assert_near(run(ways), once, 1e-9, seed, ways)


def check_budgets(device: Device, seed: int) -> None:
    net, images, labels, _ = drawn(seed, across_images=bool(seed % 2))
    how = learning(net, seed)
    full = budgeted(net, device, optimizer=how)
    plain = trained(net, device, images, labels, plan=full)
    for part in (0.8, 0.5):
        plan = budgeted(net, device, optimizer=how, budget=full.reserve_bytes + int(part * full.arena_bytes))
        assert_near(trained(net, device, images, labels, plan=plan), plain, 1e-9, seed, plan.ways)


def budgeted(net: Net, device: Device, **options) -> Plan:
    return gpunet.plan(net, N, device=device.name, dtype="float64", max_cost=2.0, **options)


def check_tight_plans(seed: int) -> bool:
    """A plan for less than what is free takes: within the budget, and no two tensors alive in one step share a byte.

    The validator says so, which knows nothing of how they were placed. Returns whether anything is made again.
    """
    rng = np.random.default_rng(seed)
    net = random_graph(rng, layers=int(rng.integers(3, 10)), drops=True)
    device = str(rng.choice(["cpu", "cuda"]))
    options: dict[str, Any] = dict(device=device, optimizer="sgd", scratch_limit=4000, reserve=1)
    free, least = (gpunet.plan(net, N, budget=budget, max_cost=2.0, **options).total_bytes for budget in (2**40, 1))
    plan = gpunet.plan(net, N, budget=int(rng.integers(least, free + 1)), max_cost=2.0, **options)
    assert plan.fits and plan.extra_time_fraction <= 2 and least <= plan.total_bytes <= free
    base, moving = buffers(plan.program)
    validate([*base, *moving], plan.placement.offsets, plan.arena_bytes)
    made = {t.name for op in plan.program.ops for t in op.outputs}
    for name in (*plan.ways.dropped, *plan.ways.kept):
        assert name in made
    assert all(f"{name}.again2" in made for name in plan.ways.twice)
    return bool(plan.ways.dropped)


CHECKS = [check_against_pytorch, check_savings, check_budgets]


@pytest.mark.parametrize("check", CHECKS)
def test_random_graphs(device, check):
    check(device, 2)


@pytest.mark.parametrize("check, seeds", [(check_against_pytorch, 80), (check_savings, 5), (check_budgets, 12)])
def test_many_random_graphs_on_the_cpu(check, seeds):
    for seed in range(10, 10 + seeds):
        check(open_device("cpu"), seed)


@pytest.mark.slow
def test_more_random_graphs_save_on_the_cpu():
    for seed in range(15, 40):
        check_savings(open_device("cpu"), seed)


def test_tight_plans_of_random_graphs_are_sound():
    assert sum(map(check_tight_plans, range(5000, 5060))) > 20


@pytest.mark.slow
def test_thousands_of_tight_plans_of_random_graphs_are_sound():
    assert sum(map(check_tight_plans, range(10_000, 15_000))) > 1000


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_hundreds_of_random_graphs(check):
    for seed in range(1000, 1300):
        check(open_device("cpu"), seed)
