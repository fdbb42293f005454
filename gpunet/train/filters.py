"""The filters of a layer, as volumes over what it takes."""

from collections.abc import Mapping

import numpy as np

from gpunet.errors import ConfigError
from gpunet.net.net import Net
from gpunet.net.words import nearest


def filters_of(net: Net, weights: Mapping[str, np.ndarray], layer: str | None = None) -> tuple[str, np.ndarray]:
    """(name, filters (K, F, F, D)) of a layer, of the first that has any where none is named.

    Those of a fully connected layer are as large as the volume that it takes.
    Raises ConfigError where there is no such layer, or where it has no filters that are shared over positions.
    """
    names = [node.name for node in net.nodes if _is_shared(net, node.name)]
    if not names:
        raise ConfigError(f"{net.name} has no layer with filters")
    name = names[0] if layer is None else layer
    node = next((node for node in net.nodes if node.name == name), None)
    if node is None:
        raise ConfigError(f"{net.name} has no layer {name!r}{nearest(name, names) or _those(names)}")
    if name not in names:
        why = "has filters of its own for every position" if node.layer.type == "local" else "has no filters"
        raise ConfigError(f"{name} {why}{_those(names)}")
    w = weights[f"{name}.w"]
    return name, w if w.ndim == 4 else w.reshape(len(w), *net.inputs(node)[0].shape)


def _is_shared(net: Net, name: str) -> bool:
    """Whether a layer has one set of filters, K of them, each a volume."""
    node = next(node for node in net.nodes if node.name == name)
    return any(weights.name == "w" and len(weights.shape) in (2, 4) for weights in net.weights(node))


def _those(names: list[str]) -> str:
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"; there are filters in {shown}"
