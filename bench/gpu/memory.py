"""Planned against measured: what NVML and CuPy say that a training step takes, beside the plan's arena and reserve."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from threading import Event, Thread
from typing import Any, Self

from gpunet.memory.size import format_bytes
from gpunet.model import Model
from gpunet.planner import plan

from .nets import LEARNING_RATE, Case, random_batch
from .setting import Setting
from .table import Table

TITLE = "memory"
SECONDS = 90
NEEDS = ("cupy", "pynvml")

STEPS = 5
POLL_SECONDS = 0.002
CASES = (Case("vgg_digits", 64), Case("vgg_cifar", 64), Case("vgg16", 16), Case("vgg16", 64))

ROW_NAMES = ("before", "made", "first_step", "peak", "after", "closed")

Meter = Callable[[], Mapping[str, int]]
"""Bytes in use now, by who says so: "device" (everything on the GPU), "process" where NVML tells, "pool" (CuPy's)."""


def run(setting: Setting, cases: Sequence[Case] = CASES, meter: Meter | None = None) -> None:
    """Train a few steps of each case; note what was in use before, at the peak and after, and whether the plan held."""
    findings = setting.findings
    if meter is None:
        meter = Nvml()
    baseline = meter()
    findings.note("baseline", dict(baseline))
    setting.device.synchronize()
    findings.note("opened", dict(meter()))
    for case in cases:
        if setting.quick and case.net == "vgg16":
            findings.skip(f"{case.name}: left out of a quick run")
            continue
        needed = plan(case.load(), case.batch, device=setting.device.name).arena_bytes
        if setting.goes(case.name, needed):
            measure(setting, case, baseline, meter)


def measure(setting: Setting, case: Case, baseline: Mapping[str, int], meter: Meter) -> None:
    """One case: a model is made, steps, and is closed again."""
    net = case.load()
    images, labels = random_batch(net, case.batch)
    before = meter()
    with Peak(meter) as peak, Model(net, case.batch, setting.device, learning_rate=LEARNING_RATE) as model:
        setting.device.synchronize()
        made = meter()
        model.step(images, labels)
        warm = meter()
        for _ in range(STEPS):
            model.step(images, labels)
        setting.device.synchronize()
        after = meter()
        planned = model.plan
    closed = meter()
    looks = dict(zip(ROW_NAMES, (before, made, warm, peak.bytes, after, closed), strict=True))
    used = peak.bytes["device"] - baseline["device"]
    who = "process" if "process" in warm else "device"
    row = {
        "case": case.name,
        "arena_bytes": planned.arena_bytes,
        "stated_reserve_bytes": planned.reserve_bytes,
        "planned_bytes": planned.total_bytes,
        "measured_bytes": used,
        "measured_reserve_bytes": used - planned.arena_bytes,
        "growth_bytes": after[who] - warm[who],
        "pool_growth_bytes": after["pool"] - made["pool"],
        "left_bytes": closed[who] - before[who],
        "in_use": {name: dict(look) for name, look in looks.items()},
    }
    setting.findings.append("cases", row)
    _judge(setting, case, row)


def _judge(setting: Setting, case: Case, row: dict[str, Any]) -> None:
    """What must hold: nothing grows from step to step, and arena and stated reserve are enough."""
    require = setting.findings.require
    pool, growth = row["pool_growth_bytes"], row["growth_bytes"]
    require(pool == 0, f"{case.name}: CuPy's pool grew by {pool} bytes in the steps")
    require(growth <= 0, f"{case.name}: the memory in use grew by {growth} bytes after the first step")
    measured, planned, stated, reserve = (
        format_bytes(row[f"{name}_bytes"]) for name in ("measured", "planned", "stated_reserve", "measured_reserve")
    )
    require(
        row["measured_bytes"] <= row["planned_bytes"],
        f"{case.name}: {measured} were in use, {planned} were planned: the stated reserve of {stated} is too small, "
        f"{reserve} were measured",
    )


class Peak:
    """Asks a meter again and again, in a thread of its own, and keeps the most of each."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._stop = Event()
        self._thread = Thread(target=self._watch, daemon=True)
        self.bytes = dict(meter())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            self._look()

    def _look(self) -> None:
        for who, count in self._meter().items():
            self.bytes[who] = max(self.bytes.get(who, 0), count)


class Nvml:
    """The meter of the first GPU: NVML, which sees what is there before CUDA starts, and CuPy's pool."""

    def __init__(self) -> None:
        import pynvml

        self._nvml = pynvml
        pynvml.nvmlInit()
        self._handle = pynvml.nvmlDeviceGetHandleByIndex(first_gpu())

    def __call__(self) -> dict[str, int]:
        used = {"device": int(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used), "pool": pool_bytes()}
        with suppress(self._nvml.NVMLError):  # not every driver tells who uses what
            for process in self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle):
                if process.pid == os.getpid() and process.usedGpuMemory is not None:
                    used["process"] = int(process.usedGpuMemory)
        return used


def first_gpu() -> int:
    """NVML's number of the GPU that CUDA shows first."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0].strip()
    return int(visible) if visible.isdecimal() else 0


def pool_bytes() -> int:
    """What CuPy's own pools hold; importing CuPy here would change what is measured before CUDA starts."""
    if "cupy" not in sys.modules:
        return 0
    import cupy

    return int(cupy.get_default_memory_pool().total_bytes())


def tables(values: dict[str, Any]) -> list[Table]:
    rows = [
        (
            row["case"],
            *(
                format_bytes(row[f"{name}_bytes"])
                for name in ("arena", "measured_reserve", "stated_reserve", "planned", "measured")
            ),
            row["pool_growth_bytes"],
            row["growth_bytes"],
        )
        for row in values.get("cases", ())
    ]
    columns = (
        "training",
        "arena",
        "reserve measured",
        "reserve stated",
        "planned",
        "measured",
        "pool growth",
        "growth after step 1",
    )
    notes = ("measured: the most in use on the GPU in NVML's eyes, less what was in use before CUDA started",)
    return [Table("Planned against measured", columns, rows, notes)] if rows else []
