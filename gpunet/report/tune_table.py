"""What gpunet tune found, as a table for people and as plain data."""

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gpunet.profile.tune import Timed, Tuned
from gpunet.program.filters import ConvShape
from gpunet.report.figures import number

NOTE = """\
preferred: what a plan takes by the shape alone; fastest: what it takes on this machine from now on. Milliseconds of one
call, medians; what is hardly faster than the preferred one does not replace it."""


def tune_parts(found: Sequence[Tuned]) -> list[Table | str]:
    """A row for each pass of each distinct convolution, what the columns mean, and what is gained."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading in ("convolution", "layers", "pass", "preferred"):
        table.add_column(heading)
    table.add_column("ms", justify="right")
    table.add_column("fastest")
    table.add_column("ms", justify="right")
    table.add_column("of", justify="right")
    shown = ""
    for one in found:
        shape = _shape(one.shape)
        cells = (_name(one.preferred), number(one.preferred.ms), _name(one.winner), number(one.winner.ms))
        same = shape == shown
        layers = "" if same else ", ".join(one.layers)
        table.add_row("" if same else shape, layers, one.pass_.replace("_", " "), *cells, str(len(one.timed)))
        shown = shape
    before, after = (
        sum(getattr(one, which).ms * len(one.layers) for one in found) for which in ("preferred", "winner")
    )
    return [table, "", NOTE, "", f"all convolutions of a step: {number(before)} ms before, {number(after)} ms now"]


def tune_json(found: Sequence[Tuned]) -> list[dict[str, Any]]:
    """A dictionary for each pass of each distinct convolution, its algorithms with the fastest first."""
    return [
        {
            "key": one.key,
            "pass": one.pass_,
            "layers": list(one.layers),
            "preferred": _algorithm(one.preferred),
            "algorithms": [_algorithm(timed) for timed in one.order],
        }
        for one in found
    ]


def _algorithm(one: Timed) -> dict[str, Any]:
    chosen = one.algorithm
    return {
        "algorithm": chosen.name,
        "tile": chosen.tile,
        "slices": chosen.slices,
        "workspace_bytes": chosen.workspace_bytes,
        "ms": one.ms,
    }


def _name(one: Timed) -> str:
    """As people say it: "implicit, tile 2"."""
    return f"{one.algorithm.name}, tile {one.algorithm.tile}" if one.algorithm.tile else one.algorithm.name


def _shape(s: ConvShape) -> str:
    F = f"{s.filters.F_rows}x{s.filters.F_columns}"
    groups = f" in {s.groups} groups" if s.groups > 1 else ""
    stride = f" at stride {s.filters.S_rows}" if s.filters.S_rows > 1 else ""
    return f"{s.N} of {s.H}x{s.W}x{s.D}, {s.K} of {F}{stride}{groups}"
