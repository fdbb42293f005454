"""Modules of Torch7 said one after the other: those that hold others, and which of them takes what."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from gpunet.formats.torch7.modules import MODULES
from gpunet.formats.torch7.objects import Module
from gpunet.formats.values import Cannot, Making, Unsaid, Value
from gpunet.layers.layer import Layer
from gpunet.net.words import nearest

Values = tuple[Value, ...]
"""What a module takes or gives: one value, or a table of them."""

PACKAGES = ("nn", "cudnn", "cunn", "fbnn", "fbcunn", "inn")
"""Those whose modules are the same under the same names."""

Saying = Callable[["Sayer", Module, Values], Values]
"""Says a module that takes these values. Raises Cannot where it cannot."""


class Sayer:
    """Says modules in a net that is being made."""

    def __init__(self, making: Making) -> None:
        self.making = making
        self._counts: Counter[str] = Counter()
        self._used: set[int] = set()

    def say(self, module: Module, values: Values | None) -> Values | None:
        """What a module gives; None where it, or what it takes, cannot be said."""
        package, _, kind = module.kind.rpartition(".")
        known = package in PACKAGES or not package
        if known and kind in CONTAINERS:
            return CONTAINERS[kind](self, module, values)
        made: list[Values] = []
        with self.making.saying(module.kind, f"module {self._number()}"):
            saying = MODULES.get(kind) if known else None
            if saying is None:
                raise Cannot(f"there is no such layer here{nearest(kind, MODULES)}")
            if values is None:
                raise Unsaid
            made.append(saying(self, module, values))
        return made[0] if made else None

    def layer(self, layer: Layer, *values: Value, rank: int = 4, **arrays: Any) -> Values:
        """Add a layer of gpunet, numbered by its type."""
        self._counts[layer.type] += 1
        name = f"{layer.type}{self._counts[layer.type]}"
        there = {parameter: array for parameter, array in arrays.items() if array is not None}
        return (self.making.layer(name, layer, *values, arrays=there, rank=rank),)

    def scaled(self, value: Value, scale: float, shift: float = 0.0) -> Values:
        """The value times a number plus another."""
        self._counts["constant"] += 1
        return (self.making.scaled(f"constant{self._counts['constant']}", value, (scale,), (shift,)),)

    def once(self, module: Module) -> None:
        """Raise Cannot for a module with weights that is there twice."""
        if id(module) in self._used:
            raise Cannot("it is used again with the same weights")
        self._used.add(id(module))

    def _number(self) -> int:
        self._counts["module"] += 1
        return self._counts["module"]


# -- modules that hold others


def _chain(sayer: Sayer, module: Module, values: Values | None) -> Values | None:
    for one in module.modules:
        values = sayer.say(one, values)
    return values


def _first(sayer: Sayer, module: Module, values: Values | None) -> Values | None:
    """The copies of a module on several GPUs."""
    return (
        _chain(sayer, Module("nn.Sequential", {"modules": {1: module.modules[0]}}), values) if module.modules else None
    )


def _branches(sayer: Sayer, module: Module, values: Values | None) -> Values | None:
    """Each module takes the same; the table of what they give."""
    return _table([sayer.say(one, values) for one in module.modules])


def _beside(sayer: Sayer, module: Module, values: Values | None) -> Values | None:
    """Each module takes one value of a table."""
    parts = [None] * len(module.modules) if values is None else [(value,) for value in values]
    return _table([sayer.say(one, part) for one, part in zip(module.modules, parts, strict=False)])


def _table(parts: list[Values | None]) -> Values | None:
    if None in parts:
        return None
    return tuple(value for part in parts if part is not None for value in part)


def _concat(sayer: Sayer, module: Module, values: Values | None) -> Values | None:
    """Branches, and their maps behind one another."""
    return sayer.say(
        Module("nn.JoinTable", {"dimension": module.said.get("dimension", 2)}), _branches(sayer, module, values)
    )


Container = Callable[[Sayer, Module, "Values | None"], "Values | None"]

CONTAINERS: dict[str, Container] = {
    "Concat": _concat,
    "ConcatTable": _branches,
    "DataParallel": _first,
    "DataParallelTable": _first,
    "DepthConcat": _concat,
    "ParallelTable": _beside,
    "Sequential": _chain,
}
