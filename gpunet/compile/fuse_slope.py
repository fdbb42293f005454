"""A sum of gradients in front of ReLU's backward: one pass over memory for both, as in every residual block."""

from dataclasses import replace

from gpunet.compile.steps import exchanged, readers_of
from gpunet.program.program import Program


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
