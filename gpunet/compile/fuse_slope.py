"""ReLU's backward where the gradient that it reads is made: one pass over memory for both.

Functions Program -> Program that leave every value as it was, bit for bit, as those of `fuse`.
"""

from dataclasses import replace

from gpunet.compile.in_place import in_place
from gpunet.compile.steps import exchanged, readers_of
from gpunet.memory.plan import live_bytes
from gpunet.program.program import Program

SLOPING = {
    "conv_backward_input": "conv_relu_backward_input",
    "conv_pool_backward_input": "conv_pool_relu_backward_input",
}
"""The ops that make the gradient of a convolution's input, and those that also know the ReLU which made that input."""


def conv_slope(program: Program) -> Program:
    """Where a convolution reads what a ReLU gave, its gradient of that is stored as ReLU's backward makes it.

    Only where the device does so by the algorithm. It comes behind the choice of masks: where the output of the ReLU is
    gone by then, nothing changes; where it is there, the result may take over its bytes. In rounds of some images it
    cannot, as that output is there for all: where the peak would be higher for it, nothing changes at all.
    """
    ops = list(program.ops)
    readers = readers_of(ops)
    gone = set()
    for step, conv in enumerate(ops):
        if conv.name in SLOPING and "slope" in program.fusions.get(str(conv.attributes["algorithm"]), ()):
            behind = readers.get(conv.outputs[0].name, [])
            slope = ops[behind[0]] if len(behind) == 1 else conv
            if slope.name == "relu_backward" and program.loop_at(step) is program.loop_at(behind[0]):
                at = len(conv.inputs)
                inputs = (*conv.inputs, slope.inputs[1])
                named = {"name": SLOPING[conv.name], "inputs": inputs, "outputs": slope.outputs, "in_place": ((0, at),)}
                ops[step] = replace(conv, **named)  # type: ignore[arg-type]  # each of its kind
                gone.add(behind[0])
    if not gone:
        return program
    made = exchanged(replace(program, ops=tuple(ops)), gone, {})
    return made if _peak(made) <= _peak(program) else program


def _peak(program: Program) -> int:
    return max(live_bytes(in_place(program)))


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
