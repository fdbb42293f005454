"""Each class of modules of Torch7's nn, and cuDNN's twins of them, as layers of gpunet."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gpunet.formats.torch7.filters import adaptive, adaptive_max, batch_norm, conv, linear, lrn, pool
from gpunet.formats.torch7.objects import Module, items
from gpunet.formats.torch7.settings import array, number, whole
from gpunet.formats.values import Cannot, around
from gpunet.layers.average_pool import AvgPool
from gpunet.layers.by_map import PReLU
from gpunet.layers.dropout import Dropout
from gpunet.layers.layer import Layer
from gpunet.layers.leaky_relu import LeakyReLU
from gpunet.layers.merge import Add, Concat, Maximum, Multiply
from gpunet.layers.pool import MaxPool
from gpunet.layers.relu import ReLU
from gpunet.layers.squash import Sigmoid, Tanh
from gpunet.layers.units import ELU, Clip, ReLU6, Softplus

if TYPE_CHECKING:
    from gpunet.formats.torch7.sayer import Sayer, Saying, Values

# -- where values meet


def _merge(layer: Layer) -> "Saying":
    def saying(sayer: "Sayer", module: Module, values: "Values") -> "Values":
        return values if len(values) == 1 else sayer.layer(layer, *values, rank=max(value.rank for value in values))

    return saying


def _join(sayer: "Sayer", module: Module, values: "Values") -> "Values":
    """Along the maps, which are the first axis of an image, the second of a batch."""
    if whole(module.said, "dimension") not in (1, 2):
        raise Cannot(f"dimension={module.said['dimension']}: volumes are joined along their maps here")
    if any(value.rank == 2 and not value.single for value in values):
        raise Cannot("it puts flattened volumes behind one another, and volumes are joined along their maps here")
    return _merge(Concat())(sayer, module, values)


def _select(sayer: "Sayer", module: Module, values: "Values") -> "Values":
    index = whole(module.said, "index")
    if not 0 < index <= len(values):
        raise Cannot(f"index={index} of {len(values)} values")
    return (values[index - 1],)


# -- units


def _unit(layer: Layer) -> "Saying":
    return lambda sayer, module, values: _elementwise(sayer, layer, values)


def _elementwise(sayer: "Sayer", layer: Layer, values: "Values") -> "Values":
    (value,) = values
    return sayer.layer(layer, value, rank=value.rank)


def _told(make: Callable[[Any], Layer]) -> "Saying":
    """A unit with settings."""
    return lambda sayer, module, values: _elementwise(sayer, make(module.said), values)


def _threshold(said: Any) -> Layer:
    if number(said, "threshold", 0.0) or number(said, "val", 0.0):
        raise Cannot("a threshold other than 0 is not there")
    return ReLU()


def _softplus(said: Any) -> Layer:
    if number(said, "beta", 1.0) != 1:
        raise Cannot(f"beta={said['beta']}: it is 1 here")
    return Softplus()


def _prelu(sayer: "Sayer", module: Module, values: "Values") -> "Values":
    (value,) = values
    sayer.once(module)
    shared = whole(module.said, "nOutputPlane", 0, least=0) == 0
    return sayer.layer(PReLU(shared), value, rank=value.rank, a=array(module.said, "weight"))


def _dropout(sayer: "Sayer", module: Module, values: "Values") -> "Values":
    """What is left is scaled in training, or, as the old ones and SpatialDropout have it, all when it is used."""
    said, (value,) = module.said, values
    p, maps = number(said, "p", 0.5), module.kind.endswith("SpatialDropout")
    made = sayer.layer(Dropout(p, of="maps" if maps else "values"), value, rank=value.rank)
    return sayer.scaled(made[0], 1 - p) if maps or said.get("v2") is False else made


def _softmax(sayer: "Sayer", module: Module, values: "Values") -> "Values":
    (value,) = values
    return (replace(value, softmax=True),)


def _constant(name: str) -> "Saying":
    def saying(sayer: "Sayer", module: Module, values: "Values") -> "Values":
        (value,), constant = values, number(module.said, "constant_scalar")
        return sayer.scaled(value, *((constant,) if name == "times" else (1.0, constant)))

    return saying


# -- what only changes how others look at it


def _nothing(sayer: "Sayer", module: Module, values: "Values") -> "Values":
    return values


def _view(sayer: "Sayer", module: Module, values: "Values") -> "Values":
    """A vector of a volume, or the volume that it is; the axis of the images may be said, too, as -1 or 1."""
    (value,), said = values, module.said.get("size")
    listed = said if isinstance(said, np.ndarray) else np.array(items(said))
    wanted: list[int] = np.ravel(listed).astype(np.int64).tolist()
    H, W, D = value.volume.shape
    sizes = [value.volume.values] if value.rank == 2 else [D, H, W]
    for rest in (wanted, wanted[1:]):
        if rest == [D, H, W]:
            return (replace(value, rank=4),)
        if len(rest) == 1 and rest[0] in (-1, value.volume.values):
            return (replace(value, rank=2),)
    raise Cannot(f"size {'x'.join(map(str, wanted))} is another volume than {'x'.join(map(str, sizes))}")


def _zeros(sayer: "Sayer", module: Module, values: "Values") -> "Values":
    (value,) = values
    top, bottom, left, right = (whole(module.said, f"pad_{side}", 0, 0) for side in "tblr")
    return (replace(value, zeros=around(value, (top, bottom, left, right))),)


MODULES: "dict[str, Saying]" = {
    "AddConstant": _constant("plus"),
    "BatchNormalization": batch_norm,
    "CAddTable": _merge(Add()),
    "CMaxTable": _merge(Maximum()),
    "CMulTable": _merge(Multiply()),
    "CSubTable": _merge(Add((1.0, -1.0))),
    "Dropout": _dropout,
    "ELU": _told(lambda said: ELU(number(said, "alpha", 1.0))),
    "HardTanh": _told(lambda said: Clip(number(said, "min_val", -1.0), number(said, "max_val", 1.0))),
    "JoinTable": _join,
    "LeakyReLU": _told(lambda said: LeakyReLU(number(said, "negval", 0.01))),
    "Linear": linear,
    "MulConstant": _constant("times"),
    "PReLU": _prelu,
    "ReLU": _told(_threshold),
    "ReLU6": _unit(ReLU6()),
    "SelectTable": _select,
    "Sigmoid": _unit(Sigmoid()),
    "SoftPlus": _told(_softplus),
    "SpatialAdaptiveAveragePooling": adaptive,
    "SpatialAdaptiveMaxPooling": adaptive_max,
    "SpatialAveragePooling": pool(AvgPool),
    "SpatialBatchNormalization": batch_norm,
    "SpatialCrossMapLRN": lrn,
    "SpatialDropout": _dropout,
    "SpatialMaxPooling": pool(MaxPool),
    "SpatialZeroPadding": _zeros,
    "Tanh": _unit(Tanh()),
    "Threshold": _told(_threshold),
    **dict.fromkeys(("Reshape", "View"), _view),
    **dict.fromkeys(("LogSoftMax", "SoftMax", "SpatialLogSoftMax", "SpatialSoftMax"), _softmax),
    **dict.fromkeys(("SpatialConvolution", "SpatialConvolutionMM", "SpatialDilatedConvolution"), conv),
    **dict.fromkeys(("Contiguous", "Copy", "FlattenTable", "Identity"), _nothing),
}
"""By class, what says it."""
