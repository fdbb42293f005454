"""Plans and fits as tables for people. Sizes are in KiB, MiB and GiB of 1024."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gpunet.devices.cards import capability, with_article
from gpunet.devices.name import kind_of
from gpunet.devices.target import DeviceTarget
from gpunet.memory.plan import Plan
from gpunet.memory.size import format_bytes, format_speed
from gpunet.net.net import Net
from gpunet.planning.fitter import Rung, Survey
from gpunet.program.tensor import Kind
from gpunet.report import ways
from gpunet.report.figures import NOTHING
from gpunet.report.predicted import cell, layer_times, time_table
from gpunet.report.rows import Row, layer_rows, loss_rows
from gpunet.report.timeline import timeline_parts

LEARNT = (Kind.PARAMETER, Kind.PARAMETER_GRADIENT, Kind.OPTIMIZER_CACHE)
NOTE = """\
Each row counts what its layer makes at any time of the step; gradients are those of its input; -: nothing, or in
the bytes of another. Not all of it is alive at once: the totals are more than the peak (for scratch, the largest)."""


def plan_parts(
    net: Net, plan: Plan, verdict: str, *, timeline: bool = False, times: bool = False, images: int | None = None
) -> list[Table | str]:
    """A plan, ready to show: what was asked, the layers, the peak by kind, the sums, the cost and the verdict.

    `timeline`  who is alive at the peak, too
    `times`     what is predicted of each layer, too; `images`: those of an epoch, whose hours are told
    """
    return [
        headline(plan),
        "",
        layer_table(net, plan),
        "",
        NOTE,
        "",
        kind_table(plan),
        "",
        *([*timeline_parts(plan), ""] if timeline else []),
        sum_table(plan),
        "",
        cost_table(plan),
        "",
        *([*layer_times(net, plan), ""] if times else []),
        time_table(plan, images),
        "",
        verdict,
    ]


def layer_table(net: Net, plan: Plan) -> Table:
    """A row for each layer, and their total."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, show_footer=True)
    rows = layer_rows(net, plan) + loss_rows(net, plan)
    table.add_column("layer", "total")
    table.add_column("volume")
    for heading, total in (
        ("parameters", f"{sum(row.parameters for row in rows):,}"),
        ("activations", _size(sum(_activations(row) for row in rows))),
        ("gradients", _size(sum(row.bytes[Kind.GRADIENT] for row in rows))),
        ("weights+\ngrads+\ncaches", _size(sum(_learnt(row) for row in rows))),
        ("scratch", _size(max(row.bytes[Kind.WORKSPACE] for row in rows))),
    ):
        table.add_column(heading, total, justify="right")
    if any(row.how for row in rows):
        table.add_column("how")
    for row in rows:
        table.add_row(
            row.name,
            str(row.volume or ""),
            f"{row.parameters:,}" if row.parameters else NOTHING,
            _size(_activations(row)),
            _size(row.bytes[Kind.GRADIENT]),
            _size(_learnt(row)),
            _size(row.bytes[Kind.WORKSPACE]),
            *([row.how] if len(table.columns) > 7 else []),
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
        f"at step {plan.peak_step} (0 to {plan.steps - 1}), {op.phase}: {op.name} of {op.layer}",
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
    above = f"{plan.placement.gap:.3%} above the lower bound" if gap else "none: the lower bound is reached"
    placed = f"placed in {1000 * plan.placement.seconds:,.1f} ms, {plan.placement.order}"
    lines = [
        ("lower bound", plan.lower_bound_bytes, "the most that is alive at once, rounded up to 256 bytes a tensor"),
        ("gap", gap, f"{above}; {placed}"),
        ("arena", plan.arena_bytes, "one allocation for all tensors"),
        ("reserve", plan.reserve_bytes, f"what {_around(plan.device)} takes outside the arena: {plan.reserve_source}"),
        ("total", plan.total_bytes, "arena + reserve"),
    ]
    if plan.budget_bytes is not None:
        all_of_it = plan.budget_bytes == plan.target.total_bytes
        lines.append(("budget", plan.budget_bytes, plan.target.total_source if all_of_it else ""))
    for name, count, note in lines:
        table.add_row(name, format_bytes(count), f"{count:,} B", note)
    return table


def cost_table(plan: Plan) -> Table:
    """FLOPs of a step, the ways that were chosen, and the largest im2col matrix."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=False)
    flops = ways.format_flops(ways.step_flops(plan))
    table.add_row("step", f"{flops} in matrix products")
    table.add_row("ways", ways.describe(plan))
    table.add_row("scratch", f"at most {format_bytes(plan.scratch_limit_bytes)} for a convolution")
    return table


def fit_table(surveys: Sequence[Survey]) -> Table:
    """The ladder of each budget; * marks the rung that is taken, which the options allow."""
    rungs = [rung for survey in surveys for rung in survey.ladder]
    timed = any(rung.images_per_second is not None for rung in rungs)
    predicted = any(rung.predicted_ms is not None for rung in rungs)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("budget", justify="right")
    table.add_column("ways")
    for heading in ("largest batch", "total", "to spare", "one image more", "more time", "extra FLOPs"):
        table.add_column(heading, justify="right")
    if timed:
        table.add_column("images/s", justify="right")
    if predicted:
        table.add_column("predicted ms", justify="right")
    for survey in surveys:
        for number, rung in enumerate(survey.ladder):
            budget = "" if number else format_bytes(survey.budget_bytes)
            cells = _rung_cells(rung, survey.budget_bytes, chosen=rung is survey.chosen)
            speed = NOTHING if rung.images_per_second is None else format_speed(rung.images_per_second)
            times = [*([speed] if timed else []), *([cell(rung.predicted_ms)] if predicted else [])]
            table.add_row(budget, *cells, *times, end_section=rung is survey.ladder[-1])
    return table


def fit_parts(surveys: Sequence[Survey]) -> list[Table | str]:
    """The ladders, ready to show: for which card they are, and what their marks mean."""
    where, budget_bytes = surveys[0].target, surveys[0].budget_bytes
    parts: list[Table | str] = []
    if where.card:
        source = f", {budget_bytes:,} B: {where.total_source}" if budget_bytes == where.total_bytes else ""
        parts += [made_for(where) + source, ""]
    parts += [fit_table(surveys), "", "*   what plan and train do for that budget with these options"]
    if any("micro-batches" in rung.ways for survey in surveys for rung in survey.ladder):
        parts.append(ways.MICRO_BATCH_NOTE)
    if any("ghost-rounds" in rung.ways for survey in surveys for rung in survey.ladder):
        parts.append(ways.GHOST_NOTE)
    return parts


def _rung_cells(rung: Rung, budget_bytes: int, *, chosen: bool) -> list[str]:
    """From the ways to the extra FLOPs."""
    name, mark = ways.LADDER_WORDS[rung.ways], " *" if chosen else "  "
    over = rung.next_total_bytes - budget_bytes
    more = f"{format_bytes(over)} over" if over > 0 else NOTHING  # nothing is planned beyond the largest batch
    if rung.total_bytes is None:
        return [name, f"none{mark}", NOTHING, NOTHING, more, NOTHING, NOTHING]
    return [
        name,
        f"{rung.batch:,}{mark}",
        format_bytes(rung.total_bytes),
        format_bytes(budget_bytes - rung.total_bytes),
        more,
        f"{rung.extra_time_fraction:.2%}" if rung.extra_time_fraction else NOTHING,
        f"{rung.extra_flops_fraction:.2%}" if rung.extra_flops_fraction else NOTHING,
    ]


def cost_line(plan: Plan, *, free_bytes: int | None = None) -> str:
    """What a plan costs, in one line; `free_bytes`: what nobody else uses, where that is to be shown for a budget."""
    limit = plan.budget_bytes if free_bytes is None else free_bytes
    budget = "" if limit is None else f" of {format_bytes(limit)}{'' if free_bytes is None else ' free'}"
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
    what += f", {ways.frozen(plan)} frozen" if plan.frozen else ""
    what += f", gradients clipped at {clipped}" if (clipped := ways.clipped(plan)) else ""
    what += f", batch {plan.whole_batch:,}{_of_each(plan)}, {plan.dtype}, on {plan.device}"
    return f"{plan.net}, {what}, {made_for(plan.target)}" if plan.card else f"{plan.net}, {what}"


def _of_each(plan: Plan) -> str:
    return f" ({plan.batch:,} on each of {plan.ranks} ranks)" if plan.ranks > 1 else ""


def made_for(target: DeviceTarget) -> str:
    """A card with its compute capability: "for an RTX 3060 12GB (compute capability 8.6)"."""
    return f"for {with_article(target.card)} (compute capability {capability(target.compute_capability)})"


def _around(device: str) -> str:
    return {"cuda": "the CUDA context with its kernels", "cpu": "Python with NumPy"}.get(kind_of(device), "the process")


def _activations(row: Row) -> int:
    """Images and labels are the input's activations here."""
    return row.bytes[Kind.ACTIVATION] + row.bytes[Kind.DATA]


def _learnt(row: Row) -> int:
    return sum(row.bytes[kind] for kind in LEARNT)


def _size(count: int) -> str:
    return format_bytes(count) if count else NOTHING
