"""`gpunet doctor`: what there is to train with, and how to get what is missing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpunet.cli import options
from gpunet.program.program import DeviceName

if TYPE_CHECKING:
    from rich.table import Table

    from gpunet.use.doctor import Finding


def doctor(
    device: Annotated[
        DeviceName, typer.Option(parser=options.gpu_name, metavar="DEVICE", help="The GPU: cuda, cuda:1, ...")
    ] = "cuda",
    json: options.Json = False,
) -> None:
    """Say what there is to train with (GPU, driver, CuPy, NVRTC, cuBLAS, memory), and how to get what is missing.

    Exit code 0 if the CPU can train, with or without a GPU, else 2.
    """
    from gpunet.use.doctor import examine, trains

    findings = examine(device)
    if json:
        from gpunet.report.as_json import as_text

        typer.echo(as_text(doctor_json(findings)))
    else:
        from gpunet.report.console import show

        show(*doctor_parts(findings))
    if not trains(findings, "cpu"):
        raise typer.Exit(2)


def doctor_parts(findings: "Sequence[Finding]") -> list["Table | str"]:
    """The findings and what they mean, ready to show."""
    from gpunet.use.doctor import trains

    parts: list[Table | str] = []
    for device, title in (("cpu", "CPU"), ("cuda", "GPU")):
        can = trains(findings, device)
        parts += [f"{title}: {'can train' if can else 'cannot train'}", _table(findings, device), ""]
    return [*parts, "Planning works for both, with or without them."]


def _table(findings: "Sequence[Finding]", device: str) -> "Table":
    from rich.table import Table

    from gpunet.use.doctor import STEP

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for finding in findings:
        if finding.device == device:
            lacking = "not possible" if finding.name == STEP else "missing"
            table.add_row(f"  {finding.name}", finding.found or f"{lacking}: {finding.mend}")
    return table


def doctor_json(findings: "Sequence[Finding]") -> dict[str, Any]:
    """`cpu_trains`, `cuda_trains`, and every finding; `mend` is null where nothing is missing."""
    from gpunet.use.doctor import trains

    return {
        "cpu_trains": trains(findings, "cpu"),
        "cuda_trains": trains(findings, "cuda"),
        "findings": [
            {
                "name": finding.name,
                "device": finding.device,
                "found": finding.found,
                "mend": None if finding.found else finding.mend,
            }
            for finding in findings
        ],
    }
