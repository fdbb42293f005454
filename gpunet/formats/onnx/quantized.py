"""Numbers kept as bytes. Weights are made of them again; what is rounded on its way through a net cannot be said."""

import numpy as np

from gpunet.formats.onnx.file import Node
from gpunet.formats.onnx.importing import Cannot, Importer, Rules, Value

ROUNDS = "it rounds what goes through the net to bytes, as no layer here does: import the float net that it was made of"


def _dequantized(importer: Importer, node: Node) -> list[np.ndarray]:
    """(bytes - zero) * scale of an array that lies in the file; scale and zero are one number each, or one for each
    index along `axis`.

    Each array is made once, so that all of them take what they would in float32.
    """
    name, *others = node.inputs
    if name in importer.values:
        raise Cannot(ROUNDS)
    axis = node.integer("axis", 1)
    if node.integer("block_size", 0):
        raise Cannot(f"block_size={node.integer('block_size', 0)}: here an axis has a scale for each index")
    made = importer.dequantized.setdefault(name, node)
    if made is not node and (made.inputs != node.inputs or made.integer("axis", 1) != axis):
        raise Cannot("its numbers are scaled in two ways")
    if made is not node:
        return [importer.constants[made.outputs[0]]]
    if name not in importer.file.constants:
        raise Cannot("what it scales does not lie in the file")
    values = importer.constants[name]
    scale, *zero = (_along(importer.constant(other, "scales"), values.ndim, axis) for other in others if other)
    centred = values.astype(scale.dtype)
    if zero:
        centred -= zero[0].astype(scale.dtype)
    centred *= scale
    return [centred]


def _along(numbers: np.ndarray, ndim: int, axis: int) -> np.ndarray:
    """One number, or one for each index along an axis, so that it meets an array of so many axes."""
    if numbers.size == 1:
        return numbers.reshape(())
    sizes = [1] * ndim
    sizes[axis] = numbers.size
    return numbers.reshape(sizes)


def _rounds(importer: Importer, node: Node) -> list[Value]:
    raise Cannot(ROUNDS)


ROUNDING = """ConvInteger DynamicQuantizeLinear DynamicQuantizeMatMul MatMulInteger MatMulIntegerToFloat QGemm
QLinearAdd QLinearAveragePool QLinearConcat QLinearConv QLinearGlobalAveragePool QLinearLeakyRelu QLinearMatMul
QLinearMul QLinearReduceMean QLinearSigmoid QLinearSoftmax QuantizeLinear"""
"""ONNX's own, and those of onnxruntime's quantizer."""

RULES: Rules = {"DequantizeLinear": _dequantized, **dict.fromkeys(ROUNDING.split(), _rounds)}
