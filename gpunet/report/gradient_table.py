"""A gradient check as a table for people, and as a plain dictionary for `--json`."""

from textwrap import fill
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gpunet.report.figures import NOTHING
from gpunet.use.gradients import STEPS, TOLERANCE, CheckedTensor, GradientCheck

NOTE = f"""\
Gradients of the loss beside its slopes over steps of {STEPS[0]:g}, or {STEPS[1]:g} where the larger one meets a
kink; the error is relative, at most {TOLERANCE:g}. faint: nothing there is above the loss's rounding errors."""


def gradient_parts(check: GradientCheck) -> list[Table | str]:
    """A check, ready to show: the tensors, what the columns mean, the verdict."""
    what = f"{check.net.name}, batch {check.batch}, seed {check.seed}, float64, on {check.device}"
    return [f"{what}: loss {check.loss:.6g}", "", tensor_table(check), "", fill(NOTE, 80), "", *verdict_lines(check)]


def tensor_table(check: GradientCheck) -> Table:
    """A row for each tensor, and their total."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, show_footer=True)
    table.add_column("gradient of", "total")
    for heading, count in (
        ("values", sum(tensor.size for tensor in check.tensors)),
        ("compared", sum(len(tensor.compared) - tensor.kinks for tensor in check.tensors)),
        ("at kinks", sum(tensor.kinks for tensor in check.tensors)),
    ):
        table.add_column(heading, f"{count:,}", justify="right")
    table.add_column("largest error", justify="right")
    table.add_column("")
    for tensor in check.tensors:
        kinks = f"{tensor.kinks:,}" if tensor.kinks else NOTHING
        compared = f"{len(tensor.compared) - tensor.kinks:,}"
        table.add_row(tensor.name, f"{tensor.size:,}", compared, kinks, _error(tensor), _word(tensor))
    return table


def verdict_lines(check: GradientCheck) -> list[str]:
    """Whether it passed, and everything that is wrong."""
    if check.passed:
        faint = sum(tensor.faint for tensor in check.tensors)
        but = f"; {faint} of {len(check.tensors)} tensors too faint to tell" if faint else ""
        return [f"passed: every gradient is the slope of the loss{but}"]
    return ["failed", *(f"  {failure}" for failure in check.failures)]


def gradient_json(check: GradientCheck) -> dict[str, Any]:
    """All of a check; `error` is null where nothing was compared, or where it is infinite."""
    return {
        "net": check.net.name,
        "device": check.device,
        "batch": check.batch,
        "seed": check.seed,
        "loss": check.loss,
        "tolerance": TOLERANCE,
        "passed": check.passed,
        "failures": list(check.failures),
        "tensors": [
            {
                "name": tensor.name,
                "layer": tensor.layer,
                "values": tensor.size,
                "compared": len(tensor.compared) - tensor.kinks,
                "kinks": tensor.kinks,
                "faint": tensor.faint,
                "error": None if tensor.worst is None or tensor.worst.error > 1e300 else tensor.worst.error,
                "passed": not tensor.failure,
            }
            for tensor in check.tensors
        ],
    }


def _error(tensor: CheckedTensor) -> str:
    return NOTHING if tensor.worst is None or tensor.faint else f"{tensor.worst.error:.1e}"


def _word(tensor: CheckedTensor) -> str:
    return "failed" if tensor.failure else "faint" if tensor.faint else "passed"
