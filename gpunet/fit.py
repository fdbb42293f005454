"""`gpunet.fit`: the largest batch for a budget, exactly: it fits, one more does not."""

from dataclasses import dataclass
from typing import Any

from gpunet.errors import BudgetError
from gpunet.memory.plan import Plan
from gpunet.memory.size import format_bytes, parse_bytes
from gpunet.net.net import Net
from gpunet.planner import MAX_BATCH, plan


@dataclass(frozen=True, slots=True)
class Fit:
    """The largest batch for a budget; total_bytes (arena and reserve) with it, and with one image more."""

    budget_bytes: int
    batch: int
    total_bytes: int
    next_total_bytes: int


def fit(net: Net, budget: str | int, **options: Any) -> Fit:
    """The largest batch of `net` that fits the budget; options are those of `gpunet.plan`.

    Raises BudgetError where not even one image fits, with the budget that would hold it.
    """
    budget_bytes = parse_bytes(budget)
    plans: dict[int, Plan] = {}

    def total(batch: int) -> int:
        if batch not in plans:
            plans[batch] = plan(net, batch, budget=budget_bytes, **options)
        return plans[batch].total_bytes

    if total(1) > budget_bytes:
        raise BudgetError(
            f"{net.name} does not fit {format_bytes(budget_bytes)}: one image takes {format_bytes(total(1))} "
            f"({format_bytes(plans[1].reserve_bytes)} of it reserve); a budget of {total(1)} bytes would hold it"
        )
    fits = 1
    while total(min(2 * fits, MAX_BATCH)) <= budget_bytes and fits < MAX_BATCH:
        fits = min(2 * fits, MAX_BATCH)
    too_many = min(2 * fits, MAX_BATCH + 1)
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        fits, too_many = (middle, too_many) if total(middle) <= budget_bytes else (fits, middle)
    following = total(fits + 1) if fits < MAX_BATCH else total(fits)
    return Fit(budget_bytes, fits, total(fits), following)
