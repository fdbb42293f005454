"""FC layers as CONV layers and back: the same numbers, laid out for a filter that slides.

Source: CS231n "Converting FC layers to CONV layers".
"""

from collections.abc import Mapping
from dataclasses import replace
from math import prod

import numpy as np

from gpunet.errors import ShapeError
from gpunet.layers.conv import Conv
from gpunet.layers.fc import FC
from gpunet.layers.layer import Layer
from gpunet.net.net import Net, Node
from gpunet.volume import Volume, pair, sides


def convolutional(net: Net) -> Net:
    """The net with each FC as the CONV whose filters are as large as what it takes; names and scores stay."""
    return net.remade([_changed(node, _as_conv(node.layer, *net.inputs(node))) for node in net.nodes])


def fully_connected(net: Net) -> Net:
    """The net with each CONV that sees its whole volume, from one position, as an FC; names and scores stay."""
    return net.remade([_changed(node, _as_fc(node.layer, *net.inputs(node))) for node in net.nodes])


def convert_weights(weights: Mapping[str, np.ndarray], net: Net) -> dict[str, np.ndarray]:
    """The weights of a net for the `net` that `convolutional` or `fully_connected` made of it, or left as it was.

    FC weights (K, inputs flattened H, W, D) and CONV weights (K, FH, FW, D) are the same numbers in the same order.
    Raises ShapeError where they are those of another net.
    """
    made = {}
    for node in net.nodes:
        for wanted in net.weights(node):
            name = f"{node.name}.{wanted.name}"
            if name not in weights:
                raise ShapeError(f"there is no {name} among the weights: they are of another net than {net.name}")
            values = weights[name]
            if not _same_numbers(values.shape, wanted.shape):
                raise ShapeError(
                    f"{name} has shape {values.shape}, which does not become {wanted.shape}: the weights are of "
                    f"another net than {net.name}"
                )
            made[name] = values.reshape(wanted.shape)
    return made


def _changed(node: Node, layer: Layer) -> Node:
    return replace(node, layer=layer)


def _as_conv(layer: Layer, *inputs: Volume) -> Layer:
    return Conv(layer.K, F=(inputs[0].H, inputs[0].W), P=0) if isinstance(layer, FC) else layer


def _as_fc(layer: Layer, *inputs: Volume) -> Layer:
    if not isinstance(layer, Conv) or layer.groups > 1 or not layer.bias or any(sides(layer.padding)):
        return layer
    volume = inputs[0]
    dense = layer.dilation == 1 or pair(layer.F) == (1, 1)
    return FC(layer.K) if dense and pair(layer.F) == (volume.H, volume.W) else layer


def _same_numbers(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether weights of one shape are those of the other for a filter that was laid out anew."""
    return found == wanted or (
        {len(found), len(wanted)} == {2, 4} and found[0] == wanted[0] and prod(found) == prod(wanted)
    )
