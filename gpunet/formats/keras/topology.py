"""What the config of a Keras model says: its layers, and who takes whose output. Keras 1, 2 and 3 write it differently.

A Sequential is a list of layers. In a Functional model each layer says where it is called, once or several times, by
`inbound_nodes`. Either may be a layer of another model.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MOST_DEPTH = 16
"""Of models within models."""

MODELS = ("Sequential", "Functional", "Model")
SHAPES = ("batch_shape", "batch_input_shape")
"""Where a layer says the shape of the input, that of the images included: in Keras 3, and before."""

OTHERS = ("y", "x2", "b", "other")
"""What the second operand of an operation is called where it is an argument by name."""


@dataclass(frozen=True)
class Ref:
    """An output: that of a layer, of one of its calls."""

    layer: str
    call: int = 0
    output: int = 0


@dataclass(frozen=True)
class Called:
    """A layer: its class, its settings, and what it takes where it is called: outputs, and numbers of an operation.

    `model`  where it is a model itself
    `operation`  whether it is a function of Keras 3 and no layer, so that no weights are counted for it
    """

    name: str
    kind: str
    settings: Mapping[str, Any]
    calls: tuple[tuple["Ref | float", ...], ...]
    model: "Topology | None" = None
    operation: bool = False


@dataclass(frozen=True)
class Topology:
    """A model: its layers, what goes in and comes out, and the shape of its input, None where it is not said."""

    name: str
    layers: tuple[Called, ...]
    shape: tuple[Any, ...] | None
    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]


def topology(config: Any, depth: int = 0) -> Topology:
    """The model of a config, {"class_name": ..., "config": ...}. Raises ValueError, KeyError or TypeError for what is
    none, with the class where it is one of its author's own."""
    if depth > MOST_DEPTH:
        raise ValueError(f"more than {MOST_DEPTH} models within one another")
    kind, settings = config["class_name"], config["config"]
    if kind not in MODELS:
        raise ValueError(f"its net is of class {str(kind)[:40]}, neither Sequential nor Functional")
    if kind == "Sequential" or "input_layers" not in settings:
        return _sequential(settings, depth)
    layers = tuple(_called(one, depth) for one in settings["layers"])
    inputs, outputs = _ends(settings["input_layers"]), _ends(settings["output_layers"])
    first = next(layer for layer in layers if layer.name == inputs[0].layer)
    return Topology(str(settings.get("name", "net")), layers, _shape(first.settings), inputs, outputs)


def _sequential(settings: Any, depth: int) -> Topology:
    """A chain. In Keras 1 the config is the list of layers itself."""
    listed = settings if isinstance(settings, list) else settings["layers"]
    name = "net" if isinstance(settings, list) else str(settings.get("name", "net"))
    start = before = Ref("", 0)
    layers: list[Called] = []
    shape = None if isinstance(settings, list) else _tuple(settings.get("build_input_shape"))
    for number, one in enumerate(listed):
        layer = _called(one, depth, before)
        if number == 0:
            shape = _shape(layer.settings) or (layer.model and layer.model.shape) or shape
        if layer.kind == "InputLayer":
            continue
        layers.append(layer)
        before = Ref(layer.name)
    return Topology(name, tuple(layers), shape, (start,), (before,))


def _called(one: Any, depth: int, before: Ref | None = None) -> Called:
    """A layer of the list; in a chain it takes what comes `before`."""
    kind, settings = str(one["class_name"]), one["config"]
    model = topology(one, depth + 1) if kind in MODELS else None
    if not isinstance(settings, dict):  # a Sequential of Keras 1
        settings = {"name": one.get("name", kind.lower())}
    name = str(one.get("name") or settings["name"])
    calls = ((before,),) if before is not None else tuple(_call(node) for node in one["inbound_nodes"])
    operation = ".ops." in str(one.get("module"))
    return Called(name, kind, settings, calls, model, operation)


def _call(node: Any) -> tuple[Ref | float, ...]:
    """What a layer takes in a call: {"args": ..., "kwargs": ...} in Keras 3, a list of [layer, call, output] before."""
    if isinstance(node, dict):
        return (*_tensors(node.get("args", [])), *_tensors(_second(node.get("kwargs"))))
    found: list[Ref | float] = []
    for item in [node] if node and isinstance(node[0], str) else node:
        found.append(_ref(item))
        found += [_ref(other) if isinstance(other, list) else other for other in _second(item[-1])]
    return tuple(found)


def _second(arguments: Any) -> list[Any]:
    """The second operand, where it is an argument by name."""
    if not isinstance(arguments, dict):
        return []
    found = [arguments[name] for name in OTHERS if arguments.get(name) is not None]
    return [other for other in found if isinstance(other, dict | list) or _is_number(other)]


def _tensors(items: Any) -> Iterator[Ref | float]:
    """The tensors and numbers of a list, those of a list within it too."""
    for item in items:
        for one in item if isinstance(item, list) else [item]:
            if isinstance(one, dict) and "keras_history" in (said := one.get("config", {})):
                yield _ref(said["keras_history"])
            elif _is_number(one):
                yield float(one)


def _ends(said: Any) -> tuple[Ref, ...]:
    """The inputs or outputs of a model: [layer, call, output], or a list of these."""
    return tuple(_ref(one) for one in ([said] if said and isinstance(said[0], str) else said))


def _ref(said: Any) -> Ref:
    """[layer, call, output]."""
    layer, call, output = said[:3]
    if not isinstance(layer, str) or not all(isinstance(n, int) and 0 <= n < 1 << 30 for n in (call, output)):
        raise ValueError("an output is named by what is no layer, call and output")
    return Ref(layer, call, output)


def _shape(settings: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The shape of the input that a layer says, with None for the images, and for what is not known."""
    found = next((settings[name] for name in SHAPES if settings.get(name)), None)
    if found is None and isinstance(settings.get("input_dim"), int):
        return None, settings["input_dim"]
    return _tuple(found)


def _tuple(shape: Any) -> tuple[Any, ...] | None:
    return tuple(shape) if isinstance(shape, list) and shape else None


def every_layer(model: Topology) -> Iterator[Called]:
    """The layers of a model in the order of the file, those of models within it in their places."""
    for layer in model.layers:
        if layer.model is None:
            yield layer
        else:
            yield from every_layer(layer.model)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def snake(kind: str) -> str:
    """A class as .weights.h5 calls its layers: Conv2D is conv2d, BatchNormalization batch_normalization."""
    words = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", kind))
    return re.sub("([a-z])([A-Z])", r"\1_\2", words).lower()
