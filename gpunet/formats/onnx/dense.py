"""Products with matrices: fully connected layers, 1x1 convolutions over maps that come last, and their biases."""

from dataclasses import replace

import numpy as np

from gpunet.formats.layout import TORCH, Layout
from gpunet.formats.onnx.axes import MAPS_LAST, flat_order, is_held, significant
from gpunet.formats.onnx.file import Node
from gpunet.formats.onnx.growing import Array
from gpunet.formats.onnx.importing import Cannot, Importer, Rules, Value
from gpunet.formats.onnx.maps import by_map
from gpunet.formats.onnx.patterns import averaged
from gpunet.layers.conv import Conv
from gpunet.layers.fc import FC

BIASED = ("Conv", "Gemm", "MatMul")
"""Nodes behind which a sum with a constant is their bias."""


def _gemm(importer: Importer, node: Node) -> list[Value]:
    if node.integer("transA", 0):
        raise Cannot("transA=1 turns the images")
    weights = importer.constant(node.input(1), "weights")
    biases = importer.constant(node.input(2), "biases") if node.input(2) else None
    alpha, beta = node.number("alpha", 1), node.number("beta", 1)
    if alpha != 1:
        weights = (weights * alpha).astype(weights.dtype)
    if biases is not None and beta != 1:
        biases = (biases * beta).astype(biases.dtype)
    return [_fc(importer, node, weights, biases, "KI" if node.integer("transB", 0) else "IK")]


def _matmul(importer: Importer, node: Node) -> list[Value]:
    if adapted := averaged(importer, node):
        return [adapted]
    return [_fc(importer, node, importer.constant(node.input(1), "weights"), None, "IK")]


def _fc(importer: Importer, node: Node, weights: np.ndarray, biases: np.ndarray | None, order: str) -> Value:
    """A product of what a node takes with weights, and perhaps biases."""
    value = importer.value(node.input(0))
    volume = value.known
    if weights.ndim != 2:
        raise Cannot(f"its weights have {weights.ndim} axes, and here two")
    inputs, K = weights.shape if order == "IK" else weights.shape[::-1]
    arrays = {}
    if biases is not None:
        flat = biases.reshape(-1)
        if flat.size not in (1, K):
            raise Cannot(f"it has {flat.size:,} biases for {K:,} outputs")
        arrays["b"] = Array(node.input(2), np.broadcast_to(flat, (K,)))
    if len(value.axes) == 4 and is_held(value.axes, MAPS_LAST, volume) and inputs == volume.D:
        as_filters = (weights.T if order == "IK" else weights).reshape(K, inputs, 1, 1)
        given = {"w": Array(node.input(1), as_filters, TORCH), **arrays}
        return importer.layer(node, Conv(K, 1, bias="b" in given), value, arrays=given, axes=MAPS_LAST)
    if len(value.axes) != 2 or significant(value.axes[0], volume, 1):
        raise Cannot(
            f"it multiplies axes {', '.join(letters or '1' for letters in value.axes)}, and here all of an image"
        )
    if inputs != volume.values:
        raise Cannot(f"its weights are for {inputs:,} inputs, and {volume.values:,} come")
    given = {"w": Array(node.input(1), weights, Layout(TORCH.conv, order, flat_order(value.axes))), **arrays}
    return importer.layer(node, FC(K, "b" in given), value, arrays=given, axes=("N", "D"))


def biased(importer: Importer, node: Node, name: str, constant: str) -> Value | None:
    """The layer of a convolution or product with the constant that is added to it as its biases; None where it is none.

    It is made anew, with the biases: what was made of it before is not needed then.
    """
    made = importer.maker(name, *BIASED)
    entry = importer.growing.entries[importer.values[name].number] if made and name in importer.values else None
    if entry is None or entry.layer is None or "b" in entry.arrays or "w" not in entry.arrays:
        return None
    value, biases = importer.values[name], importer.constants[constant]
    K = value.known.D
    if biases.size not in (1, K) or (biases.ndim > 1 and not by_map(biases, value)):
        return None
    arrays = {**entry.arrays, "b": Array(constant, np.broadcast_to(biases.reshape(-1), (K,)))}
    layer = replace(entry.layer, bias=True)  # type: ignore[call-arg]
    number = importer.growing.add(replace(entry, layer=layer, arrays=arrays))
    return Value(number, value.volume, value.axes)


RULES: Rules = {"Gemm": _gemm, "MatMul": _matmul}
