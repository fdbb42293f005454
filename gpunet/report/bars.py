"""Pictures of bars, a row for each layer, or whatever has a name: how profiles, descriptions and fits look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpunet.description.description import Description
from gpunet.memory.size import format_bytes
from gpunet.planning.fitter import Fit, Survey
from gpunet.profile.measure import Profile
from gpunet.report.canvas import INK, LINES, drawing, new_figure, style, title
from gpunet.report.names import told_apart
from gpunet.report.profile_rows import profile_rows
from gpunet.report.profile_table import number
from gpunet.report.table import headline
from gpunet.report.ways import LADDER_WORDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEAD, FOOT, ROW = 1200, 110, 60, 22
"""Pixels: of the picture, above the bars, below them, and of a row."""

MOST_NAME = 30
"""Characters of a name."""

GIB = 2**30


@dataclass(frozen=True)
class Panel:
    """Bars over one axis: `parts` by name, a number for each row, which follow on one another.

    `limit`  where a line is to be drawn
    """

    label: str
    parts: Mapping[str, Sequence[float]]
    limit: float | None = None


@drawing()
def draw_bars(names: Sequence[str], panels: Sequence[Panel], words: str, more: str = "") -> "Figure":
    """A row for each name, the first on top, and side by side what there is to say of them."""
    height = HEAD + FOOT + ROW * max(len(names), 4)
    figure = new_figure(WIDTH, height)
    beside = figure.subplots(1, len(panels), sharey=True, squeeze=False, gridspec_kw={"wspace": 0.08})[0]
    figure.subplots_adjust(left=0.19, right=0.975, top=1 - HEAD / height, bottom=FOOT / height)
    for axes, panel in zip(beside, panels, strict=True):
        _draw_panel(axes, panel, len(names))
    beside[0].set_yticks(range(len(names)), told_apart(names, MOST_NAME))
    beside[0].set_ylim(max(len(names), 4) - 0.5, -0.5)
    title(figure, words, more)
    return figure


def _draw_panel(axes: "Axes", panel: Panel, rows: int) -> None:
    left = [0.0] * rows
    for color, (name, values) in zip(LINES, panel.parts.items(), strict=False):
        axes.barh(range(rows), values, left=left, color=color, height=0.7, label=name)
        left = [before + value for before, value in zip(left, values, strict=True)]
    if panel.limit is not None:
        axes.axvline(panel.limit, color=INK, lw=1.6, ls=(0, (6, 3)))
    style(axes)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color="#d9dcdf", lw=0.6)
    axes.set_xlabel(panel.label, fontsize=12, color=INK)
    if len(panel.parts) > 1:
        axes.legend(loc="lower right", frameon=False, fontsize=11)


def draw_profile(profile: Profile) -> "Figure":
    """Milliseconds of each layer: forward, backward, what is made again, update."""
    rows = profile_rows(profile)
    parts = {
        "forward": [row.forward_ms for row in rows],
        "backward": [row.backward_ms for row in rows],
        "made again": [row.again_ms for row in rows],
        "update": [row.update_ms for row in rows],
    }
    parts = {name: values for name, values in parts.items() if any(values)}
    speed = f"{number(profile.step_ms)} ms a step, {profile.images_per_second:,.1f} images/s"
    more = f"{speed}; {profile.hardware or 'an unknown machine'}"
    return draw_bars([row.planned.name for row in rows], [Panel("ms", parts)], headline(profile.plan), more)


def draw_description(described: Description) -> "Figure":
    """Parameters and multiply-adds of each layer, as shares of all."""
    panels = []
    for label, counts in (
        ("parameters", [one.parameters for one in described.layers]),
        ("multiply-adds", [one.multiply_adds for one in described.layers]),
    ):
        total = sum(counts)
        panels.append(Panel(f"% of {total:,} {label}", {label: [100 * count / max(total, 1) for count in counts]}))
    net = described.net
    return draw_bars([one.name for one in described.layers], panels, f"{net.name}: {net.input} -> {net.output}")


def draw_fit(fit: Fit) -> "Figure":
    """What the largest batch takes, and one image more, beside the budget."""
    names = [f"batch {fit.batch:,}", f"batch {fit.batch + 1:,}"]
    totals = [fit.total_bytes / GIB, fit.next_total_bytes / GIB]
    panel = Panel("GiB; - - -  the budget", {"total": totals}, fit.budget_bytes / GIB)
    return draw_bars(names, [panel], f"{fit.net or 'the largest batch'} in {format_bytes(fit.budget_bytes)}")


def draw_survey(survey: Survey) -> "Figure":
    """The largest batch of each rung, and its extra FLOPs."""
    names = [LADDER_WORDS[rung.ways].removesuffix(" (a)") for rung in survey.ladder]
    panels = [
        Panel("images of the largest batch", {"batch": [rung.batch for rung in survey.ladder]}),
        Panel("% extra FLOPs", {"extra": [100 * rung.extra_flops_fraction for rung in survey.ladder]}),
    ]
    return draw_bars(names, panels, f"the largest batches in {format_bytes(survey.budget_bytes)}")
