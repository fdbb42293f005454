"""A profile as tables for people."""

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gpunet.memory.size import format_bytes, format_speed
from gpunet.profile.measure import Profile
from gpunet.report.figures import NOTHING, number
from gpunet.report.profile_rows import ProfileRow, profile_rows, rate
from gpunet.report.table import headline
from gpunet.report.ways import describe, needed

NOTE = """\
planned: all that the layer makes at any time of the step. GB/s: every input and output of an op once, in 10**9 bytes;
scratch is not counted. GFLOP/s: of matrix products, over their time alone. Times are medians."""

WHO = {"device": "whole GPU", "process": "this process", "pool": "CuPy's pool"}


def profile_parts(profile: Profile) -> list[Table | str]:
    """A profile, ready to show."""
    return [
        f"{headline(profile.plan)}: {profile.hardware or 'an unknown machine'}",
        *([f"to fit: {describe(profile.plan)}"] if needed(profile.plan) else []),
        "",
        op_table(profile),
        "",
        NOTE,
        "",
        step_table(profile),
        "",
        memory_table(profile),
        "",
        against_table(profile),
    ]


def op_table(profile: Profile) -> Table:
    """A row for each layer, and their total; what is made again, and rounds, only where there are any."""
    rows = profile_rows(profile)
    again, rounds = any(row.again_ms for row in rows), any(row.rounds > 1 for row in rows)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, show_footer=True)
    whole = ProfileRow(rows[0].planned, profile.ops)
    table.add_column("layer", "total")
    table.add_column("volume")
    for heading, total in _columns(whole, again, rounds, sum_of_planned=""):
        table.add_column(heading, total, justify="right")
    for row in rows:
        cells = _columns(row, again, rounds, sum_of_planned=_size(row.planned_bytes))
        table.add_row(row.planned.name, str(row.planned.volume or ""), *(cell for _, cell in cells))
    return table


def _columns(row: ProfileRow, again: bool, rounds: bool, *, sum_of_planned: str) -> Iterable[tuple[str, str]]:
    """(heading, cell) of the columns right of the volume."""
    yield "forward\nms", number(row.forward_ms)
    yield "backward\nms", number(row.backward_ms)
    if again:
        yield "made again\nms", number(row.again_ms)
    yield "update\nms", number(row.update_ms)
    if rounds:
        yield "rounds", str(row.rounds) if row.rounds > 1 else NOTHING
    yield "planned", sum_of_planned
    yield "GB/s", number(row.gb_per_s)
    yield "GFLOP/s", number(row.gflop_per_s)


def step_table(profile: Profile) -> Table:
    """The ops beside the whole step, and images a second."""
    table = _plain()
    flops = rate(sum(op.flops for op in profile.ops), profile.step_ms)
    speed = (
        f"{format_speed(profile.images_per_second)} images/s, {number(flops)} GFLOP/s; median of {profile.steps} steps"
    )
    rest = "copying the batch in, starting ops, reading the loss"
    if profile.rest_ms < 0:
        rest = "the steps that were timed op by op were slower than the whole ones"
    table.add_row("ops", f"{number(profile.ops_ms)} ms", "all of the above")
    table.add_row("rest", f"{number(profile.rest_ms)} ms", rest)
    table.add_row("whole step", f"{number(profile.step_ms)} ms", speed)
    return table


def memory_table(profile: Profile) -> Table:
    """In use before, at the peak and after, by who is counted."""
    memory = profile.memory
    looks = {"before": memory.before, "at the peak": memory.peak, "after": memory.after}
    who = [name for name in WHO if any(name in look for look in looks.values())]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(f"in use, says {memory.told_by}")
    for name in who:
        table.add_column(WHO[name], justify="right")
    for when, look in looks.items():
        table.add_row(when, *(format_bytes(look[name]) if name in look else NOTHING for name in who))
    return table


def against_table(profile: Profile) -> Table:
    """Planned, measured, and the difference."""
    plan, memory = profile.plan, profile.memory
    used, difference = memory.used_bytes, profile.difference_bytes
    table = _plain()
    lines: list[tuple[str, int | None, str]] = [("arena", plan.arena_bytes, "one allocation for all tensors")]
    if memory.opening:
        lines.append(("reserve", plan.reserve_bytes, plan.reserve_source))
        lines.append(("planned", profile.planned_bytes, "arena + reserve"))
    what = "this process at the peak" if "process" in memory.peak else "the whole GPU at the peak, less what was before"
    lines.append(("measured", used, what if memory.opening else f"{what}; opening the GPU is not in it"))
    lines.append(("difference", difference, _judged(difference)))
    if profile.reserve_bytes is not None:
        lines.append(("reserve measured", profile.reserve_bytes, "measured - arena"))
    for name, count, note in lines:
        cells = (NOTHING, NOTHING) if count is None else (format_bytes(count), f"{count:,} B")
        table.add_row(name, *cells, note)
    table.columns[1].justify = table.columns[2].justify = "right"
    return table


def _judged(difference: int | None) -> str:
    if difference is None:
        return "nobody tells"
    return "measured - planned: " + ("more than was planned" if difference > 0 else "the plan was enough")


def _plain() -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=False)
    for justify in ("left", "right", "left"):
        table.add_column(justify="right" if justify == "right" else "left")
    return table


def _size(count: int) -> str:
    return format_bytes(count) if count else NOTHING
