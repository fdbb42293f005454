"""Steps of a program put in and taken out; its loops keep what is in them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from gpunet.program.program import Op, Program
from gpunet.program.tensor import Tensor


def readers_of(ops: Sequence[Op]) -> dict[str, list[int]]:
    """By name of a tensor, the steps that read it."""
    found: dict[str, list[int]] = {}
    for step, op in enumerate(ops):
        for tensor in op.inputs:
            steps = found.setdefault(tensor.name, [])
            if not steps or steps[-1] != step:
                steps.append(step)
    return found


def exchanged(program: Program, gone: Collection[int], before: Mapping[int, Sequence[Op]]) -> Program:
    """The program without some steps, with these ops before others.

    What comes before the first step of a loop is not in it, nor is what comes before the step behind its last.
    """
    if not gone and not any(before.values()):
        return program
    ops: list[Op] = []
    ends, begins = [], []  # of each step: how many ops there are before what comes before it, and behind that
    for step, op in enumerate((*program.ops, None)):
        ends.append(len(ops))
        ops += before.get(step, ())
        begins.append(len(ops))
        if op is not None and step not in gone:
            ops.append(op)
    loops = tuple(replace(loop, first=begins[loop.first], last=ends[loop.last]) for loop in program.loops)
    return replace(program, ops=tuple(ops), loops=loops)


def inserted(program: Program, after: Mapping[int, Sequence[Op]]) -> Program:
    """The program with these ops behind those steps; what comes behind the last step of a loop is not in it."""
    return exchanged(program, (), {step + 1: ops for step, ops in after.items()})


def exchanged_tensors(op: Op, tensors: Mapping[str, Tensor]) -> Op:
    """The op with some tensors in the place of others, by name; its scratch stays."""

    def new(found: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(tensors.get(t.name, t) for t in found)

    return replace(op, inputs=new(op.inputs), outputs=new(op.outputs))
