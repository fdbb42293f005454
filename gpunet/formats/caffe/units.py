"""Layers of Caffe that treat every value by itself, and those that only change how values are seen."""

from collections.abc import Callable

from gpunet.formats.caffe.saying import Saying
from gpunet.formats.caffe.wiring import CaffeLayer
from gpunet.layers.by_map import PReLU
from gpunet.layers.dropout import Dropout
from gpunet.layers.leaky_relu import LeakyReLU
from gpunet.layers.relu import ReLU
from gpunet.layers.squash import Sigmoid, Tanh
from gpunet.layers.units import ELU, Clip, ReLU6, SiLU, Softplus

Say = Callable[[Saying, CaffeLayer], None]


def relu(say: Saying, layer: CaffeLayer) -> None:
    slope = say.fields(layer, "relu").one("negative_slope", 0.0)
    made = say.made(LeakyReLU, alpha=slope) if slope else ReLU()
    if made is None:
        say.wrong[-1] = f"relu_param.negative_slope = {slope:g}: {say.wrong[-1]}"
    else:
        say.add(layer, made)


def prelu(say: Saying, layer: CaffeLayer) -> None:
    told = say.fields(layer, "prelu")
    filler = layer.of("prelu").within("filler")
    start = filler.one("value", 0.0) if filler.one("type", "constant") == "constant" and "value" in filler else 0.25
    arrays = {name: values.reshape(-1) for name, values in say.arrays(layer, "a").items()}
    say.add(layer, PReLU(told.one("channel_shared", False), start), arrays, learns=(layer, ("a",)))


def elu(say: Saying, layer: CaffeLayer) -> None:
    if made := say.made(ELU, alpha=say.fields(layer, "elu").one("alpha", 1.0)):
        say.add(layer, made)


def swish(say: Saying, layer: CaffeLayer) -> None:
    say.fields(layer, "swish").only("beta", 1.0)
    say.add(layer, SiLU())


def clip(say: Saying, layer: CaffeLayer) -> None:
    told = say.fields(layer, "clip")
    low, high = told.one("min", 0.0), told.one("max", 0.0)
    made = ReLU6() if (low, high) == (0, 6) else say.made(Clip, low=low, high=high)
    if made:
        say.add(layer, made)


def power(say: Saying, layer: CaffeLayer) -> None:
    told = say.fields(layer, "power")
    for field, default in (("power", 1.0), ("scale", 1.0), ("shift", 0.0)):
        told.only(field, default, why="there is no such function here")
    say.same(layer)


def dropout(say: Saying, layer: CaffeLayer) -> None:
    told = say.fields(layer, "dropout")
    told.only("scale_train", True, why="values are scaled in training here")
    if made := say.made(Dropout, p=told.one("dropout_ratio", 0.5)):
        say.add(layer, made)


def softmax(say: Saying, layer: CaffeLayer) -> None:
    """It belongs to the loss here: the scores come before it, and what comes out is in the same order."""
    say.fields(layer, "softmax").only("axis", 1)
    if any(say.counts[value] for value in layer.gives):
        say.wrong.append("type Softmax: other layers take it, and softmax is in the loss here, behind all layers")
    say.graph.notes.append(f"scores come before the softmax {layer.name}, which is in the loss here")
    say.same(layer)


def flatten(say: Saying, layer: CaffeLayer) -> None:
    """Nothing need be flattened here; who takes it must not see rows and columns."""
    told = say.fields(layer, "flatten")
    told.only("axis", 1)
    told.only("end_axis", -1, [3])
    _flattened(say, layer)


def reshape(say: Saying, layer: CaffeLayer) -> None:
    """One that flattens, or changes nothing."""
    told = say.fields(layer, "reshape")
    told.only("axis", 0)
    told.only("num_axes", -1)
    dims = layer.of("reshape").within("shape").many("dim")
    volume = say.volume(layer.takes[0])
    D = volume.D if volume else 0
    if dims == [0, 0, 0, 0] or (volume and dims in ([0, D, volume.H, volume.W], [0, 0, volume.H, volume.W])):
        say.same(layer)
    elif len(dims) in (2, 4) and dims[0] == 0 and dims[2:] in ([], [1, 1]):
        if dims[1] not in (-1, 0, volume.values if volume else dims[1]):
            told.refuse("shape", f"{dims}: it takes {volume.values if volume else 'other'} values")
        _flattened(say, layer)
    else:
        told.refuse("shape", f"{dims}: here volumes keep their shape, or are flattened: [0, -1]")


def _flattened(say: Saying, layer: CaffeLayer) -> None:
    say.same(layer)
    volume = say.volume(layer.takes[0])
    if volume is None or volume.H * volume.W > 1:
        say.flat.update(layer.gives)


def split(say: Saying, layer: CaffeLayer) -> None:
    say.same(layer)


UNITS: dict[str, Say] = {
    "ReLU": relu,
    "ReLU6": lambda say, layer: say.add(layer, ReLU6()),
    "PReLU": prelu,
    "ELU": elu,
    "Sigmoid": lambda say, layer: say.add(layer, Sigmoid()),
    "TanH": lambda say, layer: say.add(layer, Tanh()),
    "BNLL": lambda say, layer: say.add(layer, Softplus()),
    "Swish": swish,
    "Clip": clip,
    "Power": power,
    "Dropout": dropout,
    "Softmax": softmax,
    "Flatten": flatten,
    "Reshape": reshape,
    "Split": split,
}
"""How each type is said."""
