"""What .weights.h5 calls the parameters of a net: by the class of their layer and how many of it came before.

That is all that such a file says; so the layers of a net are counted by the class that each would be in Keras, in the
order in which it counts those of a functional model.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from gpunet.errors import ConfigError
from gpunet.formats.keras.steps import Steps
from gpunet.formats.match import places
from gpunet.layers.batch_norm import BatchNorm
from gpunet.layers.by_map import PReLU
from gpunet.layers.conv import Conv
from gpunet.layers.fc import FC
from gpunet.net.net import Net, Node

ARRAYS = {
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "conv2d": ("kernel", "bias"),
    "dense": ("kernel", "bias"),
    "depthwise_conv2d": ("depthwise_kernel", "bias"),
    "p_re_lu": ("alpha",),
    "separable_conv2d": ("depthwise_kernel", "pointwise_kernel", "bias"),
}
"""The arrays of a layer by its class, in their order."""

KERNELS = ("filter", "filters", "weights")
"""What else a kernel is called."""

PARAMETERS = {
    "w": "kernel",
    "b": "bias",
    "scale": "gamma",
    "shift": "beta",
    "mean": "moving_mean",
    "variance": "moving_variance",
    "a": "alpha",
}
"""What Keras calls the parameters of a layer."""


def ours(kind: str, arrays: Sequence[np.ndarray]) -> list[tuple[str, np.ndarray]]:
    """The arrays of a layer of that class with their names; those that are not known by number.

    A model of its author's own class calls layers as it likes: then axes tell.
    """
    axes = [values.ndim for values in arrays]
    norm, plain = ARRAYS["batch_normalization"], ARRAYS["dense"]
    like = norm if axes == [1] * len(norm) else plain if axes in ([2], [2, 1], [4], [4, 1]) else ()
    known = ARRAYS.get(kind, like)
    if kind == "batch_normalization" and len(arrays) != len(norm):
        known = ()  # without center or scale, and which of them it does not say
    names = [*known, *map(str, range(len(known), len(arrays)))]
    return list(zip(names, arrays, strict=False))


def tidy(layer: str, arrays: Sequence[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
    """Arrays of a layer as others have them: a separable convolution as two, slopes in a row."""
    for name, values in arrays:
        if name in ("depthwise_kernel", "depthwise_filter"):
            separable = any(other.startswith("pointwise") for other, _ in arrays)
            yield f"{layer}{'_depthwise' * separable}.kernel", values
        elif name == "alpha":
            yield f"{layer}.alpha", values.reshape(-1)
        else:
            last = re.sub("^pointwise_", "", name)
            yield f"{layer}.{'kernel' if last in KERNELS else last}", values


def class_counts(net: Net) -> dict[str, str]:
    """What .weights.h5 calls each layer that has parameters: conv2d_1. Those that Keras lacks keep their names."""
    counts: Counter[str] = Counter()
    names = {}
    for layer, kind in _kinds(net):
        names[layer] = numbered(kind, counts[kind]) if kind else layer
        counts[kind] += 1
    return names


def _kinds(net: Net) -> list[tuple[str, str]]:
    """The layers with parameters and the class that each is in Keras, in the order in which it counts them; in their
    own where the net has layers that Keras lacks."""
    try:
        return [(step.layer, step.kind) for step in Steps(net).counted]
    except ConfigError:
        return [(node.name, _kind(net, node)) for node in net.trunk if net.weights(node)]


def _kind(net: Net, node: Node) -> str:
    """The class of a layer, "" where there is none."""
    if isinstance(node.layer, Conv):
        return "depthwise_conv2d" if node.layer.groups == net.inputs(node)[0].D > 1 else "conv2d"
    return {FC: "dense", BatchNorm: "batch_normalization", PReLU: "p_re_lu"}.get(type(node.layer), "")


def by_class(net: Net) -> dict[str, str]:
    """The name of each parameter of a net: conv2d_1.kernel."""
    layers = class_counts(net)
    return {
        f"{node.name}.{place.name}": f"{layers[node.name]}.{PARAMETERS.get(place.name, place.name)}"
        for node, place in places(net)
    }


def numbered(kind: str, before: int) -> str:
    """A layer of a class of which so many came before."""
    return f"{kind}_{before}" if before else kind
