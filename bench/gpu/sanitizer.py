"""NVIDIA's compute-sanitizer over small training steps: wild and uninitialized memory accesses, and races."""

import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpunet.devices.cuda.source import kernel_files, kernel_folder

from .processes import TIMED_OUT, last_line, run_command
from .setting import Setting
from .table import Table

TITLE = "compute-sanitizer"
SECONDS = 150
NEEDS = ("cupy",)

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
"""In the order of their worth: time may not be enough for all."""

LEAST_SECONDS = 15.0
TAIL_LINES = 40
PROGRAM = Path(__file__).with_name("tiny_steps.py")


@dataclass(frozen=True)
class Verdict:
    """What a tool found: errors in all (None: it did not say), and by the kernel in which they were."""

    errors: int | None
    kernels: dict[str, int]


def run(setting: Setting) -> None:
    """Run every tool that there is time for; an error in one of our kernels, or any error of memcheck, is a failure."""
    findings = setting.findings
    tool = find_tool()
    findings.note("tool", tool)
    if tool is None:
        findings.skip("compute-sanitizer is neither on PATH nor in a CUDA toolkit; it comes with the CUDA toolkit")
        return
    for name in TOOLS:
        left = setting.ends_at - time.monotonic()
        if left < LEAST_SECONDS:
            findings.skip(f"{name}: no time left")
            continue
        started = time.monotonic()
        command = [tool, "--tool", name, sys.executable, str(PROGRAM)]
        code, output = run_command(command, min(left, SECONDS / 2))
        _judge(setting, name, code, output, time.monotonic() - started)


def _judge(setting: Setting, name: str, code: int, output: str, seconds: float) -> None:
    findings = setting.findings
    verdict = parse(output)
    ours = sum(count for kernel, count in verdict.kernels.items() if kernel in set(kernel_names()))
    row: dict[str, Any] = {"tool": name, "exit_code": code, "errors": verdict.errors, "errors_in_our_kernels": ours}
    row |= {"kernels": verdict.kernels, "seconds": seconds}
    if verdict.errors or code:
        row["output"] = "\n".join(output.splitlines()[-TAIL_LINES:])
    findings.append("tools", row)
    if "Device not supported" in output:
        findings.skip(
            f"{name}: compute-sanitizer says that it does not support this GPU, or the machine does not let it"
        )
    elif code == TIMED_OUT:
        findings.skip(f"{name}: not finished after {seconds:.0f} s")
    elif verdict.errors is None:
        findings.fail(f"{name} gave no summary (exit code {code}): {last_line(output)}")
    elif ours or (verdict.errors and name == "memcheck"):
        findings.fail(
            f"{name}: {verdict.errors} errors, {ours} of them in gpunet's kernels: {', '.join(verdict.kernels)}"
        )
    elif verdict.errors:
        findings.skip(f"{name}: {verdict.errors} errors, all in libraries' kernels: {', '.join(verdict.kernels)}")


def parse(output: str) -> Verdict:
    """The verdict in compute-sanitizer's output."""
    summary = re.search(
        r"RACECHECK SUMMARY: \d+ hazards? displayed \((\d+) errors?|ERROR SUMMARY: (\d+) errors?", output
    )
    errors = int(summary[1] or summary[2]) if summary else None
    places = re.findall(r"^=+\s+at (?:0x[0-9a-f]+ in )?(?:\w+ )*([\w:]+)\s*[(<+]", output, re.MULTILINE)
    return Verdict(errors, dict(Counter(places)))


def kernel_names() -> Iterator[str]:
    """The names of all kernels of gpunet."""
    for file in kernel_files():
        text = (kernel_folder() / f"{file}.cu").read_text(encoding="utf-8")
        yield from re.findall(r"__launch_bounds__\([^)]*\)\s+(\w+)\(", text)


def find_tool() -> str | None:
    """compute-sanitizer on PATH or in a CUDA toolkit."""
    folders = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")]
    toolkits = [Path(folder) for folder in folders if folder]
    toolkits += [Path("/usr/local/cuda"), *sorted(Path("/usr/local").glob("cuda-*"), reverse=True), Path("/opt/cuda")]
    places = [
        toolkit / folder for toolkit in toolkits for folder in ("bin", "compute-sanitizer", "extras/compute-sanitizer")
    ]
    return shutil.which("compute-sanitizer", path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, places)]))


def tables(values: dict[str, Any]) -> list[Table]:
    rows = [
        (
            row["tool"],
            "none given" if row["errors"] is None else row["errors"],
            row["errors_in_our_kernels"],
            f"{row['seconds']:.0f}",
        )
        for row in values.get("tools", ())
    ]
    return (
        [Table("compute-sanitizer over small training steps", ("tool", "errors", "in our kernels", "seconds"), rows)]
        if rows
        else []
    )
