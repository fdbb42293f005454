"""Schedules: the shape of the learning rate over a run, without its warm-up.

Sources: torch.optim.lr_scheduler; counted in steps, inverse and polynomial: Caffe's lr_policy.

A new schedule is a class here; a setting of a new name also gets a field in gpunet.net.config.TrainConfig.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, fields
from itertools import pairwise
from math import cos, pi
from typing import ClassVar, Literal, get_args

from gpunet.errors import ConfigError
from gpunet.optimize.span import Span, parse_span
from gpunet.values.given import as_float, integer, meant, told

Metric = Literal["val_loss", "val_accuracy", "train_loss", "test_loss", "test_accuracy"]
"""What a plateau may be seen in; those of the test alone where there are no images to validate with."""

THRESHOLD = 1e-4
"""A metric is better only if it is so by this fraction of the best: PyTorch's default."""


@dataclass(frozen=True)
class Schedule:
    """Base of all schedules; the fields are the settings. Raises ConfigError for one that is out of range."""

    name: ClassVar[str]
    to_end: ClassVar[bool] = False
    """Whether its shape is that of the whole run behind the warm-up; else steps count from the start of the run."""

    @classmethod
    def settings(cls) -> tuple[str, ...]:
        """The names of what can be set."""
        return tuple(field.name for field in fields(cls))

    def rate(self, learning_rate: float, step: int, steps: int, steps_per_epoch: int) -> float:
        """The learning rate of a step, 0 <= step < steps, of a run that begins with `learning_rate`."""
        return learning_rate


@dataclass(frozen=True)
class Constant(Schedule):
    """Always the same."""

    name: ClassVar[str] = "constant"


When = int | str
"""So many epochs; or a length like "100000 steps"."""


@dataclass(frozen=True)
class Step(Schedule):
    """Times `gamma` after every `every` epochs, or after those named in `milestones`: StepLR and MultiStepLR.

    Both may be lengths in steps, too, like "100000 steps", as Caffe counts them.
    """

    every: When | None = None
    milestones: tuple[When, ...] = ()
    gamma: float = 0.1

    name: ClassVar[str] = "step"

    def __post_init__(self) -> None:
        if bool(self.every) == bool(self.milestones):
            raise ConfigError("the schedule step needs every = 10 (epochs) or milestones = [30, 60], one of them")
        given = self.milestones if isinstance(self.milestones, tuple | list) else (None,)
        spans = [_span("the schedule step: a milestone", one) for one in given]
        if len({span.unit for span in spans}) > 1:
            raise ConfigError(f"milestones must all be epochs or all be steps; got {told(list(given))}")
        if any(later <= earlier for earlier, later in pairwise((0, *(span.number for span in spans)))):
            raise ConfigError(f"milestones must rise from 1 on; got {list(self.milestones)}")
        every = _span("every", self.every).number if isinstance(self.every, str) else self.every
        _check(self, every=1 if every is None else every, gamma=self.gamma)
        if self.every is not None:
            _span("the schedule step: every", self.every)

    def rate(self, learning_rate: float, step: int, steps: int, steps_per_epoch: int) -> float:
        if self.every:
            drops = step // _steps(self.every, steps_per_epoch)
        else:
            drops = bisect_right([_steps(one, steps_per_epoch) for one in self.milestones], step)
        return float(learning_rate * self.gamma**drops)


@dataclass(frozen=True)
class Exponential(Schedule):
    """Times `gamma` after every epoch: ExponentialLR."""

    gamma: float = 0.95

    name: ClassVar[str] = "exponential"

    def __post_init__(self) -> None:
        _check(self, gamma=self.gamma)

    def rate(self, learning_rate: float, step: int, steps: int, steps_per_epoch: int) -> float:
        return learning_rate * self.gamma ** (step // steps_per_epoch)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Down to `least_rate` along half a cosine, step by step: CosineAnnealingLR (Loshchilov & Hutter 2017)."""

    least_rate: float = 0.0

    name: ClassVar[str] = "cosine"
    to_end: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(self, least_rate=self.least_rate)

    def rate(self, learning_rate: float, step: int, steps: int, steps_per_epoch: int) -> float:
        return self.least_rate + (learning_rate - self.least_rate) * (1 + cos(pi * step / steps)) / 2


@dataclass(frozen=True)
class Polynomial(Schedule):
    """Down to 0 at the end of the run, step by step: times (1 - t/T) ** `power`. Caffe's poly, PolynomialLR."""

    power: float = 0.5

    name: ClassVar[str] = "polynomial"
    to_end: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(self, power=self.power)

    def rate(self, learning_rate: float, step: int, steps: int, steps_per_epoch: int) -> float:
        return float(learning_rate * (1 - step / steps) ** self.power)


@dataclass(frozen=True)
class Inverse(Schedule):
    """Slower and slower down, step by step: over (1 + `gamma` t) ** `power`. Caffe's inv, with LeNet's numbers."""

    gamma: float = 1e-4
    power: float = 0.75

    name: ClassVar[str] = "inverse"

    def __post_init__(self) -> None:
        _check(self, gamma=self.gamma, power=self.power)

    def rate(self, learning_rate: float, step: int, steps: int, steps_per_epoch: int) -> float:
        return float(learning_rate * (1 + self.gamma * step) ** -self.power)


@dataclass(frozen=True)
class Plateau(Schedule):
    """Times `factor`, but not below `least_rate`, once `metric` was no better for more than `wait` epochs.

    ReduceLROnPlateau with PyTorch's relative threshold of 1e-4 and no cool-down. What PyTorch calls patience is `wait`:
    patience is what ends a run. Without images to validate with, val_loss and val_accuracy are those of the test.
    """

    metric: Metric = "val_loss"
    factor: float = 0.1
    wait: int = 10
    least_rate: float = 0.0

    name: ClassVar[str] = "plateau"

    def __post_init__(self) -> None:
        _check(self, factor=self.factor, least_rate=self.least_rate)
        if self.metric not in get_args(Metric):
            raise ConfigError(
                f"the schedule plateau: metric must be one of {', '.join(get_args(Metric))}; got {told(self.metric)}"
            )
        integer("the schedule plateau: wait", self.wait)

    def better(self, value: float, best: float) -> bool:
        """Whether a value of the metric is better than the best so far."""
        if self.metric.endswith("accuracy"):
            return value > best * (1 + THRESHOLD)
        return value < best * (1 - THRESHOLD)


ScheduleName = Literal[
    "constant", "step", "exponential", "cosine", "polynomial", "inverse", "plateau",
    "Constant", "Step", "Exponential", "Cosine", "Polynomial", "Inverse", "Plateau",
]  # fmt: skip
"""A schedule whose settings are those it has by itself, by its name or that of its class."""

SCHEDULES: dict[str, type[Schedule]] = {kind.name: kind for kind in Schedule.__subclasses__()}
"""Every schedule of this file by its name."""


def schedule(what: str | Schedule, **settings: object) -> Schedule:
    """The schedule called `what` with these settings; one that is None or () is left as it is.

    "Cosine" is cosine. Raises ConfigError for a name there is not, for a setting that this schedule does not have or is
    out of range.
    """
    if isinstance(what, Schedule):
        return what
    name = meant(what, SCHEDULES)
    if name is None:
        raise ConfigError(f"there is no schedule {told(what)}; there are {', '.join(SCHEDULES)}")
    said = {setting: value for setting, value in settings.items() if value not in (None, ())}
    for wrong in strangers(name, said).values():
        raise ConfigError(wrong)
    return SCHEDULES[name](**said)


def strangers(name: str, settings: Iterable[str]) -> dict[str, str]:
    """Those of the settings that the schedule called `name` does not have, each with the words that say so."""
    known = SCHEDULES[name].settings()
    words = f"it has {', '.join(known)}" if known else "it has no settings"
    return {one: f"the schedule {name} has no {one}; {words}" for one in settings if one not in known}


def _span(what: str, when: object) -> Span:
    """A length that is written in words, "100000 steps"; of a number alone, which is of epochs.

    Raises ConfigError, naming `what` it is, for all else.
    """
    return parse_span(when, ("steps", "epochs")) if isinstance(when, str) else Span(integer(what, when), "epochs")


def _steps(when: When, steps_per_epoch: int) -> int:
    return _span("a length", when).steps(steps_per_epoch)


def _check(owner: Schedule, **values: float) -> None:
    """Rates are not negative, powers above 0; what is multiplied with is above 0 and at most 1; epochs count from 1."""
    for name, value in values.items():
        found = as_float(value)
        good = found is not None and (
            {"least_rate": found >= 0, "every": found >= 1, "power": found > 0}.get(name, 0 < found <= 1)
        )
        if not good:
            raise ConfigError(f"the schedule {owner.name}: {name} is out of range; got {told(value)}")
