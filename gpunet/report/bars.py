"""Pictures of bars, a row for each layer, or whatever has a name: how profiles, descriptions and fits look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log10
from typing import TYPE_CHECKING

from gpunet.description.description import Description
from gpunet.memory.size import format_bytes
from gpunet.planning.fitter import Fit, Survey
from gpunet.planning.prediction import Prediction
from gpunet.profile.measure import Profile
from gpunet.report.canvas import INK, LINES, drawing, new_figure, style, title
from gpunet.report.figures import number
from gpunet.report.fit_look import beside_budget
from gpunet.report.import_table import import_line
from gpunet.report.names import told_apart
from gpunet.report.predicted import prediction_line
from gpunet.report.profile_rows import profile_rows
from gpunet.report.table import headline
from gpunet.report.ways import LADDER_WORDS
from gpunet.use.gradients import TOLERANCE, GradientCheck
from gpunet.use.importing import Imported

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEAD, FOOT, ROW = 1200, 110, 60, 22
"""Pixels: of the picture, above the bars, below them, and of a row."""

MOST_NAME = 30
"""Characters of a name."""

UNITS = {"GiB": 30, "MiB": 20, "KiB": 10, "B": 0}
"""Of memory, and how many bits a number of them is shifted by."""


@dataclass(frozen=True)
class Panel:
    """Bars over one axis: `parts` by name, a number for each row, which follow on one another.

    `limit`  where a line is to be drawn
    `words`  what is written into the bar of each row; none where there is none
    """

    label: str
    parts: Mapping[str, Sequence[float]]
    limit: float | None = None
    words: Sequence[str] = ()


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
    for row, words in enumerate(panel.words):
        axes.text(0.01, row, words, transform=axes.get_yaxis_transform(), va="center", fontsize=11, color="white")
    if panel.limit is not None:
        axes.axvline(panel.limit, color=INK, lw=1.6, ls=(0, (6, 3)))
    style(axes)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color="#d9dcdf", lw=0.6)
    axes.set_xlabel(panel.label, fontsize=12, color=INK)
    if len(panel.parts) > 1:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(panel.parts), frameon=False, fontsize=11)


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


def draw_prediction(found: Prediction) -> "Figure":
    """Milliseconds that are predicted of each layer: forward, backward, update."""
    layers = found.by_layer
    parts = {
        "forward": [one.forward_ms for one in layers.values()],
        "backward": [one.backward_ms for one in layers.values()],
        "update": [one.update_ms for one in layers.values()],
    }
    parts = {name: values for name, values in parts.items() if any(values)}
    more = "predicted, not measured"
    return draw_bars([*layers], [Panel("ms", parts)], prediction_line(found), more)


def draw_imported(found: Imported) -> "Figure":
    """How many numbers came for each layer."""
    counts: dict[str, int] = {}
    for pair in found.match.pairs:
        counts[pair.node.name] = counts.get(pair.node.name, 0) + pair.values.size
    return draw_bars([*counts], [Panel("numbers", {"numbers": [*counts.values()]})], import_line(found))


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
    """What the largest batch takes, and one image more, beside the budget; in words, as they may look alike."""
    batches = {fit.batch: fit.total_bytes, fit.batch + 1: fit.next_total_bytes}
    unit, size = next((name, 2**power) for name, power in UNITS.items() if fit.budget_bytes >= 2**power or not power)
    panel = Panel(
        f"{unit};  - - -  the budget",
        {"total": [total / size for total in batches.values()]},
        fit.budget_bytes / size,
        [f"{format_bytes(total)}, {beside_budget(fit, total)}" for total in batches.values()],
    )
    names = [f"batch {batch:,}" for batch in batches]
    return draw_bars(names, [panel], f"{fit.net or 'the largest batch'} in {format_bytes(fit.budget_bytes)}")


def draw_check(check: GradientCheck) -> "Figure":
    """On how many digits the gradients of each tensor agree with slopes, at the least."""
    errors = [None if tensor.worst is None or tensor.faint else tensor.worst.error for tensor in check.tensors]
    digits = [0.0 if error is None else min(-log10(max(error, 1e-16)), 16.0) for error in errors]
    panel = Panel(
        "digits that agree;  - - -  must agree", {"digits": [max(one, 0.0) for one in digits]}, -log10(TOLERANCE)
    )
    names = [f"{tensor.name} (faint)" if tensor.faint else tensor.name for tensor in check.tensors]
    verdict = "passed" if check.passed else "failed"
    return draw_bars(names, [panel], f"{check.net.name}: gradients beside slopes of the loss, {verdict}")


def draw_survey(survey: Survey) -> "Figure":
    """The largest batch of each rung, and what it makes again, in time and in FLOPs."""
    names = [LADDER_WORDS[rung.ways].removesuffix(" (a)") for rung in survey.ladder]
    panels = [
        Panel("images of the largest batch", {"batch": [rung.batch for rung in survey.ladder]}),
        Panel("% more time", {"time": [100 * rung.extra_time_fraction for rung in survey.ladder]}),
        Panel("% extra FLOPs", {"extra": [100 * rung.extra_flops_fraction for rung in survey.ladder]}),
    ]
    return draw_bars(names, panels, f"the largest batches in {format_bytes(survey.budget_bytes)}")
