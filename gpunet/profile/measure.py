"""Profiling: training steps on random images, timed op by op, and the memory in use beside the plan."""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from gpunet.devices import open_device, target
from gpunet.devices.cpu.meter import resident
from gpunet.devices.cuda.device import CudaDevice
from gpunet.devices.cuda.libcuda import driver_version
from gpunet.devices.cuda.meter import Nvml, by_driver
from gpunet.devices.device import Device
from gpunet.devices.name import kind_of, split_name
from gpunet.errors import ConfigError, DeviceError
from gpunet.memory.plan import Plan
from gpunet.model.making import choose_device, require_fit
from gpunet.model.model import Model
from gpunet.net.net import Net, least_images
from gpunet.planning.planner import plan as make_plan
from gpunet.profile.memory import Memory, Meter, Peak
from gpunet.profile.steps import OpTime, op_times, random_batch, timed_calls
from gpunet.program.program import AnyDevice
from gpunet.program.shares import share
from gpunet.ranks.communicator import Communicator
from gpunet.values.given import told
from gpunet.values.shown import Shown

WARM_UP = 3
"""Steps before anything is timed: they compile kernels, wake libraries up and touch every page of the arena."""

DRIVER = "the GPU's driver"
"""It tells of the GPU's memory once the GPU is open, where NVML does not."""


@dataclass(frozen=True, repr=False)
class Profile(Shown):
    """What a training step took.

    `hardware`  the CPU, or the GPU and its driver; None where that cannot be told
    `steps`     how many were timed whole, and as many op by op
    `step_ms`   milliseconds of a whole step, from images on the host to the loss: the median
    `ops`       every op in the order of the program
    """

    net: Net
    plan: Plan
    hardware: str | None
    steps: int
    step_ms: float
    ops: tuple[OpTime, ...]
    memory: Memory

    @property
    def images_per_second(self) -> float:
        """Of all ranks together."""
        return self.plan.whole_batch / self.step_ms * 1e3

    @cached_property
    def ops_ms(self) -> float:
        """Milliseconds of all ops."""
        return sum(op.ms for op in self.ops)

    @property
    def rest_ms(self) -> float:
        """What a whole step takes beside its ops; below zero where timing each op costs more than that."""
        return self.step_ms - self.ops_ms

    @property
    def planned_bytes(self) -> int:
        """What the plan says of what the memory's figures count: the arena, and the reserve where it is in them."""
        return self.plan.total_bytes if self.memory.opening else self.plan.arena_bytes

    @property
    def difference_bytes(self) -> int | None:
        """Measured less planned."""
        used = self.memory.used_bytes
        return None if used is None else used - self.planned_bytes

    @property
    def reserve_bytes(self) -> int | None:
        """The reserve as measured: what a GPU's process took outside its arena; None where it was not measured."""
        used = self.memory.used_bytes
        if used is None or not self.memory.opening or kind_of(self.plan.device) != "cuda":
            return None
        return used - self.plan.arena_bytes


def profile(
    net: Net,
    batch: int = 64,
    device: AnyDevice | Device = "auto",
    *,
    steps: int = 20,
    graph: bool = True,
    meter: Meter | None = None,
    ranks: Communicator | None = None,
    watch: Callable[[int], None] = lambda done: None,
    **options: Any,
) -> Profile:
    """Train `steps` steps of `net` on random uint8 images and labels, timed whole and op by op in turns.

    `device`   "cpu", "cuda", "cuda:1" (a second GPU), "auto", or an open Device
    `graph`    whether whole steps run as a CUDA graph, as training does; op by op they never do
    `meter`    tells the memory in use, in NVML's place
    `ranks`    what goes between those that profile side by side, each its share of the batch; `division` says so, too,
               and the device is open: an op of the wire takes as long as is waited for it
    `watch`    called after each pair of steps with their count
    `options`  of `gpunet.plan`: optimizer, dtype, budget, reserve, ...; with `gpu` the step runs here as it is planned
               for that card

    Raises ConfigError for less than one step, BudgetError where the batch does not fit the budget, DeviceError where
    the device cannot be opened or has too little memory.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ConfigError(f"there must be at least one step to time; got {told(steps)}")
    with ExitStack() as stack:
        early = meter or _nvml(device, stack)
        before = early() if early else {}  # opening a GPU takes memory
        name = device.name if isinstance(device, Device) else choose_device(device)
        planned = require_fit(net, make_plan(net, batch, device=name, **options), **_unlimited(options))
        opened = device if isinstance(device, Device) else open_device(name)
        if opened is not device:
            stack.callback(opened.close)
        told_by = "NVML"
        if early is None or (name == "cpu" and meter is None):
            early, told_by = _late_meter(opened)
            before = early()
        peak, step_ms, ops = _measure(net, planned, opened, steps, graph and ranks is None, early, ranks, watch)
        memory = Memory(told_by, told_by != DRIVER, before, peak, early())
    return Profile(net, planned, target(name).hardware(), steps, step_ms, ops, memory)


def _measure(
    net: Net,
    planned: Plan,
    device: Device,
    steps: int,
    graph: bool,
    meter: Meter,
    ranks: Communicator | None,
    watch: Callable[[int], None],
) -> tuple[dict[str, int], float, tuple[OpTime, ...]]:
    """(the most memory in use, milliseconds of a step, the ops)."""
    steps_ms: list[float] = []
    parts = []
    peak = Peak(meter)
    # Weights that stay as they are keep random labels from driving values to infinity; the work is the same.
    batch = planned.whole_batch
    whole = None if ranks is None else batch
    with Model(net, batch, device, plan=planned, learning_rate=0.0, graph=graph, ranks=ranks) as model:
        own = slice(*share(batch, planned.ranks, 0 if ranks is None else ranks.rank))
        images, labels = (values[own] for values in random_batch(net, batch))
        with peak:  # not while time is taken: to ask takes time
            _warm_up(model, images, labels, whole, graph and isinstance(device, CudaDevice))
        for done in range(1, steps + 1):
            start = perf_counter()
            model.step(images, labels, whole)
            steps_ms.append((perf_counter() - start) * 1e3)
            parts.append(timed_calls(model, device, images, labels, whole))
            peak.look()
            watch(done)
        ops = op_times(model, parts, len(images))
    return peak.bytes, median(steps_ms), ops


def _warm_up(model: Model, images: np.ndarray, labels: np.ndarray, whole: int | None, graphs: bool) -> None:
    """Take steps; with `graphs`, all that training makes graphs of, as these hold memory outside of the arena.

    That is a step and an evaluation of a whole batch and of a smaller, last one, a step from each of two buffers.
    """
    last = max(1, len(images) - 1)
    sizes = [len(images), last] if graphs and last >= least_images(model.pairing) else [len(images)]
    for n in sizes:
        batch = images[:n], labels[:n]
        for pair in model.ahead([batch] * (2 * WARM_UP)) if graphs else [batch] * WARM_UP:
            model.step(*pair, whole)
        for _ in range(2 if graphs else 0):
            model.evaluate(*batch)


def _nvml(device: AnyDevice | Device, stack: ExitStack) -> Meter | None:
    """NVML, before a GPU is opened; None where it is not needed, or does not answer."""
    kind, number = split_name("cuda" if device == "auto" else device) if isinstance(device, str) else ("", 0)
    if kind != "cuda" or driver_version() is None:
        return None
    with suppress(DeviceError):
        meter = Nvml(number)
        stack.callback(meter.close)
        return meter
    return None


def _late_meter(device: Device) -> tuple[Meter, str]:
    """Who tells of a device that is open, and their name."""
    if isinstance(device, CudaDevice):
        return partial(by_driver, device.driver), DRIVER
    return resident, "the system"


def _unlimited(options: dict[str, Any]) -> dict[str, Any]:
    """The options but budget and card, which BudgetError's search for the batch that fits has from the plan."""
    return {name: value for name, value in options.items() if name not in ("budget", "gpu")}
