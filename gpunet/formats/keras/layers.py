"""Each class of Keras's layers as layers of gpunet: the table of those that are known. The way back is said.py."""

from gpunet.formats.keras.activations import activated
from gpunet.formats.keras.call import Call, Saying
from gpunet.formats.keras.filters import batch_norm, conv, dense, depthwise, normalization, rescaling, separable
from gpunet.formats.keras.joining import arithmetic, average, concatenate, merge, merged, operation, weighted
from gpunet.formats.keras.settings import number
from gpunet.formats.keras.views import (
    code_of_others,
    flatten,
    left_out,
    nothing,
    permute,
    reshape,
    resizing,
    zero_padding,
)
from gpunet.formats.keras.windows import over_all, pooling
from gpunet.formats.values import FIRST, LAST, Cannot, Making, Value
from gpunet.layers.average_pool import AvgPool, GlobalAvgPool
from gpunet.layers.by_map import PReLU
from gpunet.layers.dropout import Dropout
from gpunet.layers.merge import Maximum
from gpunet.layers.pool import GlobalMaxPool, MaxPool
from gpunet.net.words import nearest


def say(making: Making, call: Call) -> Value:
    """The layer in a net that is being made. Raises Cannot for a class or settings that cannot be said."""
    saying = LAYERS.get(call.kind)
    if saying is None:
        raise Cannot(f"there is no such layer here{nearest(call.kind, LAYERS)}")
    if call.settings.get("dim_ordering") == "th":
        raise Cannot("it has Theano's order of Keras 1; save the model with Keras 2 or later")
    said = call.settings.get("data_format")
    if said is not None and call.kind != "Flatten":
        order, words = (FIRST, "first") if said == "channels_first" else (LAST, "last")
        if any(value.rank == 4 and value.order != order for value in call.values):
            raise Cannot(f"it takes channels {words}, and what comes has them at the other end")
    return saying(making, call)


def _activation(making: Making, call: Call) -> Value:
    return activated(making, call.name, call.value, call.settings["activation"], call.version)


def _unit(making: Making, call: Call) -> Value:
    """A class of its own: ReLU, LeakyReLU, ELU, Softmax."""
    said = {"class_name": call.kind, "config": call.settings}
    return activated(making, call.name, call.value, said, call.version)


def _function(making: Making, call: Call) -> Value:
    """A function of Keras 3 that is an activation."""
    return activated(making, call.name, call.value, call.kind.lower(), call.version)


def _prelu(making: Making, call: Call) -> Value:
    """Slopes by map, or one; Keras has them by position unless axes share them."""
    value, arrays = call.value, call.named("a")
    axes = {int(axis) for axis in call.settings.get("shared_axes") or ()}
    places = {1, 2, 3} - {value.maps_axis}
    if not value.single and not places <= axes:
        raise Cannot(f"it has a slope for each position; slopes are by map here: shared_axes={sorted(places)}")
    shared = value.maps_axis in axes
    arrays = {"a": None if arrays["a"] is None else arrays["a"].reshape(-1)}
    return making.layer(call.name, PReLU(shared), value, arrays=arrays, rank=value.rank)


def _dropout(making: Making, call: Call) -> Value:
    """What goes as a whole follows from the shape of the noise: 1 along an axis that shares it."""
    p = number(call.settings, "rate" if "rate" in call.settings else "p")
    noise = call.settings.get("noise_shape")
    shared = [size == 1 for size in noise[1:]] if noise else []
    if call.value.maps_axis == 1 and call.value.rank == 4:
        shared = [*shared[1:], *shared[:1]]
    kinds = {(): "values", (True, True, False): "maps", (True, True, True): "images", (True,): "images"}
    kind = "maps" if call.kind == "SpatialDropout2D" else kinds.get(tuple(shared) if any(shared) else ())
    if kind is None:
        raise Cannot(f"noise_shape={noise} is neither one of values, nor of maps, nor of images")
    return making.layer(call.name, Dropout(p, of=kind), call.value, rank=call.value.rank)  # type: ignore[arg-type]


LAYERS: dict[str, Saying] = {
    "Activation": _activation,
    "Add": arithmetic("add"),
    "Average": average,
    "AveragePooling2D": pooling(AvgPool),
    "BatchNormalization": batch_norm,
    "Concatenate": concatenate,
    "Conv2D": conv,
    "CustomScaleLayer": weighted,
    "Dense": dense,
    "Divide": arithmetic("divide"),
    "DepthwiseConv2D": depthwise,
    "Dropout": _dropout,
    "Flatten": flatten,
    "GlobalAveragePooling2D": over_all(GlobalAvgPool()),
    "GlobalMaxPooling2D": over_all(GlobalMaxPool()),
    "Lambda": code_of_others,
    "MaxPooling2D": pooling(MaxPool),
    "Maximum": merge(Maximum()),
    "Merge": merged,
    "Multiply": arithmetic("multiply"),
    "Normalization": normalization,
    "PReLU": _prelu,
    "Permute": permute,
    "Rescaling": rescaling,
    "Reshape": reshape,
    "Resizing": resizing,
    "SeparableConv2D": separable,
    "SpatialDropout2D": _dropout,
    "Subtract": arithmetic("subtract"),
    "TFOpLambda": operation,
    "ZeroPadding2D": zero_padding,
    **dict.fromkeys(("Relu", "Relu6", "Sigmoid", "Tanh", "Silu", "Softplus"), _function),
    **dict.fromkeys(("ReLU", "LeakyReLU", "ELU", "Softmax"), _unit),
    **dict.fromkeys(("Identity", "ActivityRegularization"), nothing),
}
"""By class, what says it."""

ALSO = {
    "AvgPool2D": "AveragePooling2D",
    "BatchNormalizationV1": "BatchNormalization",
    "Convolution2D": "Conv2D",
    "GlobalAvgPool2D": "GlobalAveragePooling2D",
    "GlobalMaxPool2D": "GlobalMaxPooling2D",
    "MaxPool2D": "MaxPooling2D",
    "SeparableConvolution2D": "SeparableConv2D",
    "SyncBatchNormalization": "BatchNormalization",
}
"""Names that classes had, or have beside."""

TRAINING = "GaussianNoise GaussianDropout AlphaDropout RandomFlip RandomRotation RandomZoom RandomTranslation"
TRAINING += " RandomContrast RandomBrightness RandomCrop RandomHeight RandomWidth"

LAYERS |= {name: LAYERS[kind] for name, kind in ALSO.items()}
LAYERS |= dict.fromkeys(TRAINING.split(), left_out)
