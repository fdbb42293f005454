"""`gpunet.fit`: the largest batch for a budget, exactly (it fits, one more does not), and the ladder of ways."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from gpunet.errors import BudgetError
from gpunet.memory.plan import Plan
from gpunet.memory.size import format_bytes, parse_bytes
from gpunet.net.net import Net
from gpunet.planner import MAX_BATCH, WAYS, plan, plan_within

LADDER: tuple[tuple[str, ...], ...] = ((), ("recompute",), ("recompute", "chunks"), ("micro-batches",))
"""The rungs, by what they may use beyond the free savings."""


@dataclass(frozen=True, slots=True)
class Rung:
    """The largest batch for a budget in some ways, () for the free savings alone; `total_bytes`: arena and reserve.

    `batch` is 0 and `total_bytes` None where not even one image fits; next_total_bytes is what one more would take.
    """

    ways: tuple[str, ...]
    batch: int
    total_bytes: int | None
    next_total_bytes: int
    extra_flops_fraction: float


@dataclass(frozen=True, slots=True)
class Fit:
    """The largest batch for a budget; total_bytes (arena and reserve) with it, and with one image more."""

    budget_bytes: int
    batch: int
    total_bytes: int
    next_total_bytes: int
    extra_flops_fraction: float = 0.0


def fit(net: Net, budget: str | int, **options: Any) -> Fit:
    """The largest batch of `net` that fits the budget; options are those of `gpunet.plan`.

    Raises BudgetError where not even one image fits, with the budget that would hold it.
    """
    budget_bytes = parse_bytes(budget)
    found = _largest(net, budget_bytes, options)
    if found.total_bytes is None:
        raise _too_small(net, budget_bytes, options)
    return Fit(budget_bytes, found.batch, found.total_bytes, found.next_total_bytes, found.extra_flops_fraction)


def ladder(net: Net, budget: str | int, **options: Any) -> list[Rung]:
    """The largest batch in each way, from the free savings alone to micro-batches; options are those of `gpunet.plan`.

    `ways` among the options limits the rungs; with max_cost=0, or for inference, there is the free one alone.
    """
    allowed: Collection[str] = options.pop("ways", (*WAYS, "micro-batches"))
    free_only = options.get("max_cost", 1) == 0 or options.get("mode", "train") == "infer"
    rungs = [rung for rung in LADDER if set(rung) <= set(allowed) and not (free_only and rung)]
    return [_largest(net, parse_bytes(budget), {**options, "ways": rung}) for rung in rungs]


def _largest(net: Net, budget_bytes: int, options: dict[str, Any]) -> Rung:
    """Doubling, then halving the distance between a batch that fits and one that does not."""
    best: Plan | None = None

    def fits(batch: int) -> bool:
        nonlocal best
        made = plan_within(net, batch, budget=budget_bytes, **options)
        best = made or best
        return made is not None

    ways = tuple(options.get("ways", WAYS))
    most, too_many = 0, 1
    while too_many <= MAX_BATCH and fits(too_many):
        most, too_many = too_many, 2 * too_many
    too_many = min(too_many, MAX_BATCH + 1)
    while too_many - most > 1:
        middle = (most + too_many) // 2
        most, too_many = (middle, too_many) if fits(middle) else (most, middle)
    following = plan(net, min(most + 1, MAX_BATCH), budget=budget_bytes, **options).total_bytes
    if best is None:
        return Rung(ways, 0, None, following, 0.0)
    return Rung(ways, most, best.total_bytes, following, best.extra_flops_fraction)


def _too_small(net: Net, budget_bytes: int, options: dict[str, Any]) -> BudgetError:
    """Says what one image takes, and the tensor that takes most of it."""
    one = plan(net, 1, budget=budget_bytes, **options)
    largest = max(one.alive(one.peak_step), key=lambda planned: planned.nbytes)
    return BudgetError(
        f"{net.name} does not fit {format_bytes(budget_bytes)}: one image takes {format_bytes(one.total_bytes)} "
        f"({format_bytes(one.reserve_bytes)} of it reserve, {format_bytes(largest.nbytes)} for {largest.name}); "
        f"a budget of {one.total_bytes} bytes would hold it"
    )
