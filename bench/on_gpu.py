"""All that only a GPU can tell, in one command under 9 minutes: `python bench/on_gpu.py`. See bench/README.md.

Each section of bench/gpu runs in a process of its own, so that one crash or hang loses nothing else. The results are
in the JSON file after every section; tables come last. Exit codes: 0 all is well, 1 a section failed, 2 there is no GPU
or something to run with is missing, 130 interrupted.
"""

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

FORMAT = 1
MINUTES = 8.5
LEAST_SECONDS = 10.0
SURE = 0.25
"""Of its time limit, what a section has for sure, however long those before it take."""

MARGIN_SECONDS = 5.0
"""Between a section's last moment to begin something and the moment at which it is ended."""

TAIL_LINES = 40
INTERRUPTED = 130

PACKAGES = {
    "numpy": "numpy",
    "cupy": "cupy-cuda13x[ctk]  (cupy-cuda12x[ctk] for a driver of CUDA 12, or a GPU before 7.5)",
    "torch": "torch",
    "pynvml": "nvidia-ml-py",
    "pytest": "pytest",
    "hypothesis": "hypothesis",
}
"""Modules that sections need, and what pip calls them."""

REQUIRED = ("numpy", "cupy")


def missing(modules: Iterable[str]) -> list[str]:
    """Those of the modules that are not installed."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


@dataclass
class Run:
    """One run of the bench: what has been found so far, and until when it may go on."""

    out: Path
    quick: bool
    seconds: float
    dry: bool = False
    started: float = field(default_factory=time.monotonic)
    results: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.results = {
            "format": FORMAT,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "quick": self.quick,
            "dry_run": self.dry,
            "seconds": 0.0,
            "sections": {},
        }

    @property
    def left(self) -> float:
        """Seconds until nothing more may run."""
        return self.seconds - (time.monotonic() - self.started)

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        return self.results["sections"]

    def limit(self, name: str, behind: Sequence[str]) -> float:
        """Seconds that a section may take: its own limit, but for what those behind it have for sure."""
        from bench.gpu import section

        sure = sum(SURE * section(one).SECONDS for one in behind)
        return min(section(name).SECONDS, max(self.left - sure, min(LEAST_SECONDS, self.left)))

    def section(self, name: str, behind: Sequence[str] = ()) -> dict[str, Any]:
        """Run a section, with others to come; what it found."""
        from bench.gpu import section

        module = section(name)
        print(f"{module.TITLE} ...", end=" ", flush=True)
        if absent := missing(module.NEEDS):
            reason = "not installed: " + ", ".join(PACKAGES[package].split()[0] for package in absent)
            found: dict[str, Any] = {"status": "skipped", "seconds": 0.0, "skipped": [reason]}
        elif self.sections and self.left < LEAST_SECONDS:
            found = {"status": "skipped", "seconds": 0.0, "skipped": ["no time left"]}
        else:
            found = isolated(name, self.quick, self.limit(name, behind), self.dry)
        print(f"{found['status']}, {found['seconds']:.0f} s", flush=True)
        return found

    def keep(self, name: str, found: dict[str, Any]) -> None:
        """Write down what a section found."""
        from bench.gpu.findings import write_json

        self.sections[name] = found
        self.results["seconds"] = time.monotonic() - self.started
        self.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.out, self.results)


def isolated(name: str, quick: bool, seconds: float, dry: bool = False) -> dict[str, Any]:
    """What a section found in a process of its own: status (ok, failed, timed out), values, failures, skipped."""
    import json

    from bench.gpu.processes import TIMED_OUT, last_line, run_command

    started = time.monotonic()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "findings.json"
        command = [sys.executable, __file__, "--section", name, "--out", str(path), "--minutes", str(seconds / 60)]
        flags = [flag for flag, wanted in (("--quick", quick), ("--dry-run", dry)) if wanted]
        code, output = run_command([*command, *flags], seconds)
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    found = {
        "status": "ok",
        "seconds": time.monotonic() - started,
        "values": {},
        "failures": [],
        "skipped": [],
        **found,
    }
    if code == TIMED_OUT:
        found["failures"].append(f"ended after {seconds:.0f} s; what was found until then is kept")
    elif code:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        found["failures"].append(f"broke off ({how}): {last_line(output)}")
    if found["failures"]:
        found["status"] = "timed out" if code == TIMED_OUT else "failed"
        found["output"] = "\n".join(output.splitlines()[-TAIL_LINES:])
    return found


def run_section(name: str, path: Path, quick: bool, seconds: float) -> None:
    """The inside of such a process."""
    from bench.gpu import section
    from bench.gpu.findings import Findings
    from bench.gpu.setting import Setting

    setting = Setting(Findings(path), quick, time.monotonic() + max(1.0, seconds - MARGIN_SECONDS))
    section(name).run(setting)
    setting.close()


def run_dry(name: str, path: Path, seconds: float) -> None:
    """The same without a GPU; what is learnt of a card that is none goes to a folder that ends with the process."""
    from bench.gpu import dry, section
    from bench.gpu.findings import Findings
    from bench.gpu.setting import Setting
    from gpunet.system.cache import FOLDER_VARIABLE

    ends_at = time.monotonic() + max(1.0, seconds - MARGIN_SECONDS)
    with TemporaryDirectory() as folder:
        os.environ[FOLDER_VARIABLE] = folder
        setting = Setting(Findings(path), True, ends_at, open=dry.emulated, peer="cpu")
        given, named = dry.arguments(name, setting)
        section(name).run(setting, *given, **named)
        setting.close()


def summary(run: Run) -> int:
    """Print the tables, then what failed and what was left out; the exit code."""
    from bench.gpu import section
    from bench.gpu.table import Table, as_text

    print()
    for name, found in run.sections.items():
        for table in section(name).tables(found.get("values", {})):
            print(as_text(table))
    rows = [(section(name).TITLE, found["status"], f"{found['seconds']:.0f}") for name, found in run.sections.items()]
    print(as_text(Table(f"Sections, {run.results['seconds']:.0f} s in all", ("section", "status", "seconds"), rows)))
    for kind, title in (("skipped", "left out"), ("failures", "FAILED")):
        for name, found in run.sections.items():
            for message in found.get(kind, ()):
                print(f"{title}: {section(name).TITLE}: {message}")
    print(f"results: {run.out}")
    return int(any(found.get("failures") for found in run.sections.values()))


def no_gpu(environment: dict[str, Any]) -> str | None:
    """Why there is nothing to measure on, or None."""
    if environment["failures"]:
        return "; ".join(environment["failures"])
    return environment["values"]["gpu"].get("error")


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    from bench.gpu import SECTIONS

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    default = ROOT / "bench" / "results" / "on_gpu.json"
    parser.add_argument(
        "--out", type=Path, help=f"JSON file for the results (default: {default}; dry: on_gpu_dry.json)"
    )
    parser.add_argument("--quick", action="store_true", help="leave out the large nets: about 3 minutes")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="without a GPU: every section in small, on the one that the tests emulate",
    )
    parser.add_argument("--only", action="append", choices=SECTIONS[1:], help="run this section only; may be repeated")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="time for everything (default: %(default)s)")
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    chosen.out = chosen.out or (default.with_name("on_gpu_dry.json") if chosen.dry_run else default)
    if not 0 < chosen.minutes < 24 * 60:
        parser.error(f"--minutes must be above 0 and less than a day; got {chosen.minutes:g}")
    return chosen


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sections; the exit code."""
    if absent := missing(PACKAGES):
        print("not installed:", *(f"\n  pip install {PACKAGES[name]}" for name in absent), file=sys.stderr)
    if absent := missing(REQUIRED):
        print(f"nothing can be measured without {' and '.join(absent)}", file=sys.stderr)
        return 2
    options = read_arguments(arguments)
    if options.section and options.dry_run:
        run_dry(options.section, options.out, options.minutes * 60)
    elif options.section:
        run_section(options.section, options.out, options.quick, options.minutes * 60)
    else:
        return measure(options)
    return 0


def measure(options: argparse.Namespace) -> int:
    """Run the chosen sections, each in its process; the exit code."""
    from bench.gpu import SECTIONS

    run = Run(options.out, options.quick, options.minutes * 60, options.dry_run)
    wanted = [name for name in SECTIONS[1:] if not options.only or name in options.only]
    try:
        environment = run.section(SECTIONS[0], wanted)
        if (reason := no_gpu(environment)) and not run.dry:
            print(f"there is no GPU to measure on: {reason}", file=sys.stderr)
            print("planning and the CPU need none: see bench/step.py", file=sys.stderr)
            return 2
        run.keep(SECTIONS[0], environment)
        for number, name in enumerate(wanted, 1):
            run.keep(name, run.section(name, wanted[number:]))
    except KeyboardInterrupt:
        print(f"\ninterrupted; what was found is in {run.out}", file=sys.stderr)
        return INTERRUPTED
    return summary(run)


if __name__ == "__main__":
    raise SystemExit(main())
