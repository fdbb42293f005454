"""Plans and fits as tables for people. Sizes are in KiB, MiB and GiB of 1024."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gpunet.fit import Fit
from gpunet.memory.plan import Plan
from gpunet.memory.size import format_bytes
from gpunet.net.net import Net
from gpunet.program.tensor import Kind
from gpunet.report.rows import Row, layer_rows, loss_row

LEARNT = (Kind.PARAMETER, Kind.PARAMETER_GRADIENT, Kind.OPTIMIZER_CACHE)
NOTHING = "-"
NOTE = """\
Each row counts what its layer makes at any time of the step; gradients are those of its input; -: nothing, or in
the bytes of another. Not all of it is alive at once: the totals are more than the peak (for scratch, the largest)."""


def plan_parts(net: Net, plan: Plan, verdict: str) -> list[Table | str]:
    """A plan, ready to show: what was asked, the layers, the peak by kind, the sums and the verdict."""
    return [
        headline(plan),
        "",
        layer_table(net, plan),
        "",
        NOTE,
        "",
        kind_table(plan),
        "",
        sum_table(plan),
        "",
        verdict,
    ]


def layer_table(net: Net, plan: Plan) -> Table:
    """A row for each layer, and their total."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, show_footer=True)
    rows = layer_rows(net, plan)
    if loss := loss_row(net, plan):
        rows.append(loss)
    table.add_column("layer", "total")
    table.add_column("volume")
    for heading, total in (
        ("parameters", f"{net.parameters:,}"),
        ("activations", _size(sum(_activations(row) for row in rows))),
        ("gradients", _size(sum(row.bytes[Kind.GRADIENT] for row in rows))),
        ("weights+\ngrads+\ncaches", _size(sum(_learnt(row) for row in rows))),
        ("scratch", _size(max(row.bytes[Kind.WORKSPACE] for row in rows))),
    ):
        table.add_column(heading, total, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            str(row.volume or ""),
            f"{row.parameters:,}" if row.parameters else NOTHING,
            _size(_activations(row)),
            _size(row.bytes[Kind.GRADIENT]),
            _size(_learnt(row)),
            _size(row.bytes[Kind.WORKSPACE]),
        )
    return table


def kind_table(plan: Plan) -> Table:
    """What is alive at the peak, by kind."""
    op = plan.program.ops[plan.peak_step]
    peak = plan.live_bytes[plan.peak_step]
    table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(justify="right")
    table.add_column()
    table.add_row(
        "peak",
        format_bytes(peak),
        "",
        f"at step {plan.peak_step + 1} of {plan.steps}, {op.phase}: {op.name} of {op.layer}",
    )
    for kind, count in plan.by_kind.items():
        table.add_row(f"  {kind.replace('_', ' ')}", _size(count), f"{count / peak:.1%}" if count else "", "")
    return table


def sum_table(plan: Plan) -> Table:
    """From the lower bound to the budget."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(justify="right")
    table.add_column()
    gap = plan.arena_bytes - plan.lower_bound_bytes
    above = f"{plan.placement.gap:.2%} ({format_bytes(gap)}) above" if gap else "exactly"
    lines = [
        ("lower bound", plan.lower_bound_bytes, "the most that is alive at once, rounded up to 256 bytes a tensor"),
        ("arena", plan.arena_bytes, f"one allocation for all tensors, {above} the lower bound"),
        ("reserve", plan.reserve_bytes, f"what {_around(plan.device)} takes outside the arena: {plan.reserve_source}"),
        ("total", plan.total_bytes, "arena + reserve"),
    ]
    if plan.budget_bytes is not None:
        lines.append(("budget", plan.budget_bytes, ""))
    for name, count, note in lines:
        table.add_row(name, format_bytes(count), f"{count:,} B", note)
    return table


def fit_table(fits: Sequence[Fit]) -> Table:
    """The largest batch for each budget."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading in ("budget", "largest batch", "total", "to spare", "one image more"):
        table.add_column(heading, justify="right")
    for fit in fits:
        if not fit.batch:
            table.add_row(format_bytes(fit.budget_bytes), "none", NOTHING, NOTHING, format_bytes(fit.next_total_bytes))
            continue
        table.add_row(
            format_bytes(fit.budget_bytes),
            f"{fit.batch:,}",
            format_bytes(fit.total_bytes),
            format_bytes(fit.budget_bytes - fit.total_bytes),
            format_bytes(fit.next_total_bytes),
        )
    return table


def cost_line(plan: Plan, *, free: bool = False) -> str:
    """What a plan costs, in one line; `free`: its budget is what nobody else uses."""
    budget = "" if plan.budget_bytes is None else f" of {format_bytes(plan.budget_bytes)}{' free' if free else ''}"
    parts = f"arena {format_bytes(plan.arena_bytes)} + reserve {format_bytes(plan.reserve_bytes)}"
    return f"{headline(plan)}: {format_bytes(plan.total_bytes)}{budget} ({parts})"


def verdict(plan: Plan, way_out: str = "") -> str:
    """Whether a plan fits its budget and by how much; `way_out` is what would fit."""
    if plan.budget_bytes is None:
        return f"takes {format_bytes(plan.total_bytes)}; no budget was given"
    spare = plan.budget_bytes - plan.total_bytes
    return (
        f"fits, {format_bytes(spare)} to spare" if spare >= 0 else f"does not fit by {format_bytes(-spare)}; {way_out}"
    )


def headline(plan: Plan) -> str:
    """What was asked for, in one line."""
    what = f"training with {plan.optimizer}" if plan.mode == "train" else "inference"
    return f"{plan.net}, {what}, batch {plan.batch:,}, {plan.dtype}, on {plan.device}"


def _around(device: str) -> str:
    return {"cuda": "the CUDA context with its kernels", "cpu": "Python with NumPy"}.get(device, "the process")


def _activations(row: Row) -> int:
    """Images and labels are the input's activations here."""
    return row.bytes[Kind.ACTIVATION] + row.bytes[Kind.DATA]


def _learnt(row: Row) -> int:
    return sum(row.bytes[kind] for kind in LEARNT)


def _size(count: int) -> str:
    return format_bytes(count) if count else NOTHING
