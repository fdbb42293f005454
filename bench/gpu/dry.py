"""What `bench/on_gpu.py --dry-run` measures: every section in small, on the GPU that the tests emulate.

Whatever can break on the way without a GPU breaks here: arguments, processes, time limits, JSON, tables. PyTorch runs
on the CPU. Times mean nothing, so what is found about speed is kept nowhere.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

from gpunet.data.dataset import Dataset, Split
from gpunet.devices.cards import find
from gpunet.devices.cuda.device import CudaDevice
from gpunet.devices.device import Device
from gpunet.net.config import Config, TrainConfig, load
from gpunet.net.net import Net

from .kernel import Sizes
from .nets import Case
from .products import products
from .setting import Setting

CARD = "3060"
"""What predictions are made for."""

SIZES = Sizes(N=2, side=6, D=4, classes=5, weights=37)

TESTS = ("tests/test_on_gpu.py", "-m", "not gpu", "-k", "same_step or 2147483647")
"""In the place of those that need a GPU."""


def emulated() -> Device:
    """The GPU of the tests, which needs a C++ compiler and the checkout."""
    return CudaDevice(import_module("tests.emulator.driver").EmulatorDriver())


def tiny() -> Net:
    net: Net = load(
        "INPUT[8x6x3] -> CONV3-4 -> BN -> RELU -> { CONV3-4 -> BN + ID } -> RELU -> POOL2 -> CONV3-8 -> FC-3"
    )
    return net


def halves() -> tuple[Dataset, Config]:
    """Images that are brighter on one side, and a net for them."""
    pixels = np.random.default_rng(0).integers(0, 17, (40, 8, 8, 1), np.uint8)
    labels = (pixels[:, :, :4].sum((1, 2, 3)) > pixels[:, :, 4:].sum((1, 2, 3))).astype(np.int32)
    data = Dataset("halves", Split(pixels, labels), Split(pixels[:10], labels[:10]))
    net = load("INPUT[8x8x1] -> CONV3-4 -> RELU -> POOL2 -> FC-2")
    return data, Config(net, TrainConfig(epochs=2, batch=16))


class Meter:
    """What NVML would show: a context beside the arenas that the device has."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def __call__(self) -> dict[str, int]:
        used = 1000
        if "device" in vars(self.setting):
            free, total = self.setting.device.driver.memory()  # type: ignore[attr-defined]
            used += 300 * 2**20 + total - free
        return {"device": used, "pool": 0}


def arguments(name: str, setting: Setting) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """What a section's `run` takes beside the setting."""
    cases = [Case(tiny(), 3)]
    kernels = {"sizes": SIZES, "chosen": [*products(1)][-2:], "seconds": 0.0, "copy_bytes": 4000}
    small: dict[str, Mapping[str, Any]] = {
        "full_sizes": {"cases": cases, "sizes": SIZES},
        "agreement": {**dict(zip(("data", "config"), halves(), strict=True)), "least_accuracy": 0.0},
        "memory": {"cases": cases, "meter": Meter(setting)},
        "tune": {"cases": cases, "rounds": 1},
        "steps": {"cases": cases, "seconds": 0.01},
        "tensor_cores": {"cases": cases, "seconds": 0.01, "only": ["tf32"]},
        "predictions": {"cases": cases, "card": find(CARD), "steps": 1, "copy_bytes": 4000},
        "layers": {"cases": cases, "steps": 1, "peer_seconds": 0.001},
        "kernels": kernels,
    }
    return (TESTS if name == "gpu_tests" else ()), small.get(name, {})
