"""What there is to plan and train with on this machine, and for each thing missing the one command that mends it."""

import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpunet.devices import free_bytes
from gpunet.devices.cpu import probe as cpu
from gpunet.devices.cuda import libraries
from gpunet.devices.cuda import probe as cuda
from gpunet.devices.cuda.cublas import settings
from gpunet.devices.cuda.libcuda import driver_version
from gpunet.devices.cuda.present import (
    OLDEST_DRIVER,
    cuda_release,
    cupy_release,
    driver_command,
    install_command,
    lends_memory,
)
from gpunet.devices.name import split_name
from gpunet.errors import BudgetError, DeviceError, GpunetError
from gpunet.layers.conv import Conv
from gpunet.layers.fc import FC
from gpunet.layers.pool import MaxPool
from gpunet.layers.relu import ReLU
from gpunet.memory.size import format_bytes
from gpunet.model.model import Model
from gpunet.net.net import Net
from gpunet.planning.fitter import fit
from gpunet.program.program import DeviceName
from gpunet.system import cache

REPORT = "gpunet doctor --json"

STEP = "a training step"
"""The last thing that is looked at: whether all that was found works together."""

LENT = (
    "the system lends its own to a GPU that is full, which is slow; gpunet asks for no more than is free. Against it: "
    "NVIDIA Control Panel, CUDA - Sysmem Fallback Policy, Prefer No Sysmem Fallback"
)
"""Of Windows, and of Linux inside it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was looked for: what was found, or None and what mends that. `device`: which one needs it."""

    name: str
    device: str
    found: str | None
    mend: str = ""


def examine(device: DeviceName = "cuda") -> list[Finding]:
    """Look at everything, of the GPUs at `device`; the last two findings say whether the CPU and that GPU can train, by
    having trained a step."""
    return [*_look_at_cpu(), *_look_at_gpu(device), _trains("cpu"), _trains(device)]


def trains(findings: Sequence[Finding], device: str) -> bool:
    """Whether a device can train."""
    return any(finding.name == STEP and finding.device == device and finding.found for finding in findings)


def explain_shortage(net: Net, device: str, **options: Any) -> str:
    """Who holds a device's memory, and which batch would fit into what they leave; for people.

    `options`  those of `gpunet.plan`, budget and batch aside
    """
    lines = []
    kind, number = split_name(device)
    if kind == "cuda":
        try:
            held = cuda.holders(number)
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


def _look_at_gpu(device: str) -> Iterator[Finding]:
    driver = driver_version()
    found = f"for CUDA {driver}" if driver is not None and driver >= OLDEST_DRIVER else None
    try:
        gpu = cuda.gpu(split_name(device)[1])
    except DeviceError as error:
        yield Finding("NVIDIA driver", "cuda", found, driver_command())
        mend = str(error).partition(": ")[2] or (driver_command() if driver is None else "nvidia-smi")
        yield Finding("GPU", "cuda", None, mend)
    else:
        yield Finding("NVIDIA driver", "cuda", f"{gpu.driver}, {found}" if found else None, driver_command())
        memory = f"{format_bytes(gpu.free_bytes)} of {format_bytes(gpu.total_bytes)} free"
        which = f" ({gpu.which})" if gpu.which else ""
        yield Finding("GPU", "cuda", f"{gpu.name}{which}, compute capability {gpu.compute_capability}, {memory}")
    if lends_memory():
        yield Finding("GPU memory", "cuda", LENT)
    yield _look_at_cupy()
    yield from map(_look_at_library, libraries.PACKAGES)
    if changed := settings():
        yield Finding("rounding", "cuda", f"cuBLAS is told to round otherwise by {', '.join(changed)}: unset them")
    yield _look_at_cache()


def _look_at_cupy() -> Finding:
    """There must be but one, for a CUDA that the driver and the GPU know."""
    versions = cuda.package_versions("CuPy")
    fits = len(versions) == 1 and (cupy_release() or 0) <= cuda_release()
    return Finding("CuPy", "cuda", versions[0] if fits else None, install_command())


def _look_at_library(library: str) -> Finding:
    """NVRTC or cuBLAS, of the CUDA release that CuPy is made for; any that is there where there is no CuPy."""
    release = cupy_release()
    packaged = release is None or release in libraries.packaged_files(library)
    versions = cuda.package_versions(library) if packaged else []
    found = next(iter(versions), None) or cuda.library_path(library, release)
    return Finding(library, "cuda", found, install_command())


def _look_at_cache() -> Finding:
    """Where compiled kernels and measurements are kept."""
    fault = cache.fault()
    mend = f"set {cache.FOLDER_VARIABLE} to a folder that can be written ({fault}); till then kernels are compiled anew"
    return Finding("cache", "cuda", None if fault else str(cache.folder()), mend)


def _trains(device: DeviceName) -> Finding:
    """Train one step of a tiny net that has every kind of layer."""
    kind, _ = split_name(device)
    net = Net("4x4x1", [Conv(K=2), ReLU(), MaxPool(), FC(K=2)], name="tiny")
    images, labels = np.linspace(0, 1, 32, dtype=np.float32).reshape(2, 4, 4, 1), np.array([0, 1])
    try:
        with Model(net, batch=2, device=device) as model:
            loss = model.step(images, labels)
    except GpunetError as error:
        return Finding(STEP, kind, None, str(error))
    if not np.isfinite(loss):
        return Finding(STEP, kind, None, f"the loss is {loss}, a bug: report it with what this prints: {REPORT}")
    return Finding(STEP, kind, f"loss {loss:.3f}")
