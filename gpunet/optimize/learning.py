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


MOST_NAMED = 8
"""Layers, or parameters, that a message names."""


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
    `decay_factors`  what weight_decay is multiplied by, said like `rate_factors`; 0: none; whatever `decay` says
    `clip_value`  the most that a value of a gradient may be, up or down; None: any
    `clip_norm`  the most that the norm of all gradients together may be, else all are scaled down to it, after
                 `clip_value`; no parameter is updated before all gradients are there

    Raises ConfigError for an optimizer that there is not, for numbers not above 0, or below it where 0 has a meaning,
    for another `decay`.
    """

    optimizer: Optimizer
    freeze: tuple[str, ...]
    rate_factors: tuple[tuple[str, float], ...]
    decay: Decay
    decay_factors: tuple[tuple[str, float], ...]
    clip_value: float | None
    clip_norm: float | None

    def __init__(
        self,
        optimizer: OptimizerName | Optimizer = "momentum",
        *,
        freeze: str | Iterable[str] = (),
        rate_factors: Mapping[str, float] | Iterable[tuple[str, float]] = (),
        decay: Decay = "all",
        decay_factors: Mapping[str, float] | Iterable[tuple[str, float]] = (),
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        rates, decays = _factors("rate_factors", rate_factors), _factors("decay_factors", decay_factors, least=True)
        if decay not in get_args(Decay):
            raise ConfigError(f"decay must be one of {', '.join(get_args(Decay))}; got {told(decay)}")
        clips = {"clip_value": clip_value, "clip_norm": clip_norm}
        for name, most in clips.items():
            if most is not None and not is_positive(most):
                raise ConfigError(f"{name} must be a number above 0; got {told(most)}")
        put = object.__setattr__
        put(self, "optimizer", find_optimizer(optimizer))
        put(self, "freeze", names("freeze", freeze))
        put(self, "rate_factors", rates)
        put(self, "decay", decay)
        put(self, "decay_factors", decays)
        for name, most in clips.items():
            put(self, name, None if most is None else float(most))

    def frozen(self, layers: Collection[str]) -> frozenset[str]:
        """Those of the layers that are frozen. Raises ConfigError for a pattern that none of them matches."""
        return frozenset(name for pattern in self.freeze for name in matching("freeze", pattern, layers))

    def require_effect(self, layers: Collection[str], learning: Collection[str]) -> None:
        """Raise ConfigError for a pattern of `freeze` that freezes nothing; `learning`: the layers that can."""
        for pattern in self.freeze:
            found = matching("freeze", pattern, layers)
            if not {*found} & {*learning}:
                what = f"{_few(found)} {'has' if len(found) == 1 else 'have'}"
                raise ConfigError(
                    f"freeze: {what} nothing to learn, so {told(pattern)} freezes nothing; layers that learn: "
                    f"{_few(learning)}"
                )

    def factors(self, layers: Collection[str], parameters: Collection[str]) -> dict[str, float]:
        """What the learning rate of each parameter, like conv1.w, is multiplied by. Raises ConfigError as `frozen`."""
        return dict.fromkeys(parameters, 1.0) | _spread("rate_factors", self.rate_factors, layers, parameters)

    def decays(self, layers: Collection[str], weights: Mapping[str, bool]) -> dict[str, float]:
        """What the weight decay of each parameter is multiplied by. Raises ConfigError as `frozen`.

        `weights`  the parameters, and whether each is a weight: no bias, and no scale or shift of a norm
        """
        found = {name: float(self.decay == "all" or is_weight) for name, is_weight in weights.items()}
        return found | _spread("decay_factors", self.decay_factors, layers, weights)


def learning(what: "OptimizerName | Optimizer | Learning") -> Learning:
    """A Learning as it is; of an optimizer, or the name of one, a Learning with nothing else to it."""
    return what if isinstance(what, Learning) else Learning(what)


def is_positive(number: object) -> bool:
    """Whether it is a finite number above 0."""
    found = as_float(number)
    return found is not None and found > 0


def _factors(option: str, given: object, *, least: bool = False) -> tuple[tuple[str, float], ...]:
    """Factors by pattern, above 0, or with `least` 0 and above. Raises ConfigError for what holds none."""
    try:
        factors: dict[str, float] = dict(given)  # type: ignore[call-overload]
        good = all(isinstance(pattern, str) for pattern in factors)
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ConfigError(f"{option} must be factors by name, like {{'fc*': 10}}; got {told(given)}")
    for pattern, factor in factors.items():
        if not (is_positive(factor) or (least and as_float(factor) == 0)):
            range = "of at least 0" if least else "above 0"
            raise ConfigError(f"{option}: {told(pattern)} must be a number {range}; got {told(factor)}")
    return tuple((pattern, float(factor)) for pattern, factor in factors.items())


def _spread(
    option: str, factors: Iterable[tuple[str, float]], layers: Collection[str], parameters: Collection[str]
) -> dict[str, float]:
    """The factors of those parameters that a pattern is of. Raises ConfigError for a pattern that matches nothing."""
    found: dict[str, float] = {}
    for pattern, factor in factors:
        if "." in pattern:
            found |= dict.fromkeys(matching(option, pattern, parameters, "parameter"), factor)
        else:
            named = {*matching(option, pattern, layers)}
            found |= {name: factor for name in parameters if name.partition(".")[0] in named}
    return found


def matching(option: str, pattern: str, names: Collection[str], kind: str = "layer") -> list[str]:
    """The names that a pattern matches. Raises ConfigError, naming the option and the `kind`, where it matches none."""
    found = [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        close = get_close_matches(pattern, names, 1, 0.5)
        hint = f"did you mean {close[0]}?" if close else f"there are {_few(names)}"
        raise ConfigError(f"{option}: no {kind} is called {told(pattern)}; {hint}")
    return found


def _few(names: Collection[str]) -> str:
    """The names, the first of them where they are many."""
    return ", ".join(list(names)[:MOST_NAMED]) + ", ..." * (len(names) > MOST_NAMED)
