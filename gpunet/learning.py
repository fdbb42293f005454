"""What a training step changes in the parameters: by which optimizer, and which layers are left as they are.

A Learning is one value for all of it, and stands wherever an optimizer does.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from gpunet.errors import ConfigError
from gpunet.optimizers import Optimizer
from gpunet.optimizers import optimizer as find_optimizer


@dataclass(frozen=True, init=False)
class Learning:
    """How parameters learn.

    `optimizer`  its name, or an Optimizer with settings of its own
    `freeze`     names of layers that learn nothing, or patterns of them, like "conv*" (`*`, `?` and `[...]` as in a
                 shell): what lies below the first layer that learns has no backward pass, and batch normalization in
                 them takes its running statistics, as in a forward pass, and does not move them

    Raises ConfigError for an optimizer that there is not.
    """

    optimizer: Optimizer
    freeze: tuple[str, ...]

    def __init__(self, optimizer: str | Optimizer = "momentum", *, freeze: str | Iterable[str] = ()) -> None:
        put = object.__setattr__
        put(self, "optimizer", find_optimizer(optimizer))
        put(self, "freeze", (freeze,) if isinstance(freeze, str) else tuple(freeze))

    def frozen(self, layers: Collection[str]) -> frozenset[str]:
        """Those of the layers that are frozen. Raises ConfigError for a pattern that none of them matches."""
        return frozenset(name for pattern in self.freeze for name in matching("freeze", pattern, layers))


def learning(what: "str | Optimizer | Learning") -> Learning:
    """A Learning as it is; of an optimizer, or the name of one, a Learning with nothing else to it."""
    return what if isinstance(what, Learning) else Learning(what)


def matching(option: str, pattern: str, layers: Collection[str]) -> list[str]:
    """The names that a pattern matches. Raises ConfigError, naming the option, where it matches none."""
    found = [name for name in layers if fnmatchcase(name, pattern)]
    if not found:
        close = get_close_matches(pattern, layers, 1, 0.5)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(list(layers)[:8])}, ..."
        raise ConfigError(f"{option}: no layer is called {pattern!r}; {hint}")
    return found
