"""What there is to plan and train with on this machine, and for each thing missing the one command that mends it."""

import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from gpunet.devices.cpu import probe as cpu
from gpunet.devices.cuda import probe as cuda
from gpunet.devices.cuda.present import driver_command, driver_version, install_command
from gpunet.errors import BudgetError, DeviceError, GpunetError
from gpunet.layers.conv import Conv
from gpunet.layers.fc import FC
from gpunet.layers.pool import MaxPool
from gpunet.layers.relu import ReLU
from gpunet.memory.size import format_bytes
from gpunet.model.model import Model
from gpunet.net.net import Net
from gpunet.planning.fitter import fit

REPORT = "gpunet doctor --json"

STEP = "a training step"
"""The last thing that is looked at: whether all that was found works together."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was looked for: what was found, or None and what mends that. `device`: which one needs it."""

    name: str
    device: str
    found: str | None
    mend: str = ""


def examine() -> list[Finding]:
    """Look at everything; the last two findings say whether each device can train, by having trained a step."""
    return [*_look_at_cpu(), *_look_at_gpu(), _trains("cpu"), _trains("cuda")]


def trains(findings: Sequence[Finding], device: str) -> bool:
    """Whether a device can train."""
    return any(finding.name == STEP and finding.device == device and finding.found for finding in findings)


def free_bytes(device: str) -> int | None:
    """Memory of a device that nobody uses; None where it cannot be told."""
    free: int | None = import_module(f"gpunet.devices.{device}.probe").free_bytes()
    return free


def explain_shortage(net: Net, device: str, **options: Any) -> str:
    """Who holds a device's memory, and which batch would fit into what they leave; for people.

    `options`  those of `gpunet.plan`, budget and batch aside
    """
    lines = []
    if device == "cuda":
        try:
            held = cuda.holders()
        except DeviceError as error:
            lines.append(f"who holds the rest cannot be told: {error}")
        else:
            lines += [_holder_line(holder) for holder in held] or ["no other process is seen to hold any of it"]
    free = free_bytes(device)
    if free is not None:
        lines.append(_what_fits(net, free, device=device, **options))
    return "\n".join(lines)


def _holder_line(holder: cuda.Holder) -> str:
    amount = "an amount that the driver does not tell" if holder.nbytes is None else format_bytes(holder.nbytes)
    return f"{holder.name} (process {holder.pid}) holds {amount}"


def _what_fits(net: Net, free: int, **options: Any) -> str:
    left = f"in the {format_bytes(free)} free now"
    try:
        batch = fit(net, max(free, 1), **options).batch
    except BudgetError:
        return f"{left}, not even one image fits"
    return f"{left}, the largest batch that fits is {batch}"


def _look_at_cpu() -> Iterator[Finding]:
    yield Finding("Python", "cpu", f"{platform.python_version()} ({sys.executable})")
    yield Finding("NumPy", "cpu", np.__version__)
    yield Finding("BLAS", "cpu", cpu.blas(), 'pip install --force-reinstall "numpy>=2"')
    free = cpu.free_bytes()
    memory = "" if free is None else f", {format_bytes(free)} of memory free"
    yield Finding("CPU", "cpu", f"{cpu.cores()} cores{memory}")


def _look_at_gpu() -> Iterator[Finding]:
    driver = driver_version()
    found = None if driver is None else f"for CUDA {driver}"
    try:
        gpu = cuda.first_gpu()
    except DeviceError as error:
        yield Finding("NVIDIA driver", "cuda", found, driver_command())
        mend = str(error).partition(": ")[2] or (driver_command() if driver is None else "nvidia-smi")
        yield Finding("GPU", "cuda", None, mend)
    else:
        yield Finding("NVIDIA driver", "cuda", f"{gpu.driver}, {found}" if found else gpu.driver)
        memory = f"{format_bytes(gpu.free_bytes)} of {format_bytes(gpu.total_bytes)} free"
        which = f" ({gpu.which})" if gpu.which else ""
        yield Finding("GPU", "cuda", f"{gpu.name}{which}, compute capability {gpu.compute_capability}, {memory}")
    cupy = cuda.package_versions("CuPy")
    if len(cupy) > 1:
        yield Finding("CuPy", "cuda", None, f"pip uninstall -y cupy-cuda12x cupy-cuda13x cupy && {install_command()}")
    else:
        yield Finding("CuPy", "cuda", next(iter(cupy), None), install_command())
    for library in ("NVRTC", "cuBLAS"):
        versions = cuda.package_versions(library)
        yield Finding(library, "cuda", next(iter(versions), None) or cuda.library_path(library), install_command())


def _trains(device: str) -> Finding:
    """Train one step of a tiny net that has every kind of layer."""
    net = Net("4x4x1", [Conv(K=2), ReLU(), MaxPool(), FC(K=2)], name="tiny")
    images, labels = np.linspace(0, 1, 32, dtype=np.float32).reshape(2, 4, 4, 1), np.array([0, 1])
    try:
        with Model(net, batch=2, device=device) as model:
            loss = model.step(images, labels)
    except GpunetError as error:
        return Finding(STEP, device, None, str(error))
    if not np.isfinite(loss):
        return Finding(STEP, device, None, f"the loss is {loss}, a bug: report it with what this prints: {REPORT}")
    return Finding(STEP, device, f"loss {loss:.3f}")
