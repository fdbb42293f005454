"""Optimizers: how many caches a parameter needs, and the op that updates it. Source: CS231n "Parameter updates".

A new optimizer is a class here and its op in the `update` room; a setting of a new name also gets a field in
gpunet.net.config.TrainConfig. The formulas are torch.optim's; where papers and Caffe differ is said with the ops, in
gpunet/devices/cpu/update.py.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from math import inf, sqrt
from typing import ClassVar, Literal, cast

from gpunet.errors import ConfigError
from gpunet.program.builder import Emitter
from gpunet.program.program import Attribute, Changing, Now, Op
from gpunet.program.tensor import Kind, Tensor
from gpunet.values.given import as_float, meant, told

OptimizerName = Literal[
    "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw",
    "SGD", "Momentum", "Nesterov", "Adagrad", "RMSprop", "Adam", "AdamW",
]  # fmt: skip
"""What an optimizer may be called: by its name, or by that of its class."""

LIMITS: dict[str, tuple[float, float]] = {"weight_decay": (0, inf), "eps": (1e-30, inf)}
"""Where settings lie, the upper end not included; others from 0 to below 1.

An eps that a float32 rounds to 0 would divide 0 by 0 wherever a gradient is 0.
"""


@dataclass(frozen=True)
class UpdateRate(Changing):
    """The learning rate times `factor`, over 1 - beta**step: what makes up for a mean that begins at zero."""

    factor: float = 1.0
    beta: float = 0.0

    def value(self, now: Now) -> float:
        return self.factor * now.learning_rate / (1 - self.beta**now.step)


@dataclass(frozen=True)
class Root(Changing):
    """The root of 1 - beta**step: the same for the root of a mean of squares."""

    beta: float

    def value(self, now: Now) -> float:
        return sqrt(1 - self.beta**now.step)


@dataclass(frozen=True)
class Keep(Changing):
    """1 - learning rate * factor * decay: what a weight that fades by that is multiplied by."""

    factor: float
    decay: float

    def value(self, now: Now) -> float:
        return 1 - self.factor * now.learning_rate * self.decay


@dataclass(frozen=True, slots=True)
class Factors:
    """What the learning rate and the weight decay of one parameter are multiplied by."""

    rate: float = 1.0
    decay: float = 1.0


@dataclass(frozen=True)
class Optimizer:
    """Base of all optimizers; the fields are the settings. Raises ConfigError for one that is out of range.

    `name`    what configs and `--optimizer` call it
    `caches`  names of the tensors, each as large as the parameter and zero at the start, that it keeps between steps
    """

    weight_decay: float = 0.0

    name: ClassVar[str]
    caches: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for name in self.settings():
            value = getattr(self, name)
            least, most = LIMITS.get(name, (0, 1))
            if not isinstance(value, int | float) or as_float(value) is None or not least <= value < most:
                above = f"{least:g} or more" if most == inf else f"from {least:g} to below {most:g}"
                raise ConfigError(f"{self.name}: {name} must be a number, {above}; got {told(value)}")

    @classmethod
    def settings(cls) -> tuple[str, ...]:
        """The names of what can be set."""
        return tuple(field.name for field in fields(cls))

    def emit(self, emit: Emitter, dw: Tensor, w: Tensor, caches: tuple[Tensor, ...], factors: Factors) -> None:
        """Emit the update of one parameter from its gradient, which it may use as scratch."""
        decay = self.weight_decay * factors.decay
        rule = self if factors.decay == 1 else replace(self, weight_decay=decay)
        places = {name: emit.number(number) for name, number in rule.changing(factors.rate).items()}
        numbers: dict[str, Attribute] = {**places, **rule.constants()}
        emit.op(f"{self.name}_update", (emit.loss, emit.numbers, dw), (w, *caches), attributes=numbers, shared=2)

    def changing(self, factor: float) -> dict[str, Changing]:
        """What its op reads of the numbers that change from step to step, by the name of the attribute."""
        return {"rate": UpdateRate(factor)}

    def constants(self) -> dict[str, float]:
        """The numbers that its op takes beside them."""
        return {name: getattr(self, name) for name in self.settings()}

    @classmethod
    def settings_of(cls, update: Op, changing: Sequence[Changing]) -> dict[str, float]:
        """The settings of an optimizer by the op that it emitted, `changing` being those of the program."""
        return {name: cast(float, update.attributes[name]) for name in cls.settings()}


@dataclass(frozen=True)
class SGD(Optimizer):
    """w -= learning_rate * (dw + weight_decay * w)."""

    name: ClassVar[str] = "sgd"


@dataclass(frozen=True)
class Momentum(Optimizer):
    """v = momentum * v + dw + weight_decay * w;  w -= learning_rate * v. PyTorch's definition (no dampening)."""

    momentum: float = 0.9

    name: ClassVar[str] = "momentum"
    caches: ClassVar[tuple[str, ...]] = ("v",)


@dataclass(frozen=True)
class Nesterov(Optimizer):
    """g = dw + weight_decay * w;  v = momentum * v + g;  w -= learning_rate * (g + momentum * v)."""

    momentum: float = 0.9

    name: ClassVar[str] = "nesterov"
    caches: ClassVar[tuple[str, ...]] = ("v",)


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """g = dw + weight_decay * w;  squares += g * g;  w -= learning_rate * g / (sqrt(squares) + eps)."""

    eps: float = 1e-10

    name: ClassVar[str] = "adagrad"
    caches: ClassVar[tuple[str, ...]] = ("squares",)


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """As Adagrad, with a mean that forgets: squares = alpha * squares + (1 - alpha) * g * g."""

    alpha: float = 0.99
    eps: float = 1e-8

    name: ClassVar[str] = "rmsprop"
    caches: ClassVar[tuple[str, ...]] = ("squares",)


@dataclass(frozen=True)
class Adam(Optimizer):
    """w -= learning_rate * mean / (sqrt(mean square) + eps), of the gradients g = dw + weight_decay * w.

    m = beta1 * m + (1 - beta1) * g and v = beta2 * v + (1 - beta2) * g * g begin at zero; divided by 1 - beta**step
    they are the means.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    name: ClassVar[str] = "adam"
    caches: ClassVar[tuple[str, ...]] = ("m", "v")

    def changing(self, factor: float) -> dict[str, Changing]:
        return {"rate": UpdateRate(factor, self.beta1), "root": Root(self.beta2)}


@dataclass(frozen=True)
class AdamW(Optimizer):
    """w *= 1 - learning_rate * weight_decay, then as Adam of dw alone: the decay is not divided by the mean square."""

    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    name: ClassVar[str] = "adamw"
    caches: ClassVar[tuple[str, ...]] = ("m", "v")

    def changing(self, factor: float) -> dict[str, Changing]:
        keep = Keep(factor, self.weight_decay)
        return {"rate": UpdateRate(factor, self.beta1), "root": Root(self.beta2), "keep": keep}

    def constants(self) -> dict[str, float]:
        return {name: number for name, number in super().constants().items() if name != "weight_decay"}

    @classmethod
    def settings_of(cls, update: Op, changing: Sequence[Changing]) -> dict[str, float]:
        keep = _number_of(update, "keep", changing)
        known = {"weight_decay": cast(Keep, keep).decay, **update.attributes}
        return {name: cast(float, known[name]) for name in cls.settings()}


OPTIMIZERS: dict[str, type[Optimizer]] = {kind.name: kind for kind in Optimizer.__subclasses__()}
"""Every optimizer of this file by its name."""


def rate_factor(update: Op, changing: Sequence[Changing]) -> float:
    """What the learning rate of an update is multiplied by, `changing` being those of the program."""
    return cast(UpdateRate, _number_of(update, "rate", changing)).factor


def updated(update: Op) -> list[str]:
    """The names of the parameters that an update changes."""
    return [tensor.name for tensor in update.outputs if tensor.kind is Kind.PARAMETER]


def _number_of(update: Op, attribute: str, changing: Sequence[Changing]) -> Changing:
    return changing[cast(int, update.attributes[attribute])]


def optimizer(what: str | Optimizer, **settings: float | None) -> Optimizer:
    """The optimizer called `what` with these settings; one that is None is left as it is. An Optimizer is returned.

    "Adam" is adam. Raises ConfigError for a name there is not, for a setting that this optimizer does not have or is
    out of range.
    """
    if isinstance(what, Optimizer):
        return what
    if isinstance(what, type) and issubclass(what, Optimizer):
        raise ConfigError(f"an optimizer is a name or a value, like {what.name!r} or {what.__name__}(); got the class")
    name = meant(what, OPTIMIZERS)
    if name is None:
        raise ConfigError(f"there is no optimizer {told(what)}; there are {', '.join(OPTIMIZERS)}")
    said = {setting: value for setting, value in settings.items() if value is not None}
    for wrong in strangers(name, said).values():
        raise ConfigError(wrong)
    return OPTIMIZERS[name](**said)


def strangers(name: str, settings: Iterable[str]) -> dict[str, str]:
    """Those of the settings that the optimizer called `name` does not have, each with the words that say so."""
    known = OPTIMIZERS[name].settings()
    return {one: f"{name} has no {one}; it has {', '.join(known)}" for one in settings if one not in known}


def cache_tensors(kind: Optimizer, layer: str, parameter: Tensor) -> tuple[Tensor, ...]:
    """The caches that an optimizer keeps for one parameter."""
    return tuple(
        Tensor(f"{parameter.name}.{name}", Kind.OPTIMIZER_CACHE, parameter.shape, parameter.dtype, layer)
        for name in kind.caches
    )
