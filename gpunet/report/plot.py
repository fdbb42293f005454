"""A picture of a plan: bytes over the steps, and the arena with every tensor at its place.

matplotlib draws it, on its Agg canvas and without pyplot, so that no screen and no state of a process is needed.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpunet.memory.plan import Plan, PlannedTensor
from gpunet.memory.size import format_bytes
from gpunet.program.tensor import Kind
from gpunet.report.canvas import DPI, INK, PALE, check_plot, drawing, new_figure, save, style
from gpunet.report.table import headline, verdict
from gpunet.report.ways import describe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 1600, 1000
"""Pixels."""

COLORS = {
    Kind.PARAMETER: "#33475b",
    Kind.OPTIMIZER_CACHE: "#7d93a8",
    Kind.DATA: "#a77fc0",
    Kind.ACTIVATION: "#2f9e8f",
    Kind.GRADIENT: "#e4572e",
    Kind.PARAMETER_GRADIENT: "#f3a738",
    Kind.WORKSPACE: "#c9c5b1",
}
"""From the bottom of the stack to its top."""

PHASES = {"forward": "#dfeeea", "loss": "#b9a7cf", "backward": "#fae3d9", "update": "#8c97a3"}

PHASE_WORDS = {"forward": "forward", "loss": "loss", "backward": "backward, with updates (dark)"}

LETTER = 0.0046
"""How much of the width a letter of the layers' names takes."""

BUDGET_RED = "#b3261e"

FAR = 1.6
"""A budget above so many peaks is told of at the edge of the picture instead of flattening all that is in it."""

SMALLEST_LABEL = 7.0
"""Points; what does not fit its rectangle in that size is not labelled."""


def save_plot(plan: Plan, path: Path) -> None:
    """Draw a plan into a PNG of 1600x1000 pixels; the file is whole or not there.

    Raises ConfigError as `check_plot` does, and DataError where the file cannot be written.
    """
    check_plot(path)
    save(draw(plan), path)


@drawing()
def draw(plan: Plan) -> "Figure":
    """The picture: (a) bytes over the steps, stacked by kind, above (b) the arena map."""
    figure = new_figure(WIDTH, HEIGHT)
    left, right = 0.055, 0.985
    width = right - left
    over_time = figure.add_axes((left, 0.535, width, 0.33))
    phases = figure.add_axes((left, 0.503, width, 0.022), sharex=over_time)
    arena = figure.add_axes((left, 0.06, width, 0.405), sharex=over_time)
    unit, size = _unit(max(plan.arena_bytes, 1))
    _title(figure, plan, left)
    _draw_bytes(over_time, plan, unit, size)
    _draw_phases(phases, plan)
    _draw_arena(arena, plan, unit, size)
    _draw_loops((over_time, arena), plan)
    return figure


# -- the parts -------------------------------------------------------------------------------------


def _title(figure: "Figure", plan: Plan, left: float) -> None:
    gap = f"{plan.placement.gap:.2%} above the lower bound" if plan.placement.gap else "exactly the lower bound"
    arena = f"arena {format_bytes(plan.arena_bytes)} ({gap})"
    line = f"{arena} + reserve {format_bytes(plan.reserve_bytes)}; {verdict(plan).rstrip('; ')}"
    texts = [
        figure.text(left, 0.972, headline(plan), fontsize=17, fontweight="bold", color=INK, va="center"),
        figure.text(left, 0.942, line, fontsize=12, color=INK, va="center"),
    ]
    if plan.budget_bytes is not None:
        texts.append(figure.text(left, 0.916, f"to fit: {describe(plan)}", fontsize=12, color=PALE, va="center"))
    room = WIDTH * (1 - 1.5 * left)
    for text in texts:
        wide = text.get_window_extent().width
        if wide > room:
            text.set_fontsize(float(text.get_fontsize()) * room / wide)


def _draw_bytes(axes: "Axes", plan: Plan, unit: str, size: int) -> None:
    """Bytes in each step, stacked by kind, with the budget and the peak."""
    kinds = [kind for kind in COLORS if any(planned.kind is kind for planned in plan.tensors)]
    edges = list(range(plan.steps + 1))
    floor = [0.0] * plan.steps
    for kind in kinds:
        top = [below + held / size for below, held in zip(floor, _bytes_of(plan, kind), strict=True)]
        axes.fill_between(
            edges, [*floor, floor[-1]], [*top, top[-1]], step="post", color=COLORS[kind], lw=0, label=_words(kind)
        )
        floor = top
    peak = max(floor)
    highest = _draw_budget(axes, plan, peak, size)
    axes.set_ylim(0, highest * 1.16)
    _style(axes, plan, f"bytes alive ({unit})")
    axes.tick_params(labelbottom=False)
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.005), ncols=len(kinds), frameon=False, fontsize=11, handlelength=1.1,
        columnspacing=1.3, handletextpad=0.5, borderaxespad=0.1, reverse=False,
    )  # fmt: skip
    _draw_peak(axes, plan, peak, highest)


def _draw_peak(axes: "Axes", plan: Plan, peak: float, highest: float) -> None:
    """A mark on the peak, and above everything what it is."""
    op = plan.program.ops[plan.peak_step]
    middle, sign = plan.peak_step + 0.5, 1 if plan.peak_step < plan.steps / 2 else -1
    axes.plot([middle], [peak], marker="v", markersize=8, color=INK, zorder=5)
    axes.annotate(
        f"peak {format_bytes(max(plan.live_bytes))}: {op.layer}, {op.name} ({op.phase}, step {plan.peak_step})",
        (middle, highest), xytext=(12 * sign, 12), textcoords="offset points", fontsize=12, color=INK,
        fontweight="bold", ha="left" if sign > 0 else "right", va="center", zorder=6, bbox=_halo(),
    )  # fmt: skip


def _draw_budget(axes: "Axes", plan: Plan, peak: float, size: int) -> float:
    """The line that the arena must stay below; returns the highest value that the picture must show."""
    if plan.budget_bytes is None:
        return peak
    room = plan.budget_bytes - plan.reserve_bytes
    near = 0 < room / size <= FAR * peak
    words = f"budget {format_bytes(plan.budget_bytes)} \N{MINUS SIGN} reserve {format_bytes(plan.reserve_bytes)}"
    words += f" = {format_bytes(room)}" if room > 0 else ": nothing is left"
    if near:
        words = f"- - -  {words}"
        axes.axhline(room / size, color=BUDGET_RED, lw=1.8, ls=(0, (6, 3)), zorder=4)
    elif room > 0:
        words = f"\N{UPWARDS ARROW} {words}, {room / size / peak:.1f} times the peak"
    axes.annotate(
        words, (0, 1.005), xycoords="axes fraction", xytext=(0, 9), textcoords="offset points", fontsize=11,
        color=BUDGET_RED, ha="left", va="center", annotation_clip=False,
    )  # fmt: skip
    return max(peak, room / size) if near else peak


def _draw_phases(axes: "Axes", plan: Plan) -> None:
    """A ribbon that says what each step is, updates between the steps of the backward pass; layers below it."""
    axes.set_ylim(0, 1)
    axes.set_axis_off()
    for phase, (first, last) in _runs([op.phase for op in plan.program.ops]):
        axes.axvspan(first, last, color=PHASES[phase], lw=0)
    for phase, words in PHASE_WORDS.items():
        runs = [run for name, run in _runs([op.phase for op in plan.program.ops]) if name == phase]
        if runs:
            middle = (runs[0][0] + runs[0 if phase == "loss" else -1][1]) / 2
            box = None if phase == "loss" else _halo()
            axes.text(middle, 0.46, words, fontsize=11, color=INK, ha="center", va="center", bbox=box)
    for layer, middle in _layer_labels(plan):
        axes.text(middle, -0.62, layer, fontsize=9, color=PALE, ha="center", va="baseline")


def _layer_labels(plan: Plan) -> list[tuple[str, float]]:
    """Names of layers and where to write them, as many as there is room for; those with matrix products first."""
    heavy = {op.layer for op in plan.program.ops if op.flops}
    runs = _runs([op.layer for op in plan.program.ops])
    placed: list[tuple[str, float]] = []
    for layer, (first, last) in sorted(runs, key=lambda run: run[0] not in heavy):
        middle, half = (first + last) / 2, _half(plan, layer)
        if all(abs(middle - at) > half + _half(plan, other) for other, at in placed) and half <= middle:
            placed.append((layer, middle))
    return placed


def _half(plan: Plan, words: str) -> float:
    """Half of what words take below the ribbon, with some space around, in steps."""
    return plan.steps * LETTER * (len(words) + 1.5) / 2


def _draw_arena(axes: "Axes", plan: Plan, unit: str, size: int) -> None:
    """Every tensor a rectangle: its steps across, its bytes up."""
    from matplotlib.collections import PolyCollection

    axes.set_ylim(0, plan.arena_bytes / size)
    _style(axes, plan, f"offset in the arena ({unit})")
    axes.set_xlabel("step of the program", fontsize=12, color=INK)
    tensors = [planned for planned in plan.tensors if not planned.within]
    boxes = [_corners(planned, size) for planned in tensors]
    colors = [COLORS[planned.kind] for planned in tensors]
    axes.add_collection(PolyCollection(boxes, facecolors=colors, edgecolors="white", linewidths=0.6))
    axes.set_facecolor("#f4f4f1")
    for planned in sorted(tensors, key=lambda one: one.nbytes * (one.last - one.first), reverse=True):
        _label(axes, planned, size)


def _draw_loops(axes: Sequence["Axes"], plan: Plan) -> None:
    """Lines around the steps that run in rounds, and of how many images."""
    for loop in plan.program.loops:
        for one in axes:
            for edge in (loop.first, loop.last):
                one.axvline(edge, color=INK, lw=1.0, ls=(0, (2, 2)), alpha=0.7, zorder=3)
        narrow = loop.last - loop.first < 0.12 * plan.steps
        axes[0].annotate(
            f"rounds of {loop.images:,}", ((loop.first + loop.last) / 2, 0.62 if narrow else 0.06),
            xycoords=("data", "axes fraction"), fontsize=11, color=INK, ha="center", va="center",
            rotation=90 if narrow else 0, zorder=6, bbox=_halo(),
        )  # fmt: skip


# -- small things ----------------------------------------------------------------------------------


def _style(axes: "Axes", plan: Plan, label: str) -> None:
    axes.set_xlim(0, plan.steps)
    axes.set_ylabel(label, fontsize=12, color=INK)
    style(axes)


def _label(axes: "Axes", planned: PlannedTensor, size: int) -> None:
    """The name in its rectangle, along the longer side, as large as it fits, if that can be read."""
    wide, high = _points(axes, planned, size)
    name = planned.name
    upright = high > wide and wide < 0.62 * 9 * len(name)
    along, across = (high, wide) if upright else (wide, high)
    points = min(11.0, across * 0.75, along * 0.94 / (0.62 * len(name)))
    if points < SMALLEST_LABEL:
        return
    axes.text(
        (planned.first + planned.last) / 2, (planned.offset + planned.nbytes / 2) / size, name, fontsize=points,
        color=_on(COLORS[planned.kind]), rotation=90 if upright else 0, ha="center", va="center", zorder=4,
    )  # fmt: skip


def _points(axes: "Axes", planned: PlannedTensor, size: int) -> tuple[float, float]:
    """Width and height of a tensor's rectangle, in points of 1/72 inch."""
    transform = axes.transData
    (x, y), (x2, y2) = transform.transform(
        [(planned.first, planned.offset / size), (planned.last, (planned.offset + planned.nbytes) / size)]
    )
    return float(x2 - x) * 72 / DPI, float(y2 - y) * 72 / DPI


def _corners(planned: PlannedTensor, size: int) -> list[tuple[float, float]]:
    low, high = planned.offset / size, (planned.offset + planned.nbytes) / size
    return [(planned.first, low), (planned.last, low), (planned.last, high), (planned.first, high)]


def _bytes_of(plan: Plan, kind: Kind) -> list[int]:
    """Bytes of a kind that are alive in each step."""
    held = [0] * plan.steps
    for planned in plan.tensors:
        if planned.kind is kind:
            for step in range(planned.first, planned.last):
                held[step] += planned.nbytes
    return held


def _runs(words: Sequence[str]) -> list[tuple[str, tuple[int, int]]]:
    """Each run of equal words, with its positions [first, last)."""
    found: list[tuple[str, tuple[int, int]]] = []
    first = 0
    for word, run in groupby(words):
        last = first + sum(1 for _ in run)
        found.append((word, (first, last)))
        first = last
    return found


def _unit(count: int) -> tuple[str, int]:
    """The unit in which so many bytes are a number that people read easily."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return unit, size
    return "KiB", 2**10


def _words(kind: Kind) -> str:
    return str(kind).replace("_", " ")


def _on(color: str) -> str:
    """Black or white, whichever can be read on a colour."""
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 150 else INK


def _halo() -> dict[str, Any]:
    """A pale ground for words that lie on something."""
    return {"boxstyle": "round,pad=0.18", "facecolor": "white", "edgecolor": "none", "alpha": 0.82}
