"""Normalization in front of a convolution: values are normalized where the convolution reads them, again in backward,
so that what was normalized is nowhere.

Functions Program -> Program that leave every value as it was, bit for bit, as those of `fuse`.
"""

from collections.abc import Sequence
from dataclasses import replace

from gpunet.compile.steps import readers_of
from gpunet.program.program import Op, Program
from gpunet.program.tensor import HALVES, Kind, Tensor, wide

NORMS = {"batch_norm_forward": 0, "batch_norm_relu_forward": 1}
"""The ops that normalize, and whether there is a ReLU behind."""

CONVOLUTIONS = {
    "conv_forward": "conv_norm_forward",
    "conv_backward_weights": "conv_norm_backward_weights",
}
"""The ops that read normalized values, and those that read what was normalized instead."""

MEAN_TO_SHIFT = slice(1, 5)
"""The inputs of NORMS beside x; where there are more, something is added."""


FEW = 128 * 3 * 3
"""Products of each value, filters times their places, up to which "norm-few" holds: where every value is normalized for
some filters and one place at a time, it is so again for the next ones."""


def conv_norm(program: Program) -> Program:
    """Normalized values that convolutions alone read, forward and in the gradients of their weights, are made there.

    What is left is a small table of the numbers with which each map is normalized. Only where the device says that it
    does so for the algorithm of each of them, and at ease.
    """
    return _conv_norm(program, late=False)


def late_conv_norm(program: Program) -> Program:
    """The same where it costs some time, so that it is only for a budget that is short."""
    return _conv_norm(program, late=True)


def _conv_norm(program: Program, late: bool) -> Program:
    ops = list(program.ops)
    readers = readers_of(ops)
    for step, norm in enumerate(ops):
        if norm.name in NORMS and len(norm.inputs) == MEAN_TO_SHIFT.stop:
            reading = readers.get(norm.outputs[0].name, [])
            if reading and all(_normalizes(program, ops[at], norm.outputs[0], late) for at in reading):
                table = _table(norm)
                ops[step] = table
                for at in reading:
                    ops[at] = _of(ops[at], norm, table.outputs[0])
    return replace(program, ops=tuple(ops))


def _normalizes(program: Program, op: Op, y: Tensor, late: bool) -> bool:
    """Whether an op is a convolution of y that the device lets normalize it."""
    if op.name not in CONVOLUTIONS or op.inputs.index(y) != 0:
        return False
    fused = program.fusions.get(str(op.attributes["algorithm"]), ())
    if y.dtype in HALVES and op.attributes["algorithm"] != "halves":
        return False  # a CPU brings halves to float32 first
    K, F_rows, F_columns, _ = op.inputs[1].shape if op.name == "conv_forward" else op.outputs[0].shape
    few = K * F_rows * F_columns <= FEW
    return "norm" in fused or ("norm-few" in fused and few) or (late and "late-norm" in fused)


def _table(norm: Op) -> Op:
    """What works the numbers of a normalization out, in its place."""
    numbers: Sequence[Tensor] = norm.inputs[MEAN_TO_SHIFT]
    shape = 3, norm.outputs[0].shape[-1]
    name = norm.outputs[0].name.replace(".y", ".table", 1)  # of what is made again, one of its own
    table = Tensor(name, Kind.ACTIVATION, shape, wide(norm.outputs[0].dtype), norm.layer)
    eps = {"eps": norm.attributes["eps"]}
    return Op("norm_table", norm.layer, norm.phase, tuple(numbers), (table,), attributes=eps)


def _of(op: Op, norm: Op, table: Tensor) -> Op:
    """A convolution of normalized values as one of what was normalized."""
    inputs = (norm.inputs[0], *op.inputs[1:], table)
    return replace(
        op,
        name=CONVOLUTIONS[op.name],
        inputs=inputs,
        attributes={**op.attributes, "relu": NORMS[norm.name]},
    )
