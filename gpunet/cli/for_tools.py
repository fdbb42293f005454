"""What plan and profile hand to other tools: a snapshot for PyTorch's memory viewer, a trace for Perfetto, CSV."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpunet.errors import ConfigError
from gpunet.values.visible import told_path

if TYPE_CHECKING:
    from gpunet.memory.plan import Plan
    from gpunet.profile.measure import Profile


class PlanRows(StrEnum):
    """What a line of a plan's CSV is of."""

    layers = "layers"
    tensors = "tensors"


class ProfileRows(StrEnum):
    """What a line of a profile's CSV is of."""

    layers = "layers"
    ops = "ops"


Snapshot = Annotated[
    Path | None,
    typer.Option(
        parser=told_path,
        metavar="FILE",
        help="Write a .pickle file for PyTorch's memory viewer, pytorch.org/memory_viz: every tensor at its place.",
        show_default=False,
    ),
]
Trace = Annotated[
    Path | None,
    typer.Option(
        parser=told_path,
        metavar="FILE",
        help="Write a .json file, or .json.gz, for ui.perfetto.dev: ops, layers, bytes by kind.",
        show_default=False,
    ),
]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV, a line for each layer; sizes in bytes.")]
RowsOfPlan = Annotated[
    PlanRows | None, typer.Option("--rows", help="What a line of the CSV is of.", show_default=False)
]
RowsOfProfile = Annotated[
    ProfileRows | None, typer.Option("--rows", help="What a line of the CSV is of.", show_default=False)
]


def check_tools(
    *, json: bool, csv: bool, rows: StrEnum | None, snapshot: Path | None = None, trace: Path | None = None
) -> None:
    """Raise ConfigError for options that contradict each other, or files that cannot be written, before any work."""
    if json and csv:
        raise ConfigError("--json and --csv print the same in two ways: leave one of them out")
    if rows is not None and not csv:
        raise ConfigError("--rows says what a line of the CSV is of: give --csv, too")
    if snapshot is not None:
        from gpunet.report.snapshot import check_snapshot

        check_snapshot(snapshot)
    if trace is not None:
        from gpunet.report.trace import check_trace

        check_trace(trace)


def write_tools(shown: "Plan | Profile", *, snapshot: Path | None = None, trace: Path | None = None) -> None:
    """Write the files that were asked for."""
    from gpunet.memory.plan import Plan

    if snapshot is not None and isinstance(shown, Plan):
        from gpunet.report.snapshot import save_snapshot

        save_snapshot(shown, snapshot)
    if trace is not None:
        from gpunet.report.trace import save_trace

        save_trace(shown, trace)
