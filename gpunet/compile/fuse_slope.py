"""ReLU's backward where the gradient that it reads is made: one pass over memory for both.

Functions Program -> Program that leave every value as it was, bit for bit, as those of `fuse`.
"""

from collections.abc import Sequence
from dataclasses import replace

from gpunet.compile.steps import exchanged, readers_of
from gpunet.program.program import Op, Program

SLOPING = {
    "conv_backward_input": "conv_relu_backward_input",
    "conv_pool_backward_input": "conv_pool_relu_backward_input",
}
"""The ops that make the gradient of a convolution's input, and those that also know the ReLU which made that input."""


def conv_slope(program: Program) -> Program:
    """Where a convolution reads what a ReLU gave, its gradient of that is stored as ReLU's backward makes it.

    Only where the device does so by the algorithm, and where the output of the ReLU is there until then anyway, for the
    gradient of the weights: the result may take over its bytes, and no mask is needed.
    """
    ops = list(program.ops)
    readers = readers_of(ops)
    gone = set()
    for step, conv in enumerate(ops):
        if conv.name not in SLOPING or "slope" not in program.fusions.get(str(conv.attributes["algorithm"]), ()):
            continue
        (dx,) = conv.outputs
        behind = readers.get(dx.name, [])
        if len(behind) != 1 or ops[behind[0]].name != "relu_backward":
            continue
        slope = ops[behind[0]]
        y = slope.inputs[1]
        others = [at for at in readers[y.name] if at != behind[0]]
        if y != dx and _is_there(ops, others, step) and program.loop_at(step) is program.loop_at(behind[0]):
            inputs = (*conv.inputs, y)
            places = ((0, len(conv.inputs)),)
            ops[step] = replace(conv, name=SLOPING[conv.name], inputs=inputs, outputs=slope.outputs, in_place=places)
            gone.add(behind[0])
    return exchanged(replace(program, ops=tuple(ops)), gone, {})


def _is_there(ops: Sequence[Op], readers: Sequence[int], step: int) -> bool:
    """Whether what these steps read is alive at a step, or was until the same layer's gradients before it."""
    last = max(readers, default=-1)
    return last > step or (last >= 0 and all(op.layer == ops[step].layer for op in ops[last:step]))


def sum_slope(program: Program) -> Program:
    """The sum of two gradients is made where ReLU's backward, which alone reads it, follows at once.

    It comes behind the choice of masks: where the output of a ReLU is gone by then, nothing changes.
    """
    ops = list(program.ops)
    readers = readers_of(ops)
    gone = set()
    for step, slope in enumerate(ops[1:], 1):
        add = ops[step - 1]
        follows = slope.name == "relu_backward" and add.name == "add" and slope.inputs[0] == add.outputs[0]
        if follows and len(readers[add.outputs[0].name]) == 1 and program.loop_at(step) is program.loop_at(step - 1):
            places = ((0, 0), (0, 1), (0, 2))
            inputs = (*add.inputs, slope.inputs[1])
            ops[step] = replace(slope, name="add_relu_backward", inputs=inputs, in_place=places)
            gone.add(step - 1)
    return exchanged(replace(program, ops=tuple(ops)), gone, {})
