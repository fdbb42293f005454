"""A net of Caffe and its arrays as a net here: its layers said one by one, and its ends."""

from pathlib import Path

from gpunet.formats.caffe.entering import depth_guessed, input_of
from gpunet.formats.caffe.layers import say_layer
from gpunet.formats.caffe.message import Message
from gpunet.formats.caffe.saying import Blobs, Saying
from gpunet.formats.caffe.wiring import CaffeLayer, Parameter, Wired, wired
from gpunet.formats.graph import Graph
from gpunet.net.net import Net
from gpunet.program.volume import Volume

WHOLE = {"SoftmaxWithLoss", "MultinomialLogisticLoss"}
"""Losses that are the cross-entropy of a softmax, which is the loss here unless another is said."""


class Told:
    """A net of Caffe, said as far as that can be.

    `graph`   its layers, their arrays, and what cannot be said
    `wired`   the same as it is written there
    `source`  the layer that gives images; None where the net says its input itself
    `learning`  how parameters learn, by their names here
    """

    def __init__(self, path: Path, message: Message, blobs: Blobs, input: Volume | None = None) -> None:
        self.wired = wired(message)
        self.graph = Graph(path, message.one("name", "") or path.stem)
        self.source = next((one for one in self.wired.sources if one.gives[0] == self.wired.input), None)
        maps = _maps(self.wired, blobs)
        self.input = input or input_of(self.source, message, maps)
        self.learning: dict[str, Parameter] = {}
        self._say(Saying(self.graph, self.wired, blobs, self.learning))
        if self.input and not input and self.source and not maps and depth_guessed(self.source):
            self.graph.notes.append(f"images are taken to have {self.input.D} maps, as nothing says how many they have")

    def _say(self, say: Saying) -> None:
        if self.wired.input is not None:
            self.graph.enter(self.wired.input, self.input)
        for name, value in self.wired.strangers:
            self.graph.cannot(name, f"bottom {value!r} is the top of no layer before it")
        self._check_shared()
        for layer in self.wired.layers:
            say_layer(say, layer)
        for loss in self.wired.losses:
            if loss.type not in WHOLE and _weight(loss):
                self.graph.cannot(loss.name, f"type {loss.type} is no loss here; give the net without it as --net")

    def _check_shared(self) -> None:
        """Note parameters that several layers share by a name."""
        owners: dict[str, str] = {}
        for layer in self.wired.layers:
            for parameter in layer.parameters:
                owner = owners.setdefault(parameter.name, layer.name) if parameter.name else layer.name
                if owner != layer.name:
                    told = f"param.name = {parameter.name}: shared with {owner}, as none is here"
                    self.graph.cannot(layer.name, told)

    @property
    def net(self) -> Net:
        """The net here. Raises DataError with all that cannot be said."""
        ends = {loss.takes[0]: _weight(loss) for loss in self.wired.losses if _weight(loss)}
        if not ends:
            return self.graph.net(self.wired.outputs)
        *heads, last = ends
        return self.graph.net([last], {value: ends[value] for value in heads})


def _weight(loss: CaffeLayer) -> float:
    """What a loss weighs."""
    said = loss.said.many("loss_weight")
    return float(said[0]) if said else 1.0


def _maps(net: Wired, blobs: Blobs) -> int:
    """The maps of an image by the filters of the first layer that takes it; 0 where that is not known."""
    for layer in net.layers:
        if layer.type == "Convolution" and layer.takes[:1] == (net.input,) and blobs.get(layer.name):
            shape = blobs[layer.name][0].shape
            return shape[1] * layer.of("convolution").one("group", 1) if len(shape) == 4 else 0
    return 0
