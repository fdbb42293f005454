"""A Net: named layers in a graph, with the volume of each; it says nothing of memory, devices or training."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from gpunet.errors import ConfigError, ShapeError
from gpunet.layers.layer import Layer, Weights
from gpunet.layers.loss import SoftmaxCrossEntropy
from gpunet.volume import FIT_POLICIES, FitPolicy, Volume

INPUT = "input"
"""The name by which layers call the net's input."""


@dataclass(frozen=True, slots=True)
class Node:
    """A layer of a net: its name and the names of those whose outputs it takes ("input" is the net's own input)."""

    name: str
    layer: Layer
    inputs: tuple[str, ...]


class Net:
    """Named layers over an input volume; the last layer's output holds the scores.

    `input`   the volume of one image, as a Volume or like "32x32x3"
    `layers`  in order, each a Layer (numbered by its type: conv1, conv2, ...), a pair (name, Layer), or a Node that
              also says what it takes; Layers and pairs take the output of the one before
    `name`    what plans and reports call the net
    `fit`     what a window that does not fit its volume does, where the layer does not say: "error", "pad" or "crop"
    `scale, shift`  a uint8 pixel p enters the net as p*scale + shift; float images enter as they are

    Raises ConfigError for names that clash or stand for nothing, ShapeError, with the layer's name, for layers that do
    not fit their volumes.
    """

    def __init__(
        self,
        input: Volume | str | tuple[int, int, int],
        layers: Sequence[Layer | tuple[str, Layer] | Node],
        *,
        name: str = "net",
        fit: FitPolicy = "error",
        scale: float = 1 / 255,
        shift: float = 0.0,
    ) -> None:
        if fit not in FIT_POLICIES:
            raise ConfigError(f"fit must be one of {', '.join(FIT_POLICIES)}; got {fit!r}")
        if not layers:
            raise ConfigError(f"{name} has no layers; it needs at least one")
        self.input = Volume.parse(input)
        self.name = name
        self.fit = fit
        self.scale = float(scale)
        self.shift = float(shift)
        self.loss = SoftmaxCrossEntropy()
        self.nodes = tuple(_with_policy(node, fit) for node in _named(layers))
        _check_graph(self.nodes)
        self.volumes = self._volumes()

    @property
    def output(self) -> Volume:
        """The volume of the scores."""
        return self.volumes[self.nodes[-1].name]

    @property
    def classes(self) -> int:
        """How many scores an image gets."""
        return self.output.values

    @property
    def parameters(self) -> int:
        """How many learnt numbers the net has, biases included."""
        return sum(self.layer_parameters(node) for node in self.nodes)

    def inputs(self, node: Node) -> tuple[Volume, ...]:
        """The volumes that a node takes."""
        return tuple(self.volumes[name] for name in node.inputs)

    def weights(self, node: Node) -> tuple[Weights, ...]:
        """The parameters of a node."""
        return node.layer.weights(*self.inputs(node))

    def layer_parameters(self, node: Node) -> int:
        """How many learnt numbers a node has, biases included."""
        total = 0
        for weights in self.weights(node):
            count = 1
            for extent in weights.shape:
                count *= extent
            total += count
        return total

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Net):
            return NotImplemented
        return (self.input, self.nodes, self.scale, self.shift) == (other.input, other.nodes, other.scale, other.shift)

    __hash__ = None  # type: ignore[assignment]  # compared by value, never a key

    def __repr__(self) -> str:
        size = f"{len(self.nodes)} layers, {self.parameters:,} parameters"
        return f"<Net {self.name}: {self.input} -> {self.output}, {size}>"

    def _volumes(self) -> dict[str, Volume]:
        volumes = {INPUT: self.input}
        for node in self.nodes:
            try:
                volumes[node.name] = node.layer.output(*(volumes[name] for name in node.inputs))
            except ShapeError as error:
                raise ShapeError(f"{node.name}: {error}") from None
        return volumes


def _named(layers: Sequence[Layer | tuple[str, Layer] | Node]) -> Iterator[Node]:
    """Nodes in order: unnamed layers are numbered by type, those without inputs take the one before."""
    counts: dict[str, int] = {}
    before = INPUT
    for item in layers:
        name, layer = _unpacked(item)
        counts[layer.type] = counts.get(layer.type, 0) + 1
        name = name or f"{layer.type}{counts[layer.type]}"
        yield Node(name, layer, item.inputs if isinstance(item, Node) and item.inputs else (before,))
        before = name


def _unpacked(item: object) -> tuple[str | None, Layer]:
    """(name or None, layer) of whatever a net's list may hold."""
    match item:
        case Layer():
            return None, item
        case Node(name=str(name), layer=Layer() as layer) | (str(name), Layer() as layer):
            return name, layer
    raise ConfigError(f"{item!r} is not a layer; a net is made of layers, (name, layer) pairs and nodes")


def _with_policy(node: Node, fit: FitPolicy) -> Node:
    """The node with the net's fit policy where its layer follows that."""
    if any(field.name == "fit" for field in fields(node.layer)) and vars(node.layer)["fit"] is None:
        settings: dict[str, Any] = {"fit": fit}
        return replace(node, layer=replace(node.layer, **settings))
    return node


def _check_graph(nodes: tuple[Node, ...]) -> None:
    """Raise ConfigError unless names are sound and unique, inputs come before, and all outputs are taken."""
    known: dict[str, int] = {INPUT: 0}
    for node in nodes:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", node.name):
            raise ConfigError(
                f"{node.name!r} is not a layer name; use letters, digits and _, not starting with a digit"
            )
        if node.name in known:
            raise ConfigError(f"two layers are called {node.name}; give one of them another name")
        for name in node.inputs:
            if name not in known:
                raise ConfigError(f"{node.name} takes {name!r}, which no layer before it is called")
            known[name] += 1
        known[node.name] = 0
    for name, takers in list(known.items())[:-1]:
        if takers == 0:
            raise ConfigError(f"nothing takes the output of {name}; remove it or let a later layer take it")
        if takers > 1:
            raise ConfigError(f"{takers} layers take the output of {name}; only chains can be built from these layers")
