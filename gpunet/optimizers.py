"""Optimizers: how many caches a parameter needs, and the op that updates it. Source: CS231n "Parameter updates"."""

from dataclasses import dataclass, fields
from typing import ClassVar

from gpunet.errors import ConfigError
from gpunet.program.builder import Emitter
from gpunet.program.program import Attribute, RunTime
from gpunet.program.tensor import Kind, Tensor

LEARNING_RATE = RunTime("learning_rate")


@dataclass(frozen=True)
class Optimizer:
    """Base of all optimizers.

    `name`    what configs and `--optimizer` call it
    `caches`  names of the tensors, each as large as the parameter, that it keeps between steps
    """

    weight_decay: float = 0.0

    name: ClassVar[str]
    caches: ClassVar[tuple[str, ...]] = ()

    def emit(self, emit: Emitter, dw: Tensor, w: Tensor, caches: tuple[Tensor, ...]) -> None:
        """Emit the update of one parameter from its gradient, which it may use as scratch."""
        numbers: dict[str, Attribute] = {field.name: getattr(self, field.name) for field in fields(self)}
        emit.op(f"{self.name}_update", (dw,), (w, *caches), attributes={"learning_rate": LEARNING_RATE, **numbers})


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


OPTIMIZERS: dict[str, type[Optimizer]] = {kind.name: kind for kind in (SGD, Momentum)}


def optimizer(what: str | Optimizer, **settings: float) -> Optimizer:
    """The optimizer called `what` with those of the settings that it knows; an Optimizer is returned as it is.

    Raises ConfigError for a name there is not.
    """
    if isinstance(what, Optimizer):
        return what
    if what not in OPTIMIZERS:
        raise ConfigError(f"there is no optimizer {what!r}; there are {', '.join(OPTIMIZERS)}")
    kind = OPTIMIZERS[what]
    known = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in settings.items() if name in known})


def cache_tensors(kind: Optimizer, layer: str, parameter: Tensor) -> tuple[Tensor, ...]:
    """The caches that an optimizer keeps for one parameter."""
    return tuple(
        Tensor(f"{parameter.name}.{name}", Kind.OPTIMIZER_CACHE, parameter.shape, parameter.dtype, layer)
        for name in kind.caches
    )
