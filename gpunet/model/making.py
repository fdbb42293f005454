"""What is settled before a model is made: the device that is meant, and that its plan fits."""

from contextlib import suppress
from typing import Unpack

from gpunet.devices import device_name, open_device
from gpunet.errors import BudgetError, DeviceError
from gpunet.memory.plan import Plan
from gpunet.memory.size import format_bytes
from gpunet.net.net import Net
from gpunet.planning.fitter import fit
from gpunet.planning.options import Given
from gpunet.program.program import DeviceName


def choose_device(name: str) -> DeviceName:
    """ "auto" becomes cuda where a GPU can be opened, else cpu; other names must be known."""
    if name != "auto":
        return device_name(name)
    with suppress(DeviceError):
        open_device("cuda").close()
        return "cuda"
    return "cpu"


def require_fit(net: Net, plan: Plan, **options: Unpack[Given]) -> Plan:
    """The plan, if it fits its budget. Raises BudgetError, naming the batch that would, where it does not.

    `options`  those of `gpunet.plan` that the plan was made with; budget, batch and what it is for aside
    """
    if plan.fits or plan.budget_bytes is None:
        return plan
    options["device"] = plan.target
    largest = fit(net, plan.budget_bytes, **options)
    raise BudgetError(
        f"{net.name} at batch {plan.batch} takes {format_bytes(plan.total_bytes)}, "
        f"{format_bytes(plan.total_bytes - plan.budget_bytes)} more than the budget of "
        f"{format_bytes(plan.budget_bytes)}; "
        f"the largest batch that fits is {largest.batch}"
    )
