"""The tests that need a GPU, `-m gpu`, run by pytest in a process of their own."""

import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from .processes import TIMED_OUT, last_line, run_command
from .setting import Setting
from .table import Table

TITLE = "tests on the GPU"
SECONDS = 180
NEEDS = ("cupy", "pytest", "hypothesis")

TAIL_LINES = 60

OPTIONS = ("-W", "default", "-q", "-p", "no:cacheprovider", "--continue-on-collection-errors")
"""Warnings are errors in the project's own tests; here another version of a library may warn, results count."""


def run(setting: Setting, *arguments: str) -> None:
    """Run pytest; note how many passed and failed, which, and the end of its output if any did.

    `arguments`  for pytest, in place of those that choose the tests of the GPU
    """
    findings = setting.findings
    chosen = arguments or ("tests", "-m", "gpu")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.xml"
        # a warning that another version of a library gives is an error in the project's own tests; here results count
        options = (
            "-W",
            "default",
            "-q",
            "-p",
            "no:cacheprovider",
            "--continue-on-collection-errors",
            f"--junitxml={path}",
        )
        command = [sys.executable, "-m", "pytest", *chosen, *options]
        code, output = run_command(command, setting.ends_at - time.monotonic())
        report = read_report(path)
    findings.note("command", " ".join(("pytest", *chosen)))
    findings.note("exit_code", code)
    findings.note("counts", report.counts)
    findings.note("failed", report.failed)
    for file, package in report.without.items():
        findings.skip(f"{file}: needs {package}, which is not installed")
    if code != TIMED_OUT and not report.failed and report.counts.get("passed"):
        return
    findings.note("output", "\n".join(output.splitlines()[-TAIL_LINES:]))
    if code == TIMED_OUT:
        findings.fail(f"the tests did not end in time; pytest's last line: {last_line(output)}")
    elif report.failed:
        names = ", ".join(report.failed[:5]) + (" ..." if len(report.failed) > 5 else "")
        findings.fail(f"{len(report.failed)} of the tests failed: {names}")
    else:
        findings.fail(f"pytest ran no test (exit code {code}): {last_line(output)}")


@dataclass(frozen=True)
class Report:
    """What pytest says: tests by outcome, the names of those that failed, and files by the package that they miss."""

    counts: dict[str, int]
    failed: list[str]
    without: dict[str, str]


def read_report(path: Path) -> Report:
    """The report in a JUnit file; an empty one where pytest wrote none."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    failed, without = [], {}
    cases = ElementTree.parse(path).getroot().iter("testcase") if path.is_file() else ()
    for case in cases:
        name = "::".join(filter(None, (case.get("classname", "").rpartition(".")[2], case.get("name"))))
        found = {child.tag: "".join(child.itertext()) for child in case}
        wrong = found.get("failure") or found.get("error")
        missing = re.search(r"ModuleNotFoundError: No module named '([^']+)'", wrong or "")
        if "error" in found and missing:
            without[name] = missing[1]
            continue
        outcome = "failed" if {"failure", "error"} & set(found) else "skipped" if "skipped" in found else "passed"
        counts[outcome] += 1
        if outcome == "failed":
            failed.append(name)
    return Report(counts if any(counts.values()) else {}, failed, without)


def tables(values: dict[str, Any]) -> list[Table]:
    counts = values.get("counts") or {}
    if not counts:
        return []
    return [Table("Tests on the GPU", ("pytest", *counts), [(values["command"], *counts.values())])]
