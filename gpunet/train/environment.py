"""In what a run was started: versions, machine, device and command line, for environment.json."""

import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from gpunet.devices.cpu import probe as cpu
from gpunet.devices.cuda import probe as cuda
from gpunet.devices.cuda.reserve import hardware
from gpunet.devices.device import Device
from gpunet.devices.name import split_name
from gpunet.version import __version__

PACKAGES = ("numpy", "safetensors", "cupy-cuda12x", "cupy-cuda13x", "pillow")


def environment(device: Device) -> dict[str, Any]:
    """Plain values, `arithmetic` being what bits depend on; packages that are not installed are not named."""
    kind, number = split_name(device.name)
    versions = {"gpunet": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    about: dict[str, Any] = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["gpunet", *sys.argv[1:]]),
        "versions": versions,
        "platform": platform.platform(),
        "device": device.name,
        "cores": cpu.cores(),
        "blas": cpu.blas(),
    }
    if kind == "cuda":
        about["gpu"] = hardware(number)
        about["arithmetic"] = device.arithmetic()
        about["libraries"] = {name: cuda.package_versions(name) for name in cuda.PACKAGES}
    return about
