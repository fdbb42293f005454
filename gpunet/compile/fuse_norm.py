"""Fusions of batch normalization: ReLU behind it, and the sum of a residual block between, take no pass of their own.

Functions Program -> Program that leave every value as it was, bit for bit, as those of `fuse`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gpunet.compile.steps import exchanged, readers_of
from gpunet.program.algorithm import NORM
from gpunet.program.program import Op, Program
from gpunet.program.tensor import Tensor

BACKWARD = {
    "batch_norm_backward_sums": "batch_norm_relu_backward_sums",
    "batch_norm_backward": "batch_norm_relu_backward",
}
"""The ops that read the gradient of normalized values, and those that read the one behind ReLU instead."""


def norm_relu(program: Program) -> Program:
    """A ReLU that alone reads normalized values, or alone reads their sum with others, is made in the same pass.

    Without a sum between, its gradient is too: whether a value was above 0 follows from what was normalized, so
    backward needs neither a mask nor what ReLU gave.
    """
    if "relu" not in program.fusions.get(NORM, ()):
        return program
    ops = list(program.ops)
    readers, makers = readers_of(ops), _makers_of(ops)
    gone: set[int] = set()
    for step, relu in enumerate(ops):
        if relu.name == "relu_forward":
            found = _behind(ops, readers, makers, relu.inputs[0])
            if found is not None:
                norm, add = found
                ops[step] = _forward(ops[norm], None if add is None else ops[add], relu)
                gone |= {norm} if add is None else {norm, add}
                if add is None:
                    gone |= _fuse_backward(ops, readers, ops[norm], relu.outputs[0])
    return exchanged(replace(program, ops=tuple(ops)), gone, {})


def _makers_of(ops: Sequence[Op]) -> dict[str, int]:
    """By name of the first output of a forward op, its step."""
    steps = reversed(range(len(ops)))
    return {ops[step].outputs[0].name: step for step in steps if ops[step].phase == "forward" and ops[step].outputs}


def _behind(
    ops: Sequence[Op], readers: Mapping[str, list[int]], makers: Mapping[str, int], x: Tensor
) -> tuple[int, int | None] | None:
    """The steps of the normalization that makes what a ReLU alone reads, and of a sum between, if there is one."""

    def maker(tensor: Tensor) -> int | None:
        """The forward step that makes what one op alone reads."""
        return makers.get(tensor.name) if len(readers.get(tensor.name, [])) == 1 else None

    made = maker(x)
    if made is None or ops[made].name == "batch_norm_forward":
        return None if made is None else (made, None)
    if ops[made].name != "add" or len(set(ops[made].inputs)) == 1:
        return None
    steps = map(maker, ops[made].inputs)
    norms = [step for step in steps if step is not None and ops[step].name == "batch_norm_forward"]
    return (max(norms), made) if norms else None


def _forward(norm: Op, add: Op | None, relu: Op) -> Op:
    """All of them in one op, which belongs to the layer of the normalization."""
    x, *numbers = norm.inputs
    others = () if add is None else tuple(t for t in add.inputs if t is not norm.outputs[0])
    return replace(
        norm,
        name="batch_norm_relu_forward",
        inputs=(x, *numbers, *others),
        outputs=relu.outputs,
        in_place=((0, 0),) if add is None else ((0, 0), (0, len(norm.inputs))),
        absent=(len(norm.inputs),) if add is None else (),
    )


def _fuse_backward(ops: list[Op], readers: dict[str, list[int]], norm: Op, y: Tensor) -> set[int]:
    """Let the gradients of a normalization be made from that behind the ReLU; the steps that are gone then."""
    slope = next((at for at in readers.get(y.name, []) if ops[at].name == "relu_backward"), None)
    if slope is None or ops[slope].inputs[1] != y:
        return set()
    dy, behind = ops[slope].inputs[0], ops[slope].outputs[0]
    reading = readers.get(behind.name, [])
    if not reading or not all(ops[at].name in BACKWARD and ops[at].inputs[0] == behind for at in reading):
        return set()
    _, mean, variance, scale, shift = norm.inputs
    for at in reading:
        _, x, _, _, *more = ops[at].inputs
        rest = more[1:] if ops[at].name == "batch_norm_backward" else more  # scale is there already
        inputs = (dy, x, mean, variance, scale, shift, *rest)
        absent = tuple(position + 2 for position in ops[at].absent)  # the counters
        ops[at] = replace(ops[at], name=BACKWARD[ops[at].name], inputs=inputs, absent=absent)
    return {slope}
