"""The largest batch for a budget: it fits, one more does not."""

from typing import Any

import numpy as np
import pytest

import gpunet
from gpunet import BudgetError
from gpunet.planning import fitter
from gpunet.planning.options import Options
from gpunet.planning.planner import MAX_BATCH, Planner
from tests.nets import random_net, small, vgg16


@pytest.mark.parametrize("cases", [12, pytest.param(100, marks=pytest.mark.slow)])
def test_the_batch_fits_and_one_more_does_not_on_random_nets_and_budgets(cases):
    rng = np.random.default_rng(11)
    for _ in range(cases):
        net = random_net(rng, layers=int(rng.integers(1, 8)))
        options = dict(device=str(rng.choice(["cpu", "cuda"])), optimizer=str(rng.choice(["sgd", "momentum"])))
        budget = gpunet.plan(net, 1, **options).total_bytes + int(rng.integers(0, 10**6))
        found = gpunet.fit(net, budget, **options)
        with_it = gpunet.plan(net, found.batch, budget=budget, **options)
        with_one_more = gpunet.plan(net, found.batch + 1, budget=budget, **options)
        assert with_it.fits and not with_one_more.fits
        assert (found.total_bytes, found.next_total_bytes) == (with_it.total_bytes, with_one_more.total_bytes)


@pytest.mark.parametrize(
    "net, budget", [(small(), "521MiB"), pytest.param(vgg16(), "4GiB", marks=pytest.mark.slow)], ids=["small", "vgg16"]
)
def test_the_totals_that_are_named_are_budgets_that_hold_those_batches(net, budget):
    found = gpunet.fit(net, budget)
    assert gpunet.fit(net, found.total_bytes).batch == found.batch
    assert gpunet.fit(net, found.next_total_bytes).batch >= found.batch + 1


@pytest.mark.slow
def test_vgg16_fits_more_images_into_more_memory():
    batches = [gpunet.fit(vgg16(), budget).batch for budget in ("3GiB", "6GiB", "12GiB")]
    assert batches == sorted(batches) and batches[0] >= 1
    assert gpunet.fit(vgg16(), "12GiB", mode="infer").batch > batches[-1]


def test_a_budget_too_small_for_one_image_says_which_would_do():
    with pytest.raises(BudgetError, match="vgg16 does not fit 1 GiB: one image takes") as error:
        gpunet.fit(vgg16(), "1GiB")
    assert error.value.exit_code == 1
    needed = int(str(error.value).split("a budget of ")[1].split()[0])
    assert gpunet.fit(vgg16(), needed).batch >= 1
    with pytest.raises(BudgetError):
        gpunet.fit(vgg16(), needed - 1)


@pytest.mark.parametrize("start", [1, 40, 5_000, MAX_BATCH])
def test_the_search_finds_the_same_batch_from_below_and_from_above_in_few_tries(start, monkeypatch):
    tried: list[int] = []
    needed = Planner.needed

    def counted(self: Planner, batch: int, ways: tuple[str, ...] | None = None) -> Any:
        tried.append(batch)
        assert len(tried) < 50, f"the search does not end: {tried}"
        return needed(self, batch, ways)

    monkeypatch.setattr(Planner, "needed", counted)
    options: dict[str, Any] = dict(device="cpu", reserve=1, max_cost=0)
    budget = gpunet.plan(small(), 37, **options).total_bytes
    wanted = gpunet.fit(small(), budget, **options)
    tried.clear()
    found = fitter.largest(Planner(small(), Options(**options)), budget, start=start)
    assert 37 <= found.batch == wanted.batch and found.total_bytes <= budget < found.next_total_bytes
    *before, following = tried  # which was tried before, and is told at the end
    assert before[0] == start and len(before) < 24 and len(set(before)) == len(before) and following in before
