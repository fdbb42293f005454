"""The weights of a net for what `convolutional` or `fully_connected` made of it: the same numbers, laid out anew.

Source: CS231n "Converting FC layers to CONV layers".
"""

from collections.abc import Mapping
from math import prod

import numpy as np

from gpunet.errors import ShapeError
from gpunet.net.net import Net


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


def _same_numbers(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether weights of one shape are those of the other for a filter that was laid out anew."""
    return found == wanted or (
        {len(found), len(wanted)} == {2, 4} and found[0] == wanted[0] and prod(found) == prod(wanted)
    )
