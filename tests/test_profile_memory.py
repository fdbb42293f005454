"""Memory in use beside the plan: who tells it, what it counts, and the reserve that follows from it."""

import os
import sys
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import gpunet
from gpunet import DeviceError
from gpunet.devices.cpu import meter as cpu_meter
from gpunet.devices.cuda import meter as cuda_meter
from gpunet.devices.cuda import reserve
from gpunet.devices.cuda.libcuda import Visible
from gpunet.devices.device import Device
from gpunet.profile import measure, memory
from gpunet.profile.keep import keep_reserve
from gpunet.profile.measure import DRIVER, Profile, profile
from tests.conftest import GPU, make_device
from tests.nets import blocks

MIB = 2**20
BATCH = 7


def emulated_gpu(device: Device, context: int) -> memory.Meter:
    """What NVML would show of a GPU on which another program has 5000 bytes: a context, then the arenas."""
    looks: list[int] = []

    def meter() -> dict[str, int]:
        free, total = device.driver.memory()  # type: ignore[attr-defined]
        looks.append(1)
        ours = context + total - free if len(looks) > 1 else 0
        return {"device": 5000 + ours, "pool": 0}

    return meter


def test_measured_is_the_arena_where_the_driver_counts_it_alone() -> None:
    made = profile(blocks(), BATCH, device := make_device("emulated"), steps=1)
    assert made.memory.told_by == DRIVER and not made.memory.opening
    assert made.memory.used_bytes == made.plan.arena_bytes == made.planned_bytes
    assert made.difference_bytes == 0 and made.reserve_bytes is None
    assert made.memory.after["device"] == made.memory.before["device"]
    device.close()


def test_the_reserve_is_what_the_process_took_beside_its_arena() -> None:
    device = make_device("emulated")
    made = profile(blocks(), BATCH, device, steps=1, meter=emulated_gpu(device, 300 * MIB))
    assert made.memory.opening and made.memory.before["device"] == 5000
    assert made.memory.used_bytes == 300 * MIB + made.plan.arena_bytes
    assert made.reserve_bytes == 300 * MIB
    assert made.difference_bytes == 300 * MIB - made.plan.reserve_bytes == -212 * MIB
    device.close()


def test_the_process_counts_where_it_is_told() -> None:
    looks = memory.Memory("NVML", True, {"device": 900}, {"device": 5000, "process": 700}, {"device": 900})
    assert looks.used_bytes == 700
    assert memory.Memory("the system", True, {}, {}, {}).used_bytes is None


def test_the_cpu_is_measured_by_what_is_resident(rng: np.random.Generator) -> None:
    before = cpu_meter.resident()["process"]
    held = rng.integers(0, 255, 64 * MIB, np.uint8)
    assert 60 * MIB < cpu_meter.resident()["process"] - before < 80 * MIB
    del held
    large = gpunet.load("INPUT[64x64x3] -> CONV3-32 -> RELU -> FC-4")
    made = profile(large, 24, "cpu", steps=1)
    assert made.memory.opening and set(made.memory.peak) == {"process"} and made.reserve_bytes is None
    assert made.memory.peak["process"] >= made.memory.before["process"] + made.plan.arena_bytes // 2
    assert made.difference_bytes == made.memory.peak["process"] - made.plan.total_bytes


def test_where_the_system_does_not_tell_what_is_resident_the_most_so_far_counts(tmp_path, monkeypatch) -> None:
    now = cpu_meter.resident()["process"]
    monkeypatch.setattr(cpu_meter, "STATM", tmp_path / "nothing")
    assert now // 2 < cpu_meter.resident()["process"] < 64 * 2**30
    monkeypatch.setitem(sys.modules, "resource", None)
    assert cpu_meter.resident() == {}


def test_the_peak_is_seen_between_two_looks() -> None:
    use = {"device": 5}
    with memory.Peak(lambda: dict(use)) as peak:
        use["device"] = 90
        time.sleep(0.1)
        use["device"] = 7
        time.sleep(0.02)
    assert peak.bytes == {"device": 90}


class FakeNvml(SimpleNamespace):
    """NVML as a GPU would show it; `used` by process id, None where the driver does not tell."""

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        super().__init__(used={os.getpid(): 700, 1: 50}, asked=[], open=0, memory=SimpleNamespace(used=1000))

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        self.asked.append(uuid)
        return "handle"

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:
        if self.memory is None:
            raise self.NVMLError("Insufficient Permissions")
        return self.memory

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:
        if self.used is None:
            raise self.NVMLError("Not Supported")
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.used.items()]


@pytest.fixture
def pynvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    made = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", made)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(cuda_meter, "visible", lambda number: Visible(number, 4, (8, 6), f"uuid {number}", "bus", 1))
    return made


def test_nvml_tells_the_gpus_use_and_this_processs_where_it_can(pynvml: FakeNvml) -> None:
    meter = cuda_meter.Nvml()
    assert meter() == {"device": 1000, "pool": 0, "process": 700}
    pynvml.used[os.getpid()] = None
    assert meter() == {"device": 1000, "pool": 0}
    pynvml.used = None
    assert meter() == {"device": 1000, "pool": 0}
    assert "cupy" not in sys.modules, "looking must not start what is to be measured"
    assert pynvml.open == 1
    meter.close()
    assert pynvml.open == 0


def test_nvml_is_asked_for_the_gpu_that_is_meant(pynvml) -> None:
    for number in (0, 3):
        cuda_meter.Nvml(number).close()
    assert pynvml.asked == ["GPU-uuid 0", "GPU-uuid 3"]


def test_a_profile_of_the_second_gpu_meters_and_keeps_what_is_its_own(pynvml, monkeypatch) -> None:
    monkeypatch.setattr(measure, "driver_version", lambda: 13)
    monkeypatch.setattr(measure, "open_device", lambda name: make_device("emulated"))
    monkeypatch.setattr(reserve, "hardware", lambda number=0: f"Card {number}, driver 580.65")
    made = profile(blocks(), 3, "cuda:1", steps=1)
    assert pynvml.asked == ["GPU-uuid 1"]
    assert (made.plan.device, made.hardware, made.memory.told_by) == ("cuda:1", "Card 1, driver 580.65", "NVML")
    monkeypatch.setattr(Profile, "reserve_bytes", property(lambda profile: 300 * MIB))
    keep_reserve(made)
    assert [gpunet.plan(blocks(), 3, device=name).reserve_bytes // MIB for name in ("cuda:1", "cuda")] == [300, 512]


def test_nvml_that_refuses_is_an_error_of_the_device_and_is_left_closed(pynvml: FakeNvml) -> None:
    pynvml.memory = None
    with pytest.raises(DeviceError, match="Insufficient Permissions"):
        cuda_meter.Nvml()
    assert pynvml.open == 0


def test_cupys_pool_is_asked_once_cupy_is_there(pynvml, monkeypatch) -> None:
    pool = SimpleNamespace(total_bytes=lambda: 40)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(get_default_memory_pool=lambda: pool))
    assert cuda_meter.Nvml()()["pool"] == 40


def test_a_reserve_is_kept_from_a_profile_of_a_gpu_alone(gpu) -> None:
    device = make_device("emulated")
    made = profile(blocks(), 3, device, steps=1, meter=emulated_gpu(device, 300 * MIB))
    held = keep_reserve(made)
    assert held is not None and held.nbytes == 300 * MIB
    made = gpunet.plan(blocks(), 3)
    assert (made.reserve_bytes, made.reserve_source) == (300 * MIB, f"measured on {GPU}")
    assert keep_reserve(profile(blocks(), 3, "cpu", steps=1)) is None
    device.close()
