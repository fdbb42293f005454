"""The layers of a net of Caffe that a phase has, today's and those of the first version alike, and how they are wired.

A layer may give what it takes: it writes over it, and later readers see what it wrote. So values are called here by
who gives them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gpunet.formats.caffe.message import Message
from gpunet.formats.caffe.schema import today

Phase = Literal["TRAIN", "TEST"]

SOURCES = ("Input", "Data", "ImageData", "HDF5Data", "MemoryData", "DummyData", "WindowData", "Python")
"""Layers that take nothing and give images, and labels behind them."""
LOSSES = {
    "SoftmaxWithLoss",
    "EuclideanLoss",
    "HingeLoss",
    "SigmoidCrossEntropyLoss",
    "MultinomialLogisticLoss",
    "InfogainLoss",
    "ContrastiveLoss",
}
IGNORED = {"Accuracy", "Silence", "HDF5Output", "ArgMax"}
"""Layers that no score needs."""


@dataclass(frozen=True)
class Parameter:
    """How a parameter learns: factors of the rate and of weight decay, and a name where it is shared."""

    rate: float = 1.0
    decay: float = 1.0
    name: str = ""


@dataclass(frozen=True, eq=False)
class CaffeLayer:
    """A layer as it is written, equal to itself alone.

    `type`   today's, like "InnerProduct"
    `takes, gives`  values
    `said`   its message, for what is particular to its type
    """

    name: str
    type: str
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    said: Message
    parameters: tuple[Parameter, ...] = ()

    def of(self, parameter: str) -> Message:
        """What is particular to a type, like "convolution" of convolution_param."""
        return self.said.within(f"{parameter}_param")

    @property
    def is_source(self) -> bool:
        """Whether it takes nothing, and gives images, labels or other data."""
        return bool(self.gives) and not self.takes

    @property
    def line(self) -> int:
        return self.said.line

    def parameter(self, number: int) -> Parameter:
        """How a parameter learns; as all do where nothing is said of it."""
        return self.parameters[number] if number < len(self.parameters) else Parameter()


@dataclass(frozen=True)
class Wired:
    """A net of Caffe in one phase.

    `input`      the value that is the image; None where nothing gives one
    `labels`     values that are labels, or whatever else is given behind the image
    `sources`    the layers that give them
    `layers`     the others, in order, but for those that no score needs
    `losses`     the layers that training makes small
    `outputs`    values that no layer takes, losses aside
    `strangers`  of layers that take a value that no layer before gives: the layer and the value
    """

    input: str | None
    labels: frozenset[str]
    sources: tuple[CaffeLayer, ...]
    layers: tuple[CaffeLayer, ...]
    losses: tuple[CaffeLayer, ...]
    outputs: tuple[str, ...]
    strangers: tuple[tuple[str, str], ...]

    def counts(self) -> Counter[str]:
        """How often each value is taken."""
        return Counter(value for layer in self.layers for value in layer.takes)


def messages(net: Message) -> list[Message]:
    """The layers of a net, whichever version it is of."""
    return [*net.many("layers"), *net.many("layer")]


def type_of(layer: Message) -> str:
    """Today's type of a layer."""
    said = layer.one("type", "")
    return today(said) if layer.kind == "V1LayerParameter" else said


def wired(net: Message) -> Wired:
    """The layers of a net that are there in its phase: that which it says, else TRAIN where it has data to train on."""
    phase, state = _phase(net), net.within("state")
    kept = [layer for layer in messages(net) if _is_there(layer, phase, state)]
    named = list(dict.fromkeys(net.many("input") or _unsaid_input(kept)))
    latest = {name: f"{name} of the net" for name in named}
    before = list(latest.values())
    made, strangers = _linked(kept, latest)
    sources = [layer for layer in made if layer.is_source]
    given = [*before, *(value for layer in sources for value in layer.gives)]
    losses = [layer for layer in made if layer.type in LOSSES and layer.takes]
    others = [layer for layer in made if layer.type not in LOSSES | IGNORED and not layer.is_source]
    ends = {*latest.values()} - {value for layer in others for value in layer.takes}
    return Wired(
        given[0] if given else None,
        frozenset(given[1:]),
        tuple(sources),
        tuple(others),
        tuple(losses),
        tuple(value for layer in others for value in layer.gives if value in ends),
        tuple(strangers),
    )


def _linked(kept: Sequence[Message], latest: dict[str, str]) -> tuple[list[CaffeLayer], list[tuple[str, str]]]:
    """The layers with the values that they take and give, and those that take what none before gives.

    `latest`  the value that goes by a name, as the layers come; those of the net's inputs at first
    """
    made, strangers = [], []
    for number, message in enumerate(kept):
        tops, bottoms = message.many("top"), message.many("bottom")
        name = message.one("name", "") or (tops or ["layer"])[0]
        strangers += [(name, bottom) for bottom in bottoms if bottom not in latest]
        takes = tuple(latest.get(bottom, f"{bottom} of nobody") for bottom in bottoms)
        gives = tuple(f"{top} of {number}" for top in tops)
        latest |= dict(zip(tops, gives, strict=True))
        made.append(CaffeLayer(name, type_of(message), takes, gives, message, _parameters(message)))
    return made, strangers


def _unsaid_input(layers: Sequence[Message]) -> list[str]:
    """What the first layer takes, where no layer gives images: it was fed by hand."""
    if not layers or any(not layer.many("bottom") for layer in layers):
        return []
    return list(layers[0].many("bottom")[:1])


def _phase(net: Message) -> Phase:
    said = net.within("state").one("phase", "")
    if said in ("TRAIN", "TEST"):
        return "TRAIN" if said == "TRAIN" else "TEST"
    trains = any(type_of(layer) in LOSSES or _has_data(layer) for layer in messages(net))
    return "TRAIN" if trains else "TEST"


def _has_data(layer: Message) -> bool:
    return type_of(layer) in SOURCES[1:] and not layer.many("bottom")


def _is_there(layer: Message, phase: Phase, state: Message) -> bool:
    """Whether a layer's rules let it be there: one of those to include it, or none of those to leave it out."""
    if layer.many("include"):
        return any(_meets(rule, phase, state) for rule in layer.many("include"))
    if "phase" in layer and layer.one("phase", "") not in (phase, ""):
        return False
    return not any(_meets(rule, phase, state) for rule in layer.many("exclude"))


def _meets(rule: Message, phase: Phase, state: Message) -> bool:
    level, stages = state.one("level", 0), {*state.many("stage")}
    return (
        rule.one("phase", phase) == phase
        and rule.one("min_level", level) <= level <= rule.one("max_level", level)
        and {*rule.many("stage")} <= stages
        and not {*rule.many("not_stage")} & stages
    )


def _parameters(layer: Message) -> tuple[Parameter, ...]:
    """How each parameter of a layer learns, and whether it is shared."""
    if layer.kind == "LayerParameter":
        said: Sequence[Any] = layer.many("param")
        return tuple(
            Parameter(one.one("lr_mult", 1.0), one.one("decay_mult", 1.0), one.one("name", "")) for one in said
        )
    rates, decays, names = layer.many("blobs_lr"), layer.many("weight_decay"), layer.many("param")
    count = max(len(rates), len(decays), len(names))
    padded = [[*values, *[default] * count] for values, default in ((rates, 1.0), (decays, 1.0), (names, ""))]
    return tuple(Parameter(*values) for values in zip(*padded, strict=False))[:count]
