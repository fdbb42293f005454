"""How each layer of Caffe is said here: filters, pools, norms, and where branches part and meet.

Source: the layers of BVLC's Caffe. What cannot be said is noted, with its field, and the next layer read.
"""

from collections.abc import Sequence

import numpy as np

from gpunet.formats.caffe.saying import Saying, plain_scale
from gpunet.formats.caffe.units import UNITS, Say
from gpunet.formats.caffe.wiring import CaffeLayer
from gpunet.layers.average_pool import AvgPool, GlobalAvgPool
from gpunet.layers.batch_norm import BatchNorm
from gpunet.layers.by_map import Scale
from gpunet.layers.conv import Conv
from gpunet.layers.fc import FC
from gpunet.layers.lrn import LRN
from gpunet.layers.maps import Slice
from gpunet.layers.merge import Add, Concat, Maximum, Multiply
from gpunet.layers.pool import GlobalMaxPool, MaxPool

VALUE_BY_VALUE = {
    *("InnerProduct", "ReLU", "ReLU6", "ELU", "Sigmoid", "TanH", "BNLL", "Swish", "Clip", "Power", "Dropout"),
    *("Softmax", "Flatten", "Reshape", "Split"),
}
"""Layers to which it is all the same whether a volume was flattened."""

WEIGHTS = ("w", "b")
"""The parameters of a layer with filters, in Caffe's order."""

DEPTHWISE = ("DepthwiseConvolution", "ConvolutionDepthwise")
"""What others than BVLC call a convolution with a group for each filter."""


def say_layer(say: Saying, layer: CaffeLayer) -> None:
    """Put a layer into the graph, or note what of it cannot be said."""
    say.wrong.clear()
    known = LAYERS.get(layer.type)
    if known is None:
        say.wrong.append(f"type {layer.type or '(none)'} is no layer here")
    elif not layer.takes or not layer.gives:
        say.wrong.append(f"type {layer.type}: it has no {'top' if layer.takes else 'bottom'}")
    else:
        if layer.type not in VALUE_BY_VALUE and any(value in say.flat for value in layer.takes):
            say.wrong.append(f"type {layer.type}: it takes what was flattened, and volumes keep their shape here")
        if any(value in say.wired.labels for value in layer.takes):
            say.wrong.append(f"type {layer.type}: it takes labels, or other data, which losses alone do here")
        say.wrong += [f"line {line}, {name} is no field that Caffe has" for name, line in layer.said.all_strange()]
        known(say, layer)
    place = f"line {layer.line}, {layer.name}" if layer.line else layer.name
    for what in say.wrong:
        say.graph.cannot(place, what)


def convolution(say: Saying, layer: CaffeLayer) -> None:
    told = say.fields(layer, "convolution")
    told.only("axis", 1)
    K = told.one("num_output", 0)
    made = say.made(
        Conv,
        K=K,
        F=told.sizes("kernel_size", "kernel", None),
        S=told.sizes("stride", "stride", 1),
        P=told.sizes("pad", "pad", 0),
        dilation=told.sizes("dilation", "dilation", 1),
        groups=K if layer.type in DEPTHWISE else told.one("group", 1),
        bias=(bias := told.one("bias_term", True)),
        fit="crop",
    )
    if made:
        say.add(layer, made, _weights(say, layer, bias=bias), learns=(layer, WEIGHTS if bias else WEIGHTS[:1]))


def inner_product(say: Saying, layer: CaffeLayer) -> None:
    told = say.fields(layer, "inner_product")
    told.only("axis", 1)
    bias = told.one("bias_term", True)
    arrays = _weights(say, layer, bias=bias)
    if "w" in arrays:
        w = arrays["w"].reshape(arrays["w"].shape[-2:]) if set(arrays["w"].shape[:-2]) <= {1} else arrays["w"]
        arrays["w"] = w.T if told.one("transpose", False) else w
    if made := say.made(FC, K=told.one("num_output", 0), bias=bias):
        say.add(layer, made, arrays, learns=(layer, WEIGHTS if bias else WEIGHTS[:1]))


def _weights(say: Saying, layer: CaffeLayer, *, bias: bool) -> dict[str, np.ndarray]:
    """The filters and the bias of a layer."""
    arrays = say.arrays(layer, *(WEIGHTS if bias else WEIGHTS[:1]))
    return arrays | {name: values.reshape(-1) for name, values in arrays.items() if name == "b"}


def pooling(say: Saying, layer: CaffeLayer) -> None:
    told = say.fields(layer, "pooling")
    method = told.only("pool", "MAX", ["AVE"], "it draws what it takes, which no pool does here")
    if told.one("global_pooling", False):
        say.add(layer, GlobalAvgPool() if method == "AVE" else GlobalMaxPool())
        return
    F, S, P = (
        told.sizes(*name, default)
        for name, default in ((("kernel_size", "kernel"), None), (("stride", "stride"), 1), (("pad", "pad"), 0))
    )
    up = told.one("round_mode", "CEIL") == "CEIL"
    counts = {"counts": "padding"} if method == "AVE" and any(P) else {}
    made = say.made(AvgPool if method == "AVE" else MaxPool, F=F, S=S, P=P, fit="pad" if up else "crop", **counts)
    if made is None:
        return
    say.add(layer, made)
    given, volume = say.volume(layer.takes[0]), say.volume(layer.gives[0])
    if given and volume:
        theirs = tuple(_pooled(*axis, up=up) for axis in zip(given.shape[:2], F, S, P, strict=True))
        if theirs != volume.shape[:2]:
            sizes = f"{theirs[0]}x{theirs[1]} there and {volume.H}x{volume.W} here"
            say.wrong.append(f"pooling_param: a window lies beyond the edge: {sizes}")


def _pooled(size: int, F: int, S: int, P: int, *, up: bool) -> int:
    """How many windows Caffe has along an axis."""
    room = size + 2 * P - F
    count = (-(-room // S) if up else room // S) + 1
    return count - 1 if P and (count - 1) * S >= size + P else count


def lrn(say: Saying, layer: CaffeLayer) -> None:
    """Their alpha is shared among the neighbours; within a map k is 1, whatever is said."""
    told = say.fields(layer, "lrn")
    n, alpha, beta = told.one("local_size", 5), told.one("alpha", 1.0), told.one("beta", 0.75)
    within = told.one("norm_region", "ACROSS_CHANNELS") == "WITHIN_CHANNEL"
    shared = alpha / max(1, n * n if within else n)
    k = 1.0 if within else told.one("k", 1.0)
    if made := say.made(LRN, n=n, alpha=shared, beta=beta, k=k, over="map" if within else "maps"):
        say.add(layer, made)


def batch_norm(say: Saying, layer: CaffeLayer) -> None:
    """With the Scale behind it, where there is one: three arrays, mean and variance times a factor, and that."""
    told = say.fields(layer, "batch_norm")
    scale = say.scales.get(layer.gives[0])
    momentum = round(1 - told.one("moving_average_fraction", 0.999), 9)
    made = say.made(BatchNorm, eps=told.one("eps", 1e-5), momentum=momentum, affine=scale is not None)
    arrays = {name: values.reshape(-1) for name, values in say.arrays(layer, "mean", "variance", "factor").items()}
    factor = arrays.pop("factor", None)
    if factor is not None and len(factor) == 1:
        times = np.float32(0 if factor[0] == 0 else 1 / factor[0])
        arrays = {name: values * times for name, values in arrays.items()}
    if "mean" in arrays:
        arrays = {"scale": np.ones_like(arrays["mean"]), "shift": np.zeros_like(arrays["mean"])} | arrays
        arrays |= _scaled(say, scale) if scale else {}
    if made:
        gives = scale.gives[0] if scale and scale.gives else ""
        say.add(layer, made, arrays, gives=gives, learns=(scale, _scaling(scale) if scale else ()))


def _scaling(scale: CaffeLayer) -> Sequence[str]:
    """The parameters of a Scale."""
    return ("scale", "shift") if scale.of("scale").one("bias_term", False) else ("scale",)


def _scaled(say: Saying, scale: CaffeLayer) -> dict[str, np.ndarray]:
    return {name: values.reshape(-1) for name, values in say.arrays(scale, *_scaling(scale)).items()}


def scale(say: Saying, layer: CaffeLayer) -> None:
    """A number for each map, learnt or another layer's; that behind a norm is said with it."""
    if layer in say.joined:
        return
    told = say.fields(layer, "scale")
    bias = told.one("bias_term", False)
    if len(layer.takes) == 1:
        if not plain_scale(layer):
            told.only("axis", 1)
            told.only("num_axes", 1)
        say.add(layer, Scale(bias), _scaled(say, layer), learns=(layer, _scaling(layer)))
        return
    gate = say.volume(layer.takes[1])
    if told.one("axis", 1) != 0:
        told.refuse("axis", f"{told.one('axis', 1)}: a second bottom is a number for each map, axis 0")
    if bias:
        told.refuse("bias_term", "true: what another layer makes has no shift here")
    if gate and (gate.H, gate.W) != (1, 1):
        say.wrong.append(f"type Scale: the second bottom is {gate}, and one number for each map is wanted")
    say.add(layer, Multiply())


def eltwise(say: Saying, layer: CaffeLayer) -> None:
    told = say.fields(layer, "eltwise")
    operation, factors = told.one("operation", "SUM"), tuple(told.many("coeff"))
    if factors and operation != "SUM":
        told.refuse("coeff", f"{list(factors)}: coefficients are those of a sum")
    if factors and len(factors) != len(layer.takes):
        told.refuse("coeff", f"{list(factors)}: there are {len(layer.takes)} bottoms")
    plain = set(factors) <= {1.0}
    made = {"PROD": Multiply, "MAX": Maximum}.get(operation)
    say.add(layer, made() if made else Add() if plain else Add(factors))


def concat(say: Saying, layer: CaffeLayer) -> None:
    told = say.fields(layer, "concat")
    told.only("axis", 1, [-3])
    told.only("concat_dim", 1)
    if len(layer.takes) == 1:
        say.same(layer)
    else:
        say.add(layer, Concat())


def slices(say: Saying, layer: CaffeLayer) -> None:
    """A slice for each of what it gives: up to the points that are said, or all alike."""
    told = say.fields(layer, "slice")
    told.only("axis", 1, [-3])
    told.only("slice_dim", 1)
    points, count, volume = told.many("slice_point"), len(layer.gives), say.volume(layer.takes[0])
    if count == 1:
        say.same(layer)
        return
    if not points and volume and volume.D % count == 0:
        points = [number * volume.D // count for number in range(1, count)]
    if len(points) != count - 1:
        of = f"{volume.D} maps" if volume else "maps"
        told.refuse("slice_point", f"{points}: {of} are to be cut into {count}")
        return
    ends = [0, *points, None]
    for number, (value, name) in enumerate(zip(layer.gives, layer.said.many("top"), strict=True)):
        if made := say.made(Slice, first=ends[number], last=ends[number + 1]):
            say.add(layer, made, name=name, gives=value)


LAYERS: dict[str, Say] = {
    **UNITS,
    "Convolution": convolution,
    **dict.fromkeys(DEPTHWISE, convolution),
    "InnerProduct": inner_product,
    "Pooling": pooling,
    "LRN": lrn,
    "BatchNorm": batch_norm,
    "Scale": scale,
    "Eltwise": eltwise,
    "Concat": concat,
    "Slice": slices,
}
"""How each type is said."""
