"""What a training step changes in the parameters: by which optimizer, how far, and which layers are left as they are.

A Learning is one value for all of it, and stands wherever an optimizer does.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Literal, get_args

from gpunet.errors import ConfigError
from gpunet.optimize.optimizers import Optimizer, OptimizerName
from gpunet.optimize.optimizers import optimizer as find_optimizer
from gpunet.values.given import as_float, names, told

Decay = Literal["all", "weights"]
"""Which parameters weight decay pulls at."""


@dataclass(frozen=True, init=False)
class Learning:
    """How parameters learn.

    `optimizer`  its name, or an Optimizer with settings of its own
    `freeze`     names of layers that learn nothing, or patterns of them, like "conv*" (`*`, `?` and `[...]` as in a
                 shell): what lies below the first layer that learns has no backward pass, and batch normalization in
                 them takes its running statistics, as in a forward pass, and does not move them
    `rate_factors`  what the learning rate of a layer is multiplied by, like {"fc*": 10}, by its name or a pattern; one
                 with a dot is of single parameters, like {"*.b": 2}; of several that match, the last one counts
    `decay`      "all": the optimizer's weight_decay is that of all parameters; "weights": of weights alone, and biases
                 and the scales and shifts of norms have none

    `clip_value`  the most that a value of a gradient may be, up or down; None: any
    `clip_norm`  the most that the norm of all gradients together may be, else all are scaled down to it, after
                 `clip_value`; no parameter is updated before all gradients are there

    Raises ConfigError for an optimizer that there is not, for numbers not above 0, for another `decay`.
    """

    optimizer: Optimizer
    freeze: tuple[str, ...]
    rate_factors: tuple[tuple[str, float], ...]
    decay: Decay
    clip_value: float | None
    clip_norm: float | None

    def __init__(
        self,
        optimizer: OptimizerName | Optimizer = "momentum",
        *,
        freeze: str | Iterable[str] = (),
        rate_factors: Mapping[str, float] | Iterable[tuple[str, float]] = (),
        decay: Decay = "all",
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        factors = _factors(rate_factors)
        for pattern, factor in factors.items():
            if not is_positive(factor):
                raise ConfigError(f"rate_factors: {told(pattern)} must be a number above 0; got {told(factor)}")
        if decay not in get_args(Decay):
            raise ConfigError(f"decay must be one of {', '.join(get_args(Decay))}; got {told(decay)}")
        clips = {"clip_value": clip_value, "clip_norm": clip_norm}
        for name, most in clips.items():
            if most is not None and not is_positive(most):
                raise ConfigError(f"{name} must be a number above 0; got {told(most)}")
        put = object.__setattr__
        put(self, "optimizer", find_optimizer(optimizer))
        put(self, "freeze", names("freeze", freeze))
        put(self, "rate_factors", tuple((pattern, float(factor)) for pattern, factor in factors.items()))
        put(self, "decay", decay)
        for name, most in clips.items():
            put(self, name, None if most is None else float(most))

    def frozen(self, layers: Collection[str]) -> frozenset[str]:
        """Those of the layers that are frozen. Raises ConfigError for a pattern that none of them matches."""
        return frozenset(name for pattern in self.freeze for name in matching("freeze", pattern, layers))

    def factors(self, layers: Collection[str], parameters: Collection[str]) -> dict[str, float]:
        """What the learning rate of each parameter, like conv1.w, is multiplied by. Raises ConfigError as `frozen`."""
        found = dict.fromkeys(parameters, 1.0)
        for pattern, factor in self.rate_factors:
            if "." in pattern:
                found |= dict.fromkeys(matching("rate_factors", pattern, parameters, "parameter"), factor)
            else:
                named = {*matching("rate_factors", pattern, layers)}
                found |= {name: factor for name in parameters if name.partition(".")[0] in named}
        return found


def learning(what: "OptimizerName | Optimizer | Learning") -> Learning:
    """A Learning as it is; of an optimizer, or the name of one, a Learning with nothing else to it."""
    return what if isinstance(what, Learning) else Learning(what)


def is_positive(number: object) -> bool:
    """Whether it is a finite number above 0."""
    found = as_float(number)
    return found is not None and found > 0


def _factors(given: object) -> dict[str, float]:
    """The factors of rates by pattern. Raises ConfigError for what holds none."""
    try:
        factors: dict[str, float] = dict(given)  # type: ignore[call-overload]
        good = all(isinstance(pattern, str) for pattern in factors)
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ConfigError(f"rate_factors must be factors by name, like {{'fc*': 10}}; got {told(given)}")
    return factors


def matching(option: str, pattern: str, names: Collection[str], kind: str = "layer") -> list[str]:
    """The names that a pattern matches. Raises ConfigError, naming the option and the `kind`, where it matches none."""
    found = [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        close = get_close_matches(pattern, names, 1, 0.5)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(list(names)[:8])}, ..."
        raise ConfigError(f"{option}: no {kind} is called {told(pattern)}; {hint}")
    return found
