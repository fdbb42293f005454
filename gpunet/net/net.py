"""A Net: named layers in a graph, with the volume of each; it says nothing of memory, devices or training."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from math import lcm, prod
from typing import Any

from gpunet.errors import ConfigError, ShapeError
from gpunet.layers.conv import Conv
from gpunet.layers.layer import Layer, Weights
from gpunet.layers.loss import Loss
from gpunet.layers.softmax import SoftmaxCrossEntropy
from gpunet.net.augment import Augment
from gpunet.net.convert import as_conv, as_fc
from gpunet.net.graph import INPUT, check_graph
from gpunet.net.words import listed, nearest
from gpunet.program.volume import FIT_POLICIES, FitPolicy, Volume
from gpunet.values.given import as_float, number, told

SOFTMAX = SoftmaxCrossEntropy()
"""The loss of a net that does not say."""


@dataclass(frozen=True, slots=True)
class Node:
    """A layer of a net: its name and the names of those whose outputs it takes ("input" is the net's own input).

    `head`  the weight of the loss on its output, where it ends an auxiliary head: a side branch that is there in
            training alone, to bring gradients to early layers (Szegedy et al. 2014)
    `optional`  left out of the net where it does not fit what it takes, or would change nothing of its size
    """

    name: str
    layer: Layer
    inputs: tuple[str, ...]
    head: float | None = None
    optional: bool = False


class Net:
    """Named layers over an input volume; the last layer's output holds the scores.

    `input`   the volume of one image, as a Volume or like "32x32x3"
    `layers`  in order, each a Layer (numbered by its type: conv1, conv2, ...), a pair (name, Layer), or a Node that
              also says what it takes; Layers and pairs take the output of the one before
    `name`    what plans and reports call the net
    `fit`     what a window that does not fit its volume does, where the layer does not say: "error", "pad" or "crop"
    `scale, shift`  a uint8 pixel p enters the net as p*scale + shift; float images enter as they are
    `augment` what is done to uint8 images before, and what training draws anew for each; None: nothing
    `loss`    what training makes small

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
        augment: Augment | None = None,
        loss: Loss = SOFTMAX,
    ) -> None:
        if fit not in FIT_POLICIES:
            raise ConfigError(f"fit must be one of {', '.join(FIT_POLICIES)}; got {told(fit)}")
        if not isinstance(loss, Loss):
            raise ConfigError(f"loss must be a loss like SoftmaxCrossEntropy(); got {told(loss)}")
        if augment is not None and not isinstance(augment, Augment):
            raise ConfigError(f"augment must be an Augment, like Augment(pad=4, flip=True); got {told(augment)}")
        if not isinstance(name, str):
            raise ConfigError(f"name must be a text; got {told(name)}")
        if not isinstance(layers, Iterable) or isinstance(layers, str):
            raise ConfigError(
                f"layers must be a list of layers; got {told(layers)}; gpunet.load reads the arrow notation"
            )
        if not (layers := list(layers)):
            raise ConfigError(f"{name} has no layers; it needs at least one")
        self.input = Volume.parse(input)
        self.name = name
        self.fit = fit
        self.scale = number("scale", scale)
        self.shift = number("shift", shift)
        self.loss = loss
        self.augment = augment
        self.image = self.input if augment is None else augment.image(self.input)
        nodes = [_with_policy(node, fit) for node in _named(layers)]
        check_graph(nodes)
        self.nodes, self.volumes = _placed(nodes, self.input)
        if not self.nodes:
            raise ConfigError(f"{name} has no layers; it needs at least one")
        self._check_heads()

    @property
    def output(self) -> Volume:
        """The volume of the scores."""
        return self.volumes[self.nodes[-1].name]

    @property
    def classes(self) -> int:
        """How many scores an image gets."""
        return self.output.values

    @property
    def heads(self) -> tuple[Node, ...]:
        """The nodes that end auxiliary heads, in order."""
        return tuple(node for node in self.nodes if node.head is not None)

    @cached_property
    def trunk(self) -> tuple[Node, ...]:
        """The nodes that the scores need, in order: all but those of auxiliary heads."""
        return self._needed(self.nodes[-1].name)

    def _needed(self, name: str) -> tuple[Node, ...]:
        """The nodes that the output of one needs, in order; itself is the last."""
        needed = {name}
        for node in reversed(self.nodes):
            if node.name in needed:
                needed.update(node.inputs)
        return tuple(node for node in self.nodes if node.name in needed)

    @property
    def parameters(self) -> int:
        """How many learnt numbers the net has, biases included, auxiliary heads not."""
        return sum(self.layer_parameters(node) for node in self.trunk)

    @property
    def head_parameters(self) -> int:
        """How many learnt numbers its auxiliary heads have beside."""
        return sum(self.layer_parameters(node) for node in self.nodes) - self.parameters

    def scaled(self, width: float = 1.0, input: Volume | str | tuple[int, int, int] | None = None) -> "Net":
        """The same net with `width` times as many filters in every layer but those that make the scores, over `input`.

        Numbers of filters are rounded to what all groups of the net divide; there is always at least that many. A
        depthwise convolution, a group for each map, keeps as many filters for each of them.
        Augmented images then come in the size of the new input.
        Raises ConfigError for a width that is not above 0, ShapeError where a layer does not fit the new input.
        """
        if (times := as_float(width)) is None or not 0 < times <= 1000:
            raise ConfigError(f"the width must be a number above 0, like 0.5; got {told(width)}")
        deep = {node.name for node in self.nodes if _is_depthwise(node.layer, *self.inputs(node))}
        step = lcm(*(getattr(node.layer, "groups", 1) for node in self.nodes if node.name not in deep))
        nodes, made = [], {INPUT: self.input}
        for node in self.nodes:
            given = tuple(made[name] for name in node.inputs)
            if node.name in deep:
                node = _spread(node, self.inputs(node)[0].D, given[0].D)
            elif node.layer.count and node.name not in self.scorers:
                count = getattr(node.layer, node.layer.count)
                node = _counting(node, max(1, round(count * times / step)) * step)
            nodes.append(node)
            made[node.name] = _of_depth(node.layer, given)
        return self.remade(nodes, input)

    def convolutional(self) -> "Net":
        """The same net with its FC layers as CONV layers, which slide over a larger input; names and scores stay."""
        return self._with_layers(as_conv)

    def up_to(self, layer: str) -> "Net":
        """The same net ending in that layer: what it takes to make its output, which the scores are then.

        Raises ConfigError for a layer that there is not.
        """
        if layer not in {node.name for node in self.nodes}:
            there = listed(node.name for node in self.nodes) if len(self.nodes) <= 30 else ""
            near = nearest(str(layer), [node.name for node in self.nodes])
            raise ConfigError(f"{self.name} has no layer {told(layer)}{near or (there and f'; there are {there}')}")
        return self.remade([replace(node, head=None) for node in self._needed(layer)])

    def fully_connected(self) -> "Net":
        """The same net with the CONV layers that see their whole volume as FC layers; names and scores stay."""
        return self._with_layers(as_fc)

    def _with_layers(self, changed: Callable[..., Layer]) -> "Net":
        """The same net with each layer as `changed` makes it of the layer and the volumes that it takes."""
        return self.remade([replace(node, layer=changed(node.layer, *self.inputs(node))) for node in self.nodes])

    def remade(
        self, nodes: Sequence[Node], input: Volume | str | tuple[int, int, int] | None = None, **other: Any
    ) -> "Net":
        """A net of other nodes, perhaps over another input, and with all else as here but for what is said."""
        augment = self.augment if input is None or self.augment is None else replace(self.augment, size=None)
        same = {name: getattr(self, name) for name in ("name", "fit", "scale", "shift", "loss")} | {"augment": augment}
        return Net(self.input if input is None else input, nodes, **(same | other))

    def with_classes(self, classes: int) -> "Net":
        """The same net with other layers for the scores, those of auxiliary heads too: of so many classes.

        Raises ConfigError for a number that is no integer of at least 1, ShapeError where a net with so many filters
        there would not score so many classes.
        """
        if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
            raise ConfigError(f"the number of classes must be an integer of at least 1; got {told(classes)}")
        made = self.remade([_counting(node, classes) if node.name in self.scorers else node for node in self.nodes])
        if made.classes != classes:
            layers = ", ".join(sorted(self.scorers)) or "no layer"
            raise ShapeError(
                f"{self.name} cannot be given {classes:,} classes: {layers} with so many filters would make "
                f"{made.output} of its {self.output} scores; end the net in FC-{classes}"
            )
        return made

    @cached_property
    def scorers(self) -> frozenset[str]:
        """The layers whose filters are the classes: the last ones with filters on each way to scores."""
        ends = {self.nodes[-1].name, *(node.name for node in self.heads)}
        found = set()
        for node in reversed(self.nodes):
            if node.name in ends and node.layer.count:
                found.add(node.name)
            elif node.name in ends:
                ends.update(node.inputs)
        return frozenset(found)

    def entered(self, scale: float | None = None, shift: float | None = None) -> "Net":
        """The same net with another scale or shift of the pixels that enter it."""
        return self.remade(
            self.nodes, scale=self.scale if scale is None else scale, shift=self.shift if shift is None else shift
        )

    def inputs(self, node: Node) -> tuple[Volume, ...]:
        """The volumes that a node takes."""
        return tuple(self.volumes[name] for name in node.inputs)

    def weights(self, node: Node) -> tuple[Weights, ...]:
        """The parameters of a node."""
        return node.layer.weights(*self.inputs(node))

    def layer_parameters(self, node: Node) -> int:
        """How many learnt numbers a node has, biases included."""
        return sum(prod(weights.shape) for weights in self.weights(node) if weights.learnt)

    def mixing(self, frozen: Collection[str] = ()) -> str:
        """The first layer that in training needs all images of a batch together, or "": none but frozen ones does."""
        return next((node.name for node in self.nodes if node.layer.across_images and node.name not in frozen), "")

    def pairing(self, frozen: Collection[str] = ()) -> str:
        """The first layer that in training needs two images or more, or "": one that takes the statistics of a batch
        where each image has a single position."""
        mixing = (node for node in self.nodes if node.layer.across_images and node.name not in frozen)
        return next((node.name for node in mixing if self.volumes[node.name].shape[:2] == (1, 1)), "")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Net):
            return NotImplemented
        return self._value == other._value

    __hash__ = None  # type: ignore[assignment]  # compared by value, never a key

    @property
    def _value(self) -> tuple[object, ...]:
        """What makes a net equal to another; its name does not."""
        return self.input, self.nodes, self.scale, self.shift, self.loss, self.augment

    def __repr__(self) -> str:
        size = f"{len(self.nodes)} layers, {self.parameters:,} parameters"
        return f"<Net {self.name}: {self.input} -> {self.output}, {size}>"

    def _check_heads(self) -> None:
        """Raise ShapeError unless all heads score the same classes as the net."""
        for node in self.heads:
            classes = self.volumes[node.name].values
            if classes != self.classes:
                wrong = ShapeError(
                    f"{node.name}: an auxiliary head needs a score for each of the {self.classes:,} classes of "
                    f"{self.nodes[-1].name}; it has {classes:,}"
                )
                wrong.layer = node.name
                raise wrong


def _depth_first(input: Volume) -> str:
    """A question, where an input looks as if its depth were written first."""
    meant = depth_last(input)
    return f"; did you mean the input {meant}? The depth comes last" if meant else ""


def depth_last(input: Volume) -> Volume | None:
    """The volume that is meant by an input like 3x32x32 or 1x28x28, written depth first; None where it is none."""
    if (input.H == 3 and min(input.W, input.D) >= 8) or (input.H == 1 and input.W == input.D >= 8):
        return Volume(input.W, input.D, input.H)
    return None


def least_images(pairing: str) -> int:
    """The fewest images to train on, where the layer `pairing`, "" for none, needs two."""
    return 2 if pairing else 1


def _named(layers: Sequence[Layer | tuple[str, Layer] | Node]) -> Iterator[Node]:
    """Nodes in order: unnamed layers are numbered by type, those without inputs take the one before."""
    counts: dict[str, int] = {}
    before = INPUT
    for item in layers:
        name, layer = _unpacked(item)
        counts[layer.type] = counts.get(layer.type, 0) + 1
        name = name or f"{layer.type}{counts[layer.type]}"
        node = item if isinstance(item, Node) else Node(name, layer, ())
        yield replace(node, name=name, inputs=node.inputs or (before,))
        before = name


def _placed(nodes: Sequence[Node], input: Volume) -> tuple[tuple[Node, ...], dict[str, Volume]]:
    """The nodes that are there, without optional ones for which there is no room, and the volume of each."""
    volumes, kept, before = {INPUT: input}, list[Node](), dict[str, str]()
    for node in nodes:
        taken = tuple(before.get(name, name) for name in node.inputs)
        given = [volumes[name] for name in taken]
        optional = node.optional and node.head is None
        try:
            volume = node.layer.output(*given)
        except ShapeError as error:
            if not optional:
                wrong = ShapeError(f"{node.name}: {error}{_depth_first(input)}")
                wrong.layer, wrong.input = node.name, error.input
                raise wrong from None
            volume = given[0]
        if optional and volume == given[0]:
            before[node.name] = taken[0]
        else:
            kept.append(replace(node, inputs=taken, optional=False))
            volumes[node.name] = volume
    return tuple(kept), volumes


def _unpacked(item: object) -> tuple[str | None, Layer]:
    """(name or None, layer) of whatever a net's list may hold."""
    match item:
        case Layer():
            return None, item
        case Node(name=str(name), layer=Layer() as layer) | (str(name), Layer() as layer):
            return name, layer
    raise ConfigError(f"{told(item)} is not a layer; a net is made of layers, (name, layer) pairs and nodes")


def _counting(node: Node, count: int) -> Node:
    """The node with so many filters."""
    settings: dict[str, Any] = {str(node.layer.count): count}
    return replace(node, layer=replace(node.layer, **settings))


def _is_depthwise(layer: Layer, *inputs: Volume) -> bool:
    """Whether a convolution has a group for each of several maps."""
    return isinstance(layer, Conv) and layer.groups == inputs[0].D > 1


def _spread(node: Node, maps: int, wanted: int) -> Node:
    """A depthwise convolution of so many maps for as many as are wanted."""
    assert isinstance(node.layer, Conv)
    return replace(node, layer=replace(node.layer, K=node.layer.K // maps * wanted, groups=wanted))


def _of_depth(layer: Layer, given: tuple[Volume, ...]) -> Volume:
    """What a layer makes of volumes; where they do not fit, one as deep as its filters or its first input: a net says
    what is wrong, with the name of the layer."""
    try:
        return layer.output(*given)
    except ShapeError:
        return replace(given[0], D=getattr(layer, str(layer.count), given[0].D))


def _with_policy(node: Node, fit: FitPolicy) -> Node:
    """The node with the net's fit policy where its layer follows that."""
    if any(field.name == "fit" for field in fields(node.layer)) and vars(node.layer)["fit"] is None:
        settings: dict[str, Any] = {"fit": fit}
        return replace(node, layer=replace(node.layer, **settings))
    return node
