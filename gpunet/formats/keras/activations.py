"""Activations of Keras, whether they are layers of their own, fields of others, or functions by name."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gpunet.formats.keras.settings import number
from gpunet.formats.values import Cannot, Making, Value
from gpunet.layers.layer import Layer
from gpunet.layers.leaky_relu import LeakyReLU
from gpunet.layers.relu import ReLU
from gpunet.layers.squash import Sigmoid, Tanh
from gpunet.layers.units import ELU, GELU, Clip, HardSigmoid, HardSwish, ReLU6, SiLU, Softplus

UNITS: dict[str, Layer] = {
    "elu": ELU(),
    "gelu": GELU(),
    "hard_silu": HardSwish(),
    "hard_swish": HardSwish(),
    "leaky_relu": LeakyReLU(0.2),
    "relu": ReLU(),
    "relu6": ReLU6(),
    "sigmoid": Sigmoid(),
    "silu": SiLU(),
    "softplus": Softplus(),
    "swish": SiLU(),
    "tanh": Tanh(),
}
"""By the name of the function, with what it does unless told."""

SELU = 1.6732632423543772, 1.0507009873554805
"""Alpha and scale of SELU. Source: Klambauer et al. 2017."""


def activated(making: Making, name: str, value: Value, said: Any, version: int) -> Value:
    """The value behind an activation: a name, a class with its settings, or None. Raises Cannot for any other."""
    word, settings = _word(said)
    if word in ("", "linear"):
        return value
    if word in ("softmax", "log_softmax"):
        if settings.get("axis", -1) not in (value.maps_axis, value.maps_axis - value.rank):
            raise Cannot("its softmax is not that of the maps")
        return replace(value, softmax=True)
    if word == "hard_sigmoid":
        if version < 3:  # min(max(0, x/5 + 1/2), 1), where Keras 3 has x/6
            value = making.scaled(f"{name}_scale", value, (1.2,))
        return _added(making, name, value, HardSigmoid())
    if word == "selu":
        alpha, scale = SELU
        return making.scaled(f"{name}_scale", _added(making, name, value, ELU(alpha)), (scale,))
    return _added(making, name, value, _layer(word, settings))


def _added(making: Making, name: str, value: Value, layer: Layer) -> Value:
    return making.layer(name, layer, value, rank=value.rank)


def _word(said: Any) -> tuple[str, Mapping[str, Any]]:
    """The name of a function, or that of a class with settings, in small letters."""
    if said is None or isinstance(said, str):
        return (said or "").lower(), {}
    kind, config = str(said["class_name"]), said.get("config")
    if kind == "function" and isinstance(config, str):
        return config.lower(), {}
    return CLASSES.get(kind, kind), config if isinstance(config, dict) else {}


CLASSES = {"ReLU": "relu_class", "LeakyReLU": "leaky_class", "ELU": "elu_class", "Softmax": "softmax"}


def _layer(word: str, settings: Mapping[str, Any]) -> Layer:
    if word in UNITS:
        return UNITS[word]
    if word == "elu_class":
        return ELU(number(settings, "alpha", 1.0))
    if word == "leaky_class":
        return LeakyReLU(number(settings, "negative_slope" if "negative_slope" in settings else "alpha", 0.3))
    if word == "relu_class":
        return _relu(settings)
    raise Cannot(f"activation {word[:40]!r} is not there")


def _relu(settings: Mapping[str, Any]) -> Layer:
    """ReLU with a ceiling, or with a slope below 0."""
    ceiling, slope = settings.get("max_value"), number(settings, "negative_slope", 0.0)
    if number(settings, "threshold", 0.0):
        raise Cannot("a ReLU with a threshold is not there")
    if ceiling is None:
        return LeakyReLU(slope) if slope else ReLU()
    if slope:
        raise Cannot("a ReLU with both a slope and a ceiling is not there")
    ceiling = number(settings, "max_value")
    return ReLU6() if ceiling == 6 else Clip(0.0, ceiling)
