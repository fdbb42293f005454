"""Windows of Keras's layers, padded by its SAME or not at all, and pools, which are nothing else."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gpunet.formats.keras.call import Call, Saying
from gpunet.formats.keras.settings import padded, sizes
from gpunet.formats.values import NO_ZEROS, Making, Value, around, ending, same
from gpunet.layers.average_pool import AvgPool
from gpunet.layers.layer import Layer
from gpunet.layers.pool import MaxPool
from gpunet.program.volume import pair


def placed(layer: Any, value: Value, said: Mapping[str, Any]) -> Layer:
    """A window without padding, as its settings say: with the zeros around what it takes, and those of SAME."""
    padding = same(value, layer.window(value.volume)) if padded(said) else NO_ZEROS
    return ending(replace(layer, P=around(value, padding)), value.volume)


def pooling(kind: type[MaxPool] | type[AvgPool]) -> Saying:
    """How pools of a kind are said."""

    def saying(making: Making, call: Call) -> Value:
        said, value = call.settings, call.value
        F = sizes(said, "pool_size", 2)
        S = F if said.get("strides") is None else sizes(said, "strides")
        layer: MaxPool | AvgPool = kind(F, S)
        if value.zeros != NO_ZEROS:
            layer, value = _over_zeros(making, call, layer)
        return making.layer(call.name, placed(layer, value, said), value.bare)

    return saying


def _over_zeros(making: Making, call: Call, layer: MaxPool | AvgPool) -> tuple[MaxPool | AvgPool, Value]:
    """A pool and what it takes, with zeros around: an average counts them, and they are no maximum of what is never
    below 0, so that both may bring them along; for any other they are made."""
    value, (rows, columns), (top, bottom, left, right) = call.value, pair(layer.F), call.value.zeros
    if not padded(call.settings) and max(top, bottom) < rows and max(left, right) < columns:
        if isinstance(layer, AvgPool):
            return replace(layer, counts="padding"), value
        if making.nonnegative(value):
            return layer, value
    return layer, making.solid(call.name, value)


def over_all(layer: Layer) -> Saying:
    """How a pool over whole maps is said, which leaves a vector unless told."""

    def saying(making: Making, call: Call) -> Value:
        return making.layer(call.name, layer, call.value, rank=4 if call.settings.get("keepdims") else 2)

    return saying
