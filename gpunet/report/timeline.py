"""Who is alive at the peak of a plan, and how many bytes are in each of its steps, in plain characters."""

from itertools import pairwise

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gpunet.memory.plan import Plan
from gpunet.memory.size import format_bytes

WIDTH, HEIGHT = 100, 10
"""Of the picture, in characters, the axis aside."""

LETTERS = {"forward": "f", "loss": "l", "backward": "b", "update": "u"}


def timeline_parts(plan: Plan) -> list[Table | str]:
    """Both, ready to show."""
    return [alive_table(plan), "", *sparkline(plan)]


def alive_table(plan: Plan) -> Table:
    """The tensors that are alive in the peak step, the largest first; scratch that is used in other steps is not.

    Behind them come those that lie within one of them, of which it is told where.
    """
    peak = plan.live_bytes[plan.peak_step]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading in ("alive at the peak", "kind", "layer"):
        table.add_column(heading)
    for heading in ("bytes", "", "share", "steps"):
        table.add_column(heading, justify="right")
    for planned in sorted(plan.alive(plan.peak_step), key=lambda planned: -planned.nbytes):
        table.add_row(
            planned.name,
            planned.kind.replace("_", " "),
            planned.layer,
            f"in {planned.within}" if planned.within else f"{planned.nbytes:,}",
            format_bytes(planned.nbytes),
            f"{planned.nbytes / peak:.1%}",
            f"[{planned.first}, {planned.last})",
        )
    return table


def sparkline(plan: Plan) -> list[str]:
    """Bytes alive over the steps, the phases below; where there are more steps than columns, the most of several."""
    columns = [range(first, last) for first, last in _columns(plan.steps)]
    peak = plan.live_bytes[plan.peak_step]
    heights = [max(plan.live_bytes[step] for step in steps) * HEIGHT / peak for steps in columns]
    top = format_bytes(peak)
    lines = []
    for row in range(HEIGHT, 0, -1):
        label = top if row == HEIGHT else ""
        lines.append(f"{label:>{len(top)}} |" + "".join("#" if height > row - 0.5 else " " for height in heights))
    lines.append(f"{'0 B':>{len(top)}} +" + "-" * len(columns))
    margin = " " * (len(top) + 2)
    lines.append(margin + "".join(_phase(plan, steps) for steps in columns))
    lines.append(margin + "".join("^" if plan.peak_step in steps else " " for steps in columns))
    legend = ", ".join(f"{letter} {phase}" for phase, letter in LETTERS.items())
    return [line.rstrip() for line in lines] + [f"{margin}{legend}; ^ the peak, step {plan.peak_step}"]


def _columns(steps: int) -> list[tuple[int, int]]:
    """The steps [first, last) of each column."""
    width = min(steps, WIDTH)
    edges = [round(column * steps / width) for column in range(width + 1)]
    return list(pairwise(edges))


def _phase(plan: Plan, steps: range) -> str:
    """The letter of the phase that most of the steps are in."""
    phases = [plan.program.ops[step].phase for step in steps]
    return LETTERS[max(phases, key=phases.count)]
