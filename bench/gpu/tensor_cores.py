"""Whole training steps on tensor cores beside PyTorch's: tf32 beside its TF32, a half type beside its autocast."""

from collections.abc import Sequence
from contextlib import nullcontext
from statistics import median
from typing import Any

import numpy as np

from gpunet.devices import target
from gpunet.model.model import Model
from gpunet.planning.planner import plan
from gpunet.profile.steps import random_batch

from .nets import LEARNING_RATE, Case, as_floats
from .peer import TorchTrainer, set_tf32
from .setting import Setting
from .steps import PEER_FACTOR, take_turns
from .table import Table, number

TITLE = "training steps on tensor cores beside PyTorch"
SECONDS = 100
NEEDS = ("cupy", "torch")

CASES = (Case("vgg_cifar", 64), Case("vgg16", 64, large=True), Case("resnet50", 32, large=True))
SECONDS_A_CASE = 6.0
LEAST_RATIO = 1.0
"""PyTorch's time over gpunet's."""


def run(
    setting: Setting, cases: Sequence[Case] = CASES, seconds: float = SECONDS_A_CASE, only: Sequence[str] = ()
) -> None:
    """Race each case in each way that this GPU has, or those that are said.

    PyTorch keeps its volumes channels last, which it likes best.
    """
    for case in cases:
        if setting.quick and case.large:
            setting.findings.skip(f"{case.name}: left out of a quick run")
            continue
        for way in only or ways(setting):
            made = plan(case.load(), case.batch, device=setting.device.name, **options_of(way))
            if setting.goes(f"{case.name} in {way}", int((1 + PEER_FACTOR) * made.arena_bytes)):
                measure(setting, case, way, seconds)


def ways(setting: Setting) -> list[str]:
    """tf32 from 8.0 on, and the half type that the GPU trains with."""
    where = target(setting.device.name)
    halves = list(where.halves[:1])
    return [*(["tf32"] if "bfloat16" in where.halves else []), *halves]


def options_of(way: str) -> dict[str, Any]:
    """As a plan takes it."""
    return {"math": "tf32"} if way == "tf32" else {"dtype": way}


def measure(setting: Setting, case: Case, way: str, seconds: float) -> None:
    """One case in one way: milliseconds of a step from float images on the device, in turns."""
    net = case.load()
    images, labels = random_batch(net, case.batch)
    floats = as_floats(net, images)
    with Model(net, case.batch, setting.device, learning_rate=LEARNING_RATE, **options_of(way)) as model:
        peer = TorchTrainer(
            net, dict(model.parameters), setting.peer, learning_rate=LEARNING_RATE, channels_last=True
        )  # fmt: skip
        contenders = {
            "gpunet": _ours(setting, model, floats, labels),
            "PyTorch": _peer(setting, peer, way, floats, labels),
        }
        ms = {name: median(values) for name, values in take_turns(contenders, seconds).items()}
        row = {"case": case.name, "batch": case.batch, "way": way, "milliseconds": ms}
        row |= {"ratio": ms["PyTorch"] / ms["gpunet"], "arena_bytes": model.plan.arena_bytes}
    setting.findings.append("cases", row)


def _ours(setting: Setting, model: Model, floats: np.ndarray, labels: np.ndarray) -> Any:
    def step() -> float:
        calls = model.calls(floats, labels)
        first = setting.clock.mark()
        for _, call in calls:
            call()
        return setting.clock.milliseconds(first, setting.clock.mark())

    return step


def _peer(setting: Setting, trainer: TorchTrainer, way: str, floats: np.ndarray, labels: np.ndarray) -> Any:
    import torch

    def step() -> float:
        set_tf32(way == "tf32")
        around = nullcontext() if way == "tf32" else torch.autocast(setting.peer, getattr(torch, way))
        loaded = trainer.load(floats, labels)
        first = setting.peer_clock.mark()
        with around:
            trainer.step(*loaded)
        elapsed = setting.peer_clock.milliseconds(first, setting.peer_clock.mark())
        set_tf32(False)
        return elapsed

    return step


def tables(values: dict[str, Any]) -> list[Table]:
    rows = values.get("cases", ())
    lines = [
        (
            row["case"], row["way"], number(row["milliseconds"]["gpunet"]), number(row["milliseconds"]["PyTorch"]),
            f"{row['ratio']:.2f}",
        )
        for row in rows
    ]  # fmt: skip
    notes = (
        f"ratio: PyTorch's time over gpunet's, {LEAST_RATIO} is wanted; PyTorch channels last, in TF32 or by autocast, "
        "cuDNN free to choose",
    )
    columns = ("training step", "in", "gpunet ms", "PyTorch ms", "ratio")
    return [Table("On tensor cores beside PyTorch", columns, lines, notes, left=2)] if rows else []
