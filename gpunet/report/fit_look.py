"""What the largest batch for a budget looks like: a line, and a small table."""

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gpunet.memory.size import format_bytes
from gpunet.planning.fitter import Fit
from gpunet.report.ways import cost


def fit_line(fit: Fit) -> str:
    """What was found, in one line."""
    more = f", {cost(fit.extra_flops_fraction, fit.extra_time_fraction)}" if fit.extra_time_fraction else ""
    card = f" ({fit.card})" if fit.card else ""
    return (
        f"{fit.net}{': ' if fit.net else ''}batch {fit.batch:,} takes {format_bytes(fit.total_bytes)} of "
        f"{format_bytes(fit.budget_bytes)}{card}{more}"
    )


def fit_table(fit: Fit) -> Table:
    """The batch that fits, and one image more, beside the budget."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading in ("batch", "total", "", "of the budget"):
        table.add_column(heading, justify="right")
    for batch, total in ((fit.batch, fit.total_bytes), (fit.batch + 1, fit.next_total_bytes)):
        table.add_row(f"{batch:,}", format_bytes(total), f"{total:,} B", beside_budget(fit, total))
    return table


def beside_budget(fit: Fit, total_bytes: int) -> str:
    """How far a total lies from the budget, in words."""
    spare = fit.budget_bytes - total_bytes
    return f"{format_bytes(spare)} to spare" if spare >= 0 else f"{format_bytes(-spare)} over"
