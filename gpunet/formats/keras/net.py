"""A topology of Keras as a net: each call of a layer said in its order, models within models laid open."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gpunet.data.raw import clean_name
from gpunet.errors import DataError, ShapeError
from gpunet.formats.foreign import Foreign
from gpunet.formats.graph import Graph
from gpunet.formats.keras.call import Call
from gpunet.formats.keras.layers import say
from gpunet.formats.keras.names import numbered
from gpunet.formats.keras.topology import Called, Ref, Topology, every_layer, snake, topology
from gpunet.formats.keras.views import volume_of
from gpunet.formats.layout import KERAS
from gpunet.formats.values import FIRST, LAST, Cannot, Making, Order, Unsaid, Value, ordered
from gpunet.program.volume import Volume

Weights = Callable[[Called, str, str], Sequence[np.ndarray]]
"""The arrays of a layer, in Keras's order. It is asked for by where it lies in a .weights.h5, like
layers/sequential/layers/conv2d, and by the layer of the whole model that it is, or belongs to."""

Scope = dict[Ref, Value]
"""What the layers of a model gave."""

ERRORS = (
    *(ShapeError, ValueError, KeyError, TypeError, IndexError),
    *(AttributeError, StopIteration, RecursionError, OverflowError),
)


def foreign(
    path: Path, format: str, config: Any, version: str, weights: Weights, input: Volume | None = None
) -> Foreign:
    """The net of a config with its weights. Raises DataError, naming all layers that cannot be said.

    `version`  of Keras that wrote it
    `input`    where the config leaves the size of images open, or another is wanted
    """
    try:
        found = topology(config)
        start = _start(found, input)
        if start is None:
            raise DataError(f"{path} does not say the size of its images; give it, like --input 224x224x3")
        making = Making(Graph(path, found.name), start.volume, KERAS)
        reader = _Reader(making, weights, int(version.split(".")[0]) if version[:1].isdecimal() else 2)
        outputs = reader.model(found, [start], "", "")
    except ERRORS as error:
        said = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{path} holds no net of Keras that can be read here ({clean_name(said)})") from None
    ends = []
    for value in outputs:
        with making.saying("the output", "the last layer"):
            ends.append(making.ends(value))
    net = making.graph.net(ends)
    names = {f"{node.name}.{one.name}": f"{node.name}.{one.name}" for node in net.trunk for one in net.weights(node)}
    images = making.images("the way that its first layers say")
    return Foreign(path, format, making.graph.arrays, KERAS, names, net, images=images, notes=(*making.graph.notes,))


def _start(found: Topology, input: Volume | None) -> Value | None:
    """The input of a model; None where neither the model nor `input` says its size."""
    if len(found.inputs) != 1:
        raise ValueError(f"it has {len(found.inputs)} inputs, and a net here has one")
    sizes = found.shape[1:] if found.shape else ()
    rank, order = len(sizes) + 1 if sizes else 4, input_order(found)
    if input is not None:
        return Value("input", input, rank, order=order)
    if not 1 <= len(sizes) <= 3 or None in sizes:
        return None
    if len(sizes) == 3:
        return Value("input", volume_of(sizes, order), rank, order=order)
    H, W, D = (1, 1, *sizes) if len(sizes) == 1 else (*sizes, 1)
    return Value("input", Volume(H, W, D), rank, order=order)


def input_order(model: Topology) -> Order:
    """Whether images enter maps first or last: as the first layer wants them that says it, and another way where axes
    change places before. No other layer says it."""
    order, turned = LAST, False
    for layer in every_layer(model):
        turned ^= layer.kind == "Permute"
        said = layer.settings.get("data_format")
        if said is not None and layer.kind != "Flatten":
            order = FIRST if (said == "channels_first") != turned else LAST
            break
    return order


class _Reader:
    """Says the layers of models; `version` is Keras's first number."""

    def __init__(self, making: Making, weights: Weights, version: int) -> None:
        self.making, self.weights, self.version = making, weights, version

    def model(self, model: Topology, given: Sequence[Value], place: str, owner: str) -> list[Value]:
        """What the outputs of a model are, given its inputs. Those that cannot be said are left out.

        `place`  of the model in a .weights.h5, "" for the whole one
        `owner`  the layer of the whole model that it belongs to, "" for the whole one
        """
        scope: Scope = dict(zip(model.inputs, given, strict=True))
        places = _places(model, place)
        layers = {layer.name: layer for layer in model.layers}
        calls = [(layer.name, number) for layer in model.layers for number in range(len(layer.calls))]

        def needs(call: tuple[str, int]) -> list[tuple[str, int]]:
            refs = [ref for ref in layers[call[0]].calls[call[1]] if isinstance(ref, Ref) and ref.layer in layers]
            return [(ref.layer, _call_of(layers[ref.layer], ref)) for ref in refs if layers[ref.layer].calls]

        for name, number in ordered(calls, needs):
            layer = layers[name]
            if layer.kind != "InputLayer":
                self._say(layer, number, scope, places[name], owner or name)
        return [value for ref in model.outputs if (value := _found(scope, ref)) is not None]

    def _say(self, layer: Called, number: int, scope: Scope, place: str, owner: str) -> None:
        """Say one call of a layer, and keep in `scope` what it gives."""
        with self.making.saying(layer.name, layer.kind):
            given = [_found(scope, one) if isinstance(one, Ref) else one for one in layer.calls[number]]
            if layer.model is not None:
                if None in given:
                    raise Unsaid
                values = [one for one in given if isinstance(one, Value)]
                outputs = self.model(layer.model, values, f"{place}/", owner)
                scope.update({Ref(layer.name, number, output): value for output, value in enumerate(outputs)})
                return
            arrays = self.weights(layer, place, owner)
            if arrays and len(layer.calls) > 1:
                raise Cannot(f"it is used {len(layer.calls)} times with the same weights; layers here have their own")
            call = Call(layer.name, layer.kind, layer.settings, tuple(given), tuple(arrays), self.version)
            scope[Ref(layer.name, number)] = say(self.making, call)


def _places(model: Topology, place: str) -> dict[str, str]:
    """Where each layer lies in a .weights.h5: by its class and how many of it came before."""
    counts: Counter[str] = Counter()
    places = {}
    for layer in model.layers:
        if layer.operation:
            places[layer.name] = ""
            continue
        kind = snake(layer.kind)
        places[layer.name] = f"{place}layers/{numbered(kind, counts[kind])}"
        counts[kind] += 1
    return places


def _call_of(layer: Called, ref: Ref) -> int:
    """The call that is meant: files that count those outside of the model too have one alone."""
    return ref.call if ref.call < len(layer.calls) else 0


def _found(scope: Mapping[Ref, Value], ref: Ref) -> Value | None:
    return scope.get(ref) or scope.get(replace(ref, call=0))
