"""Planned against measured: what NVML and CuPy say that a training step takes, beside the plan's arena and reserve."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from gpunet.devices import target
from gpunet.devices.cuda.meter import Nvml
from gpunet.memory.size import format_bytes
from gpunet.model.model import Model
from gpunet.planning.planner import plan
from gpunet.profile.memory import Meter, Peak
from gpunet.profile.steps import random_batch

from .nets import LEARNING_RATE, Case
from .setting import Setting
from .table import Table

TITLE = "memory"
SECONDS = 90
NEEDS = ("cupy", "pynvml")

STEPS = 5
CASES = (
    Case("vgg_digits", 64),
    Case("vgg_cifar", 64),
    Case("vgg16", 16, large=True),
    Case("vgg16", 64, large=True),
)

ROW_NAMES = ("before", "made", "first_step", "peak", "after", "closed")


def run(setting: Setting, cases: Sequence[Case] = CASES, meter: Meter | None = None) -> None:
    """Train a few steps of each case; note what was in use before, at the peak and after, and whether the plan held."""
    if meter is None:
        with closing(Nvml()) as nvml:
            return run(setting, cases, nvml)
    findings = setting.findings
    baseline = meter()
    findings.note("baseline", dict(baseline))
    setting.device.synchronize()
    findings.note("opened", dict(meter()))
    for case in cases:
        if setting.quick and case.large:
            findings.skip(f"{case.name}: left out of a quick run")
            continue
        needed = plan(case.load(), case.batch, device=setting.device.name).arena_bytes
        if setting.goes(case.name, needed):
            measure(setting, case, baseline, meter)
    return None


def measure(setting: Setting, case: Case, baseline: Mapping[str, int], meter: Meter) -> None:
    """One case: a model is made, steps, and is closed again."""
    net = case.load()
    images, labels = random_batch(net, case.batch)
    name = setting.device.name
    planned = plan(net, case.batch, device=name, reserve=target(name).reserve_bytes)  # as stated, whatever is known
    before = meter()
    with (
        Peak(meter) as peak,
        Model(net, case.batch, setting.device, plan=planned, learning_rate=LEARNING_RATE) as model,
    ):
        setting.device.synchronize()
        made = meter()
        model.step(images, labels)
        warm = meter()
        for _ in range(STEPS):
            model.step(images, labels)
        setting.device.synchronize()
        after = meter()
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
