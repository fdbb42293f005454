"""`gpunet.gradcheck`: the gradients that backward makes against slopes of the loss, in float64, value by value.

Source: CS231n "Gradient checks": centred differences, relative errors, kinks, few datapoints.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np

from gpunet.compile.lower import lower
from gpunet.compile.ways import Ways, apply
from gpunet.devices import target
from gpunet.devices.device import Device
from gpunet.errors import ConfigError
from gpunet.memory.plan import Plan, arrange
from gpunet.model.making import choose_device
from gpunet.model.model import Model
from gpunet.net.graph import INPUT
from gpunet.net.net import Net
from gpunet.optimize.optimizers import optimizer
from gpunet.planning.compiler import require_ops
from gpunet.planning.planner import check_batch, check_net
from gpunet.program.program import AnyDevice, DeviceName
from gpunet.values.given import told
from gpunet.values.shown import Shown

TOLERANCE = 1e-5
"""The largest relative error that passes."""

STEPS = (1e-5, 1e-6, 1e-7, 1e-8)
"""How far a value is moved to both sides; a smaller step where the larger ones meet a kink, as in deep nets many do."""

ROUNDING = 2.0**-48
"""The rounding error of a loss in float64, as a part of it: 16 units in the last place."""

SMALL = 1e-3
"""Gradients below this part of the largest of their tensor are compared as if they were that large."""

MOST_KINKS = 0.5
"""The largest part of the values of a tensor that may stand at kinks."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A value of a tensor: its gradient, the slope of the loss there, and what became of it.

    `error`     their difference over the larger of them; or over SMALL times the tensor's largest where that is more
    `agrees`    whether that is within TOLERANCE, or the difference within what rounding explains
    `kink`      whether the loss has no slope there to compare with
    """

    at: tuple[int, ...]
    gradient: float
    slope: float
    error: float
    agrees: bool
    kink: bool = False


@dataclass(frozen=True)
class CheckedTensor:
    """A parameter, or the images ("input"): of its `size` values some were compared.

    `faint`  no gradient and no slope is above the rounding errors of the loss: there was nothing to compare, as behind
             units that are dead, or for the biases in front of a batch normalization
    """

    name: str
    size: int
    compared: tuple[Compared, ...]
    faint: bool = False

    @property
    def layer(self) -> str:
        return self.name.partition(".")[0]

    @property
    def kinks(self) -> int:
        """How many values were left out."""
        return sum(one.kink for one in self.compared)

    @property
    def worst(self) -> Compared | None:
        """Of those that do not agree, or else of all, the value with the largest error; None where all are at kinks."""
        values = [one for one in self.compared if not one.kink]
        return max(values, key=lambda one: (not one.agrees, one.error), default=None)

    @property
    def failure(self) -> str:
        """What is wrong, in words; "" where nothing is."""
        worst = self.worst
        if worst is not None and not worst.agrees:
            return f"gradient {worst.gradient:.6g}, slope {worst.slope:.6g} at [{', '.join(map(str, worst.at))}]"
        if self.kinks > MOST_KINKS * len(self.compared):
            return f"{self.kinks} of {len(self.compared)} values at kinks: too many to tell; try another seed"
        return ""


@dataclass(frozen=True, repr=False)
class GradientCheck(Shown):
    """All tensors of a net that have a gradient, and the loss around which they were checked."""

    net: Net
    device: str
    batch: int
    seed: int
    loss: float
    tensors: tuple[CheckedTensor, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """What is wrong, tensor by tensor; empty where all gradients are slopes."""
        if not isfinite(self.loss):
            return (f"the loss is {self.loss}",)
        if all(tensor.faint for tensor in self.tensors):
            return ("no gradient is above rounding errors: nothing was compared; try another seed",)
        return tuple(f"{tensor.name}: {tensor.failure}" for tensor in self.tensors if tensor.failure)

    @property
    def passed(self) -> bool:
        return not self.failures


def gradcheck(
    net: Net,
    device: AnyDevice | Device = "cpu",
    *,
    batch: int = 3,
    samples: int = 20,
    seed: int = 0,
    watch: Callable[[str], None] = lambda name: None,
) -> GradientCheck:
    """Compare gradients of the loss on a random batch with its slopes, in float64.

    `device`   "cpu", "cuda", "cuda:1", "auto", or an open Device
    `samples`  values of each parameter, and of the images, that are compared; the one with the largest gradient is
               among them
    `seed`     of images, labels, parameters, dropout and of which values are compared
    `watch`    called with the name of each tensor before its turn

    What starts at one number, as biases do, is moved a little away from it, so that no unit starts at a kink. Dropout
    drops the same values each time. A value that the loss has a kink at is left out and counted.

    Raises ConfigError for numbers that make no sense, DeviceError where the device cannot be opened.
    """
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise ConfigError(f"there must be at least one sample of each tensor; got {told(samples)}")
    name = device.name if isinstance(device, Device) else choose_device(device)
    made = _plan(check_net(net), check_batch(batch), name)
    with Model(net, batch, device if isinstance(device, Device) else name, seed=seed, plan=made) as model:
        rng = np.random.default_rng(seed)
        images = rng.standard_normal((batch, *net.input.shape))
        labels = rng.integers(0, net.classes, batch)
        for parameter, values in model.parameters.items():
            if np.ptp(values) == 0:
                model.parameters[parameter] = values + 0.1 * rng.standard_normal(values.shape)
        gradients = model.gradients(images, labels)
        loss = model.loss(images, labels)
        tensors = []
        for tensor, gradient in gradients.items():
            watch(tensor)
            moved = _Moved(model, tensor, images, labels)
            tensors.append(_checked(moved, gradient, list(_sampled(gradient, samples, rng)), loss))
    return GradientCheck(net, name, batch, seed, loss, tuple(tensors))


def compare(
    gradient: float, loss_at: Callable[[float], float], loss: float, largest: float, at: tuple[int, ...] = ()
) -> Compared:
    """A gradient against centred differences of `loss_at`, which is the loss where a value is moved by so much.

    `loss` where it is not moved; `largest` gradient of the tensor. At a kink the differences do not settle down as the
    step gets smaller, or the slopes to both sides do not meet.
    """
    gaps, slopes = [], []
    for step in STEPS:
        above, below = loss_at(step), loss_at(-step)
        slope, rounding = (above - below) / (2 * step), _rounding(loss, step)
        error, agrees = _error(gradient, slope, largest, rounding)
        if agrees or not (isfinite(gradient) and isfinite(slope)):
            return Compared(at, gradient, slope, error, agrees)
        slopes.append(slope)
        gaps.append(abs(above - 2 * loss + below) / step)  # between the slopes to both sides
        if len(slopes) > 1:
            settles = _error(slopes[-2], slope, largest, rounding)[1]
            meets = gaps[-1] <= max(gaps[-2] / 2, TOLERANCE * abs(slope) + 4 * rounding)
            if settles and meets:
                return Compared(at, gradient, slope, error, agrees)
    return Compared(at, gradient, slope, error, agrees, kink=True)


def _error(gradient: float, slope: float, largest: float, rounding: float) -> tuple[float, bool]:
    """(relative error, whether it is within the tolerance); infinite where one of them is no number."""
    if not (isfinite(gradient) and isfinite(slope)):
        return inf, False
    apart, size = abs(gradient - slope), max(abs(gradient), abs(slope), SMALL * largest)
    return apart / size if apart else 0.0, apart <= TOLERANCE * size + rounding


def _rounding(loss: float, step: float) -> float:
    """The error of a centred difference by rounding alone."""
    return ROUNDING * max(1.0, abs(loss)) / step


def _checked(moved: "_Moved", gradient: np.ndarray, places: list[tuple[int, ...]], loss: float) -> CheckedTensor:
    """A tensor, compared in these places."""
    largest = float(np.abs(gradient).max())
    compared = tuple(compare(float(gradient[at]), moved.along(at), loss, largest, at) for at in places)
    most = max(largest, *(abs(one.slope) for one in compared))
    return CheckedTensor(moved.name, gradient.size, compared, faint=most <= _rounding(loss, STEPS[0]))


@dataclass(frozen=True)
class _Moved:
    """The loss where one value of a parameter, or of the images, is moved."""

    model: Model
    name: str
    images: np.ndarray
    labels: np.ndarray

    def along(self, at: tuple[int, ...]) -> Callable[[float], float]:
        """By how far the value is moved -> the loss; everything is as it was afterwards."""

        def loss_at(step: float) -> float:
            if self.name == INPUT:
                images = self.images.copy()
                images[at] += step
                return self.model.loss(images, self.labels)
            kept = self.model.parameters[self.name]
            values = kept.copy()
            values[at] += step
            self.model.parameters[self.name] = values
            try:
                return self.model.loss(self.images, self.labels)
            finally:
                self.model.parameters[self.name] = kept

        return loss_at


def _sampled(gradient: np.ndarray, samples: int, rng: np.random.Generator) -> Iterator[tuple[int, ...]]:
    """Where to look: at the largest gradient, and at others that are drawn, no place twice."""
    largest = int(np.abs(gradient).argmax())
    drawn = rng.choice(gradient.size, min(samples, gradient.size), replace=False)
    places = dict.fromkeys([largest, *map(int, drawn)])
    for flat in list(places)[:samples]:
        yield tuple(int(index) for index in np.unravel_index(flat, gradient.shape))


def _plan(net: Net, batch: int, device: DeviceName) -> Plan:
    """A step in float64 with all savings that are free, and the gradient of the images."""
    where = target(device)
    program = lower(
        net,
        batch=batch,
        mode="train",
        dtype="float64",
        optimizer=optimizer("sgd"),
        target=where,
        scratch_limit_bytes=where.scratch_limit_bytes,
        image_gradient=True,
    )
    require_ops(net, program, device)
    ways = Ways(where.scratch_limit_bytes)
    program = apply(program, ways)
    return Plan(net.name, where, "sgd", program, arrange(program), where.reserve().nbytes, ways=ways, of=net)
