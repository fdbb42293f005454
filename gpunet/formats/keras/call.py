"""A layer of Keras where it is called: what whoever says it is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpunet.formats.keras.activations import activated
from gpunet.formats.values import Cannot, Making, Unsaid, Value


@dataclass(frozen=True)
class Call:
    """A layer where it is called.

    `given`    what it takes; None: of a layer that could not be said; a number: of an operation
    `weights`  its arrays, in Keras's order
    `version`  of Keras that wrote it, the first number
    """

    name: str
    kind: str
    settings: Mapping[str, Any]
    given: tuple[Value | float | None, ...]
    weights: tuple[np.ndarray, ...]
    version: int

    @property
    def value(self) -> Value:
        """What a layer of one input takes."""
        (value,) = self.values
        return value

    @property
    def values(self) -> list[Value]:
        """What it takes. Raises Unsaid where that could not be said."""
        if None in self.given:
            raise Unsaid
        return [value for value in self.given if isinstance(value, Value)]

    def named(self, *names: str) -> dict[str, np.ndarray | None]:
        """Its arrays by the parameters that they are, in Keras's order; None for those that the file lacks."""
        if len(self.weights) > len(names):
            raise Cannot(f"it has {len(self.weights)} arrays, and {len(names)} are known")
        return dict.fromkeys(names) | dict(zip(names, self.weights, strict=False))


Saying = Callable[[Making, Call], Value]
"""Says a call in a net that is being made. Raises Cannot where it cannot."""


def then_activated(making: Making, call: Call, value: Value) -> Value:
    """The value behind the activation that is a field of the layer."""
    said = call.settings.get("activation")
    return activated(making, f"{call.name}_{said if isinstance(said, str) else 'unit'}", value, said, call.version)
