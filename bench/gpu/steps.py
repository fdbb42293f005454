"""Whole training steps beside PyTorch with cuDNN, in turns in the same run: same net, weights, batch and data."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from gpunet.bench.cases import net_cases
from gpunet.memory.size import format_bytes
from gpunet.model.model import Model
from gpunet.planning.planner import plan
from gpunet.profile.steps import Clock, random_batch

from .nets import LEARNING_RATE, Case, as_floats
from .peer import TorchTrainer, set_tf32
from .setting import Setting
from .table import Table, number
from .timing import HostClock

TITLE = "training steps beside PyTorch"
SECONDS = 150
NEEDS = ("cupy", "torch")

CASES = (
    Case("vgg_cifar", 64),
    Case("vgg16", 64, large=True),
    Case("resnet50", 32, large=True),
    Case(net_cases(["googlenet"])[0].net, 64, large=True),
)
"""GoogLeNet as convnet-benchmarks has it: without dropout, which draws other values on each side, and without heads."""

SECONDS_A_CASE = 10.0
LEAST_BATCH = 8
PEER_FACTOR = 2.0
"""PyTorch's share of the memory, in arenas, for a case to be tried: two models, activations, cuDNN's workspace."""

LOSS_TOLERANCE = 1e-3
VARIANTS = {"channels_last": (True, False), "TF32": (False, True), "TF32 channels_last": (True, True)}
"""What else PyTorch can do, for information: (channels last, TF32)."""

OURS, PEER = "gpunet", "PyTorch"
FROM_HOST = "from host"
BY_OP = "from host, op by op"


def run(setting: Setting, cases: Sequence[Case] = CASES, seconds: float = SECONDS_A_CASE) -> None:
    """Race each case, with a smaller batch where there is not enough memory for both."""
    done = set()
    for wanted in cases:
        if setting.quick and wanted.large:
            setting.findings.skip(f"{wanted.name}: left out of a quick run")
            continue
        case, needed = _that_fits(setting, wanted)
        if case.name in done or not setting.goes(f"{case.name} beside PyTorch", needed):
            continue
        done.add(case.name)
        try:
            measure(setting, case, seconds)
        except RuntimeError as error:
            if type(error).__name__ != "OutOfMemoryError":
                raise
            setting.findings.skip(f"{case.name}: PyTorch ran out of memory beside gpunet's arena")


def _that_fits(setting: Setting, case: Case) -> tuple[Case, int]:
    """The case, its batch halved until both find room, down to 8 images; and the bytes that it needs."""
    room = setting.room_bytes
    while True:
        arena_bytes = plan(case.load(), case.batch, device=setting.device.name).arena_bytes
        needed = int((1 + PEER_FACTOR) * arena_bytes)
        if needed <= room or case.batch < 2 * LEAST_BATCH:
            return case, needed
        case = case.halved()


def measure(setting: Setting, case: Case, seconds: float) -> None:
    """One case: both train on the same data; every contender's milliseconds are those of one step."""
    net = case.load()
    images, labels = random_batch(net, case.batch)
    with Model(net, case.batch, setting.device, learning_rate=LEARNING_RATE) as model:
        peer = Peer(setting, model, images, labels)
        losses = model.step(as_floats(net, images), labels), peer.first_loss()
        contenders = {**_ours(setting, model, images, labels), **peer.contenders()}
        times = take_turns(contenders, seconds)
        row: dict[str, Any] = {
            "case": case.name,
            "batch": case.batch,
            "milliseconds": {name: median(values) for name, values in times.items()},
            "fastest": {name: min(values) for name, values in times.items()},
            "rounds": len(times[OURS]),
            "first_losses": losses,
            "arena_bytes": model.plan.arena_bytes,
            **peer.memory(),
        }
    ms = row["milliseconds"]
    row["ratio"] = ms[PEER] / ms[OURS]
    row["ratio_from_host"] = ms[f"{PEER} {FROM_HOST}"] / ms[f"{OURS} {FROM_HOST}"]
    setting.findings.append("cases", row)
    gap = abs(losses[0] - losses[1]) / abs(losses[1])
    setting.findings.require(
        gap <= LOSS_TOLERANCE,
        f"{case.name}: the loss of the first step is {losses[0]:.6f}, PyTorch's is {losses[1]:.6f}",
    )
    peer.close()


def take_turns(contenders: Mapping[str, Any], seconds: float) -> dict[str, list[float]]:
    """Milliseconds of each contender (a function that runs one step and returns them), by round.

    Two rounds warm up (cuDNN tries its algorithms in the first); then as many as `seconds` allow, 3 to 30.
    """
    warm = 0.0
    for _ in range(2):
        warm = sum(contender() for contender in contenders.values())
    rounds = max(3, min(30, int(seconds * 1e3 / max(warm, 1e-3))))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            times[name].append(contender())
    return times


def _ours(setting: Setting, model: Model, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """gpunet's step on the device, from float images; from the host's bytes to a loss, as a CUDA graph and op by op."""
    floats = as_floats(model.net, images)
    host = HostClock(setting.device.synchronize)

    def on_device() -> float:
        calls = model.calls(floats, labels)
        first = setting.clock.mark()
        for _, call in calls:
            call()
        return setting.clock.milliseconds(first, setting.clock.mark())

    def from_host() -> float:
        first = host.mark()
        model.step(images, labels)
        return host.milliseconds(first, host.mark())

    def op_by_op() -> float:
        first = host.mark()
        for _, call in model.calls(images, labels):
            call()
        return host.milliseconds(first, host.mark())

    return {OURS: on_device, f"{OURS} {FROM_HOST}": from_host, f"{OURS} {BY_OP}": op_by_op}


class Peer:
    """PyTorch with the model's weights, in its four ways; its memory is counted for the plain one alone."""

    def __init__(self, setting: Setting, model: Model, images: np.ndarray, labels: np.ndarray) -> None:
        self._setting = setting
        self._images, self._labels = images, labels
        self._floats = as_floats(model.net, images)
        self._net = model.net
        self._parameters = dict(model.parameters)
        self._memory: dict[str, int | None] = {}
        set_tf32(False)
        self._reset_peak()
        self._plain = self._trainer(channels_last=False)

    def first_loss(self) -> float:
        """The loss of a first step; also takes note of the memory that a few steps need."""
        loss = self._plain.step_from_host(self._floats, self._labels)
        for _ in range(2):
            self._plain.step_from_host(self._floats, self._labels)
        self._memory = self._peak()
        return loss

    def contenders(self) -> dict[str, Any]:
        """Functions that run one step and return its milliseconds."""
        host = HostClock(self._synchronize)

        def from_host() -> float:
            first = host.mark()
            self._plain.step_from_host(self._images, self._labels)
            return host.milliseconds(first, host.mark())

        found = {PEER: self._contender(self._plain, tf32=False), f"{PEER} {FROM_HOST}": from_host}
        last = self._trainer(channels_last=True)
        for name, (channels_last, tf32) in VARIANTS.items():
            found[f"{PEER} {name}"] = self._contender(last if channels_last else self._plain, tf32=tf32)
        return found

    def memory(self) -> dict[str, int | None]:
        """PyTorch's peak of what it allocated and of what it took from the GPU; None on the CPU."""
        return self._memory

    def close(self) -> None:
        """Give the GPU's memory back."""
        del self._plain
        if self._setting.peer == "cuda":
            import torch

            torch.cuda.empty_cache()

    def _trainer(self, *, channels_last: bool) -> TorchTrainer:
        return TorchTrainer(
            self._net,
            self._parameters,
            self._setting.peer,
            learning_rate=LEARNING_RATE,
            channels_last=channels_last,
        )

    def _contender(self, trainer: TorchTrainer, *, tf32: bool) -> Any:
        clock: Clock = self._setting.peer_clock

        def step() -> float:
            set_tf32(tf32)
            loaded = trainer.load(self._floats, self._labels)
            first = clock.mark()
            trainer.step(*loaded)
            elapsed = clock.milliseconds(first, clock.mark())
            set_tf32(False)
            return elapsed

        return step

    def _synchronize(self) -> None:
        if self._setting.peer == "cuda":
            import torch

            torch.cuda.synchronize()

    def _reset_peak(self) -> None:
        if self._setting.peer == "cuda":
            import torch

            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def _peak(self) -> dict[str, int | None]:
        if self._setting.peer != "cuda":
            return {"torch_allocated_bytes": None, "torch_reserved_bytes": None}
        import torch

        return {
            "torch_allocated_bytes": torch.cuda.max_memory_allocated(),
            "torch_reserved_bytes": torch.cuda.max_memory_reserved(),
        }


def tables(values: dict[str, Any]) -> list[Table]:
    rows = values.get("cases", ())
    return [_speed(rows), _others(rows), _memory(rows)] if rows else []


def _speed(rows: Sequence[dict[str, Any]]) -> Table:
    lines = []
    for row in rows:
        ms = row["milliseconds"]
        for label, suffix, ratio in (("on the device", "", "ratio"), (FROM_HOST, f" {FROM_HOST}", "ratio_from_host")):
            ours, peer = ms[OURS + suffix], ms[PEER + suffix]
            rates = (number(1e3 * row["batch"] / value) for value in (ours, peer))
            lines.append((row["case"], label, number(ours), number(peer), *rates, f"{row[ratio]:.2f}"))
    columns = ("training step", "data", "gpunet ms", "PyTorch ms", "gpunet images/s", "PyTorch images/s", "ratio")
    notes = (
        "float32 without TF32, SGD with momentum, cuDNN free to choose; ratio: PyTorch's time over gpunet's",
        "from host: uint8 images in host memory to a loss in host memory; on the device: floats that are there already",
    )
    return Table("Training steps beside PyTorch", columns, lines, notes, left=2)


def _others(rows: Sequence[dict[str, Any]]) -> Table:
    columns = ("other ways, ms", "gpunet, a graph", "gpunet, op by op", "PyTorch float32", *VARIANTS)
    ways = (f"{OURS} {FROM_HOST}", f"{OURS} {BY_OP}", PEER, *(f"{PEER} {way}" for way in VARIANTS))
    lines = [(row["case"], *(number(row["milliseconds"].get(name)) for name in ways)) for row in rows]
    return Table("For information", columns, lines, ("gpunet's are from host",))


def _memory(rows: Sequence[dict[str, Any]]) -> Table:
    columns = ("memory of a step", "gpunet arena", "PyTorch allocated", "PyTorch reserved")
    names = ("arena_bytes", "torch_allocated_bytes", "torch_reserved_bytes")
    lines = [(row["case"], *("-" if row[name] is None else format_bytes(row[name]) for name in names)) for row in rows]
    return Table("Peak memory beside PyTorch", columns, lines, ("neither counts the CUDA context",))
