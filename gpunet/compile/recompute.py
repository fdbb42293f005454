"""Recomputation: drop activations after the forward pass and make them again when backward wants them.

Which ones pay is chosen in `choose`; here a program is rewritten once that is known. Recomputed values, and so all
gradients, are the same bits. Source: Chen et al. 2016, "Training deep nets with sublinear memory cost".
"""

from collections.abc import Collection
from dataclasses import replace

from gpunet.errors import PlanError
from gpunet.program.program import Op, Program
from gpunet.program.tensor import Kind, Tensor

AGAIN = ".again"
"""What is appended to the name of a tensor that is made a second time."""


def saved(program: Program) -> dict[str, Tensor]:
    """The activations that forward ops leave for backward ops, by name, in the order in which they are made.

    Where an activation lives on as a mask of bits, the mask is what is left of it, under the activation's name.
    """
    made = {t.name: t for op in program.ops if op.phase == "forward" for t in op.outputs}
    for op in program.ops:
        if op.name == "relu_mask" and op.phase == "forward":
            (y,), (mask,) = op.inputs, op.outputs
            made[y.name] = made.pop(mask.name)
    read = {t.name for op in program.ops if op.phase == "backward" for t in op.inputs}
    return {name: t for name, t in made.items() if t.name in read and t.kind is Kind.ACTIVATION}


def recompute(program: Program, dropped: Collection[str]) -> Program:
    """The program without the activations `dropped` between forward and backward: each is made once more, just in time.

    Raises PlanError for a name that is not among `saved(program)`.
    """
    if not dropped:
        return program
    known = saved(program)
    for name in dropped:
        if name not in known:
            raise PlanError(f"{name} cannot be dropped: it is not saved for the backward pass")
    again = _Again(program, frozenset(known) - frozenset(dropped))
    ops: list[Op] = []
    for op in program.ops:
        if op.phase == "backward":
            inputs = tuple(again.make(t, ops) if t.name in dropped else t for t in op.inputs)
            op = replace(op, inputs=inputs)
        ops.append(op)
    return replace(program, ops=tuple(ops))


class _Again:
    """Makes dropped tensors again, each at most once, and whatever is needed for them that is not there any more."""

    def __init__(self, program: Program, kept: frozenset[str]):
        self._makers = {t.name: op for op in program.ops if op.phase == "forward" for t in op.outputs}
        fed = {
            t.name for t in (program.image_bytes, program.images, program.numbers, program.counters) if t is not None
        }
        self._there = kept | fed | {p.tensor.name for p in program.parameters}
        self._made: dict[str, Tensor] = {}

    def make(self, tensor: Tensor, ops: list[Op]) -> Tensor:
        """The tensor made again; what it takes is appended to ops, unless that was done before."""
        if tensor.name in self._there:
            return tensor
        if tensor.name not in self._made:
            op = self._makers[tensor.name]
            inputs = tuple(self.make(needed, ops) for needed in op.inputs)
            outputs = tuple(_again(t) for t in op.outputs)
            scratch = tuple(None if t is None else _again(t) for t in op.scratch)
            ops.append(replace(op, phase="backward", inputs=inputs, outputs=outputs, scratch=scratch))
            self._made |= {old.name: new for old, new in zip(op.outputs, outputs, strict=True)}
        return self._made[tensor.name]


def _again(tensor: Tensor) -> Tensor:
    return replace(tensor, name=tensor.name + AGAIN)


def extra_flops(program: Program) -> int:
    """The FLOPs of what is made again."""
    return sum(op.flops for op in program.ops if any(t.name.endswith(AGAIN) for t in op.outputs))
