"""What a step of a float32 plan would take on tensor cores: the same ops, each product and each type in its place.

Nothing is planned anew, so what is fused, cut into rounds or made again is as in the plan at hand.
"""

from dataclasses import replace

from gpunet.planning.conv_work import pass_of
from gpunet.program.algorithm import AlgorithmName
from gpunet.program.program import Op
from gpunet.program.tensor import Kind, Tensor

IN_HALVES = (Kind.ACTIVATION, Kind.GRADIENT)
"""Kinds of tensors that lie in a half type where a net is trained in one."""

ONE_MAP = "depthwise"
"""The algorithm that stays: every weight serves one map, so there is no product to speak of."""


def on_tensor_cores(op: Op, algorithm: AlgorithmName, half: str = "") -> Op:
    """The op with its product, where it has one, by that algorithm; and its volumes and filters in a half type."""
    is_product = op.name.startswith("fc_") or (pass_of(op) is not None and op.attributes.get("algorithm") != ONE_MAP)
    if is_product:
        op = replace(op, attributes={**op.attributes, "algorithm": algorithm})
    if not half:
        return op
    inputs = tuple(_in_halves(tensor, half, filters=is_product) for tensor in op.inputs)
    return replace(op, inputs=inputs, outputs=tuple(_in_halves(tensor, half) for tensor in op.outputs))


def _in_halves(tensor: Tensor, half: str, *, filters: bool = False) -> Tensor:
    """A volume in the half type; where they are read for a product, filters too."""
    volume = tensor.kind in IN_HALVES or (filters and tensor.kind is Kind.PARAMETER and len(tensor.shape) > 1)
    return replace(tensor, dtype=half) if volume and tensor.dtype == "float32" else tensor
