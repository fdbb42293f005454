"""The doctor's findings for people and programs."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from gpunet.doctor import STEP, Finding, trains


def doctor_parts(findings: Sequence[Finding]) -> list[Table | str]:
    """The findings and what they mean, ready to show."""
    parts: list[Table | str] = []
    for device, title in (("cpu", "CPU"), ("cuda", "GPU")):
        can = trains(findings, device)
        parts += [f"{title}: {'can train' if can else 'cannot train'}", _table(findings, device), ""]
    return [*parts, "Planning works for both, with or without them."]


def _table(findings: Sequence[Finding], device: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for finding in findings:
        if finding.device == device:
            lacking = "not possible" if finding.name == STEP else "missing"
            table.add_row(f"  {finding.name}", Text(finding.found or f"{lacking}: {finding.mend}"))
    return table


def doctor_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """`cpu_trains`, `cuda_trains`, and every finding; `mend` is null where nothing is missing."""
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
