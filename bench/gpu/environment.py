"""What is there: the GPU, its driver and the libraries, by version."""

import importlib.metadata
import platform
import sys
from collections.abc import Callable
from typing import Any

import gpunet
from gpunet.devices.cuda import nvrtc, probe
from gpunet.devices.cuda.libcuda import visible

from .setting import Setting
from .table import Table

TITLE = "environment"
SECONDS = 60
NEEDS = ("cupy",)

PACKAGES = ("numpy", "cupy-cuda12x", "cupy-cuda13x", "torch", "nvidia-ml-py", "pytest", "hypothesis", "rich")


def run(setting: Setting) -> None:
    """Note every version that can be had; what cannot be asked stands there as the reason."""
    findings = setting.findings
    findings.note("gpunet", gpunet.__version__)
    findings.note("python", f"{sys.version.split()[0]} on {platform.platform()}")
    findings.note("packages", {name: _version(name) for name in PACKAGES})
    findings.note("gpu", _asked(gpu))
    findings.note("libraries", _asked(libraries))
    findings.note("torch", _asked(torch_libraries))
    findings.note("nvml", _asked(nvml))


def gpu() -> dict[str, Any]:
    """What the CUDA runtime says of GPU 0. Raises what CuPy raises where there is none."""
    from cupy.cuda import runtime

    count = runtime.getDeviceCount()
    properties = runtime.getDeviceProperties(0)
    free, total = runtime.memGetInfo()
    return {
        "name": properties["name"].decode(),
        "gpus": count,
        "compute_capability": f"{properties['major']}.{properties['minor']}",
        "multiprocessors": properties["multiProcessorCount"],
        "l2_bytes": properties["l2CacheSize"],
        "memory_bytes": total,
        "free_bytes": free,
    }


def libraries() -> dict[str, str]:
    """Versions of the CUDA libraries that gpunet uses."""
    from cupy.cuda import cublas, runtime

    handle = cublas.create()
    try:
        version = cublas.getVersion(handle)
    finally:
        cublas.destroy(handle)
    return {
        "driver": _dotted(runtime.driverGetVersion()),
        "runtime": _dotted(runtime.runtimeGetVersion()),
        "nvrtc": "{}.{}".format(*nvrtc.at_hand(runtime.runtimeGetVersion() // 1000).version),
        "cublas": str(version),
    }


def torch_libraries() -> dict[str, Any]:
    """What PyTorch was built with."""
    import torch

    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "sees_gpu": torch.cuda.is_available(),
    }


def nvml() -> dict[str, Any]:
    """What NVML says of the driver and of who else uses the GPU that CUDA shows first."""
    with probe.nvml() as pynvml:
        handle = probe.handle_of(pynvml, visible())
        return {
            "driver": str(pynvml.nvmlSystemGetDriverVersion()),
            "used_bytes": int(pynvml.nvmlDeviceGetMemoryInfo(handle).used),
            "sm_clock_mhz": pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM),
            "most_sm_clock_mhz": pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM),
        }


def tables(values: dict[str, Any]) -> list[Table]:
    rows: list[tuple[str, object]] = [("gpunet", values.get("gpunet")), ("python", values.get("python"))]
    for group in ("gpu", "libraries", "torch", "nvml"):
        for name, value in (values.get(group) or {}).items():
            rows.append((f"{group}: {name}", str(value).partition("\n")[0]))
    rows += [(name, version) for name, version in values.get("packages", {}).items() if version]
    return [Table("What is there", ("", "value"), rows, left=2)]


def _asked(question: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The answer, or why there is none: any library may be missing or broken here, which is what is to be found out."""
    try:
        return question()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _dotted(version: int) -> str:
    """13020 -> 13.2, as CUDA counts."""
    return f"{version // 1000}.{version % 1000 // 10}"
