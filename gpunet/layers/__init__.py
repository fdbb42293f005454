"""All layers, found by walking this package: a new layer is a new file, and nothing here changes."""

from importlib import import_module
from pkgutil import iter_modules

from gpunet.layers.layer import Layer


def layer_types() -> tuple[type[Layer], ...]:
    """Every layer class of this package, in alphabetical order of its type; what they have in common has no type."""
    found = {}
    for module in iter_modules(__path__):
        for value in vars(import_module(f"{__name__}.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, Layer) and "type" in vars(value):
                found[value.type] = value
    return tuple(found[name] for name in sorted(found))
