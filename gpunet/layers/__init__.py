"""All layers and losses, found by walking this package: a new one is a new file, and nothing here changes."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from gpunet.layers.layer import Layer
from gpunet.layers.loss import Loss


def layer_types() -> tuple[type[Layer], ...]:
    """Every layer class of this package, in alphabetical order of its type; what they have in common has no type."""
    return _types(Layer)


def loss_types() -> tuple[type[Loss], ...]:
    """Every loss class of this package, in alphabetical order of its type."""
    return _types(Loss)


def _types(base: Any) -> tuple[Any, ...]:
    found = {}
    for module in iter_modules(__path__):
        for value in vars(import_module(f"{__name__}.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, base) and "type" in vars(value):
                found[vars(value)["type"]] = value
    return tuple(found[name] for name in sorted(found))
