"""A plan that the machine can hold: within the budget that was said, else within what is free."""

from typing import TYPE_CHECKING, Any

from gpunet.cli import options

if TYPE_CHECKING:
    from gpunet.memory.plan import Plan
    from gpunet.net.net import Net


def affordable_plan(net: "Net", batch: int, device: str, budget: str | int | None, **settings: Any) -> "Plan":
    """A plan within the budget; where none was said, what is free counts if the plan would take more than that.

    `settings`  further options of `gpunet.plan`

    Raises BudgetError where it does not fit.
    """
    from gpunet.model.making import choose_device, require_fit
    from gpunet.planning.planner import plan

    free = options.free_bytes(device) if budget is None else {}  # before opening a GPU takes some of it
    settings |= {"device": choose_device(device)}
    made = plan(net, batch, budget=budget, **settings)
    free_bytes = free.get(made.device)
    if free_bytes is not None and made.total_bytes > free_bytes:
        made = plan(net, batch, budget=max(free_bytes, 1), **settings)
    return require_fit(net, made, **settings)
