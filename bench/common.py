"""What every benchmark on the CPU writes down: where it ran, with what, and its results as JSON."""

import importlib.metadata
import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info

import gpunet
from bench.gpu.findings import write_json
from gpunet.devices.cpu.probe import cores
from gpunet.devices.cpu.threads import thread_count

RESULTS = Path(__file__).parent / "results"


def environment() -> dict[str, Any]:
    """Processor, versions, threads, what in the environment changes them, the date and the command."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", os.path.relpath(sys.argv[0]), *sys.argv[1:]]),
        "cpu": _processor(),
        "cores": cores(),
        "threads": thread_count(),
        "load_before": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "gpunet": gpunet.__version__,
        "numpy": importlib.metadata.version("numpy"),
        "torch": importlib.metadata.version("torch"),
        "blas": _blas(),
        "variables": {
            name: value for name, value in os.environ.items() if name.startswith(("OPENBLAS_", "OMP_", "MKL_"))
        },
    }


def save(name: str, results: dict[str, Any], path: Path | None = None) -> Path:
    """Write the results with their environment to bench/results/NAME.json, or to `path`; a whole file or none."""
    path = path or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"benchmark": name, **results, "environment": environment()})
    return path


def _blas() -> list[str]:
    """NumPy's BLAS: library, version, and the processor for which its kernels were written."""
    return [
        f"{library['internal_api']} {library['version']} ({library.get('architecture', 'unknown')} kernels)"
        for library in threadpool_info()
        if library["user_api"] == "blas"
    ]


def _processor() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
