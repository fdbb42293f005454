"""Checks tensors that lie within wider ones by running the program in thought: what is read must be what was written.

Knows nothing of how they came to lie there. Of each map of the wider tensor it keeps whose value stands there.
"""

from gpunet.errors import PlanError
from gpunet.program.program import Op, Program, Within
from gpunet.program.tensor import Tensor

Values = list[tuple[str, int]]
"""Of each map, the tensor that was made with it, and the number of the map there."""


def validate_within(program: Program) -> None:
    """Raise PlanError unless every tensor within another fits there, and holds what was written to it when it is read.

    The message names the tensor, the wider one and the step.
    """
    if not program.within:
        return
    for name, place in program.within.items():
        _fits(program, name, place)
    thought = _Thought(program)
    for step, op in enumerate(program.ops):
        thought.run(step, op)


def _fits(program: Program, name: str, place: Within) -> None:
    part, whole = program.tensors[name], program.tensors.get(place.whole)
    if whole is None or place.whole in program.within:
        raise PlanError(f"bad plan: {name} lies within {place.whole}, which has no bytes of its own")
    last = place.first + part.shape[-1]
    alike = part.shape[:-1] == whole.shape[:-1] and part.dtype == whole.dtype
    if not alike or place.first < 0 or last > whole.shape[-1]:
        raise PlanError(
            f"bad plan: {name}, {part.dtype} {part.shape}, cannot be the maps {place.first} to {last} of "
            f"{place.whole}, {whole.dtype} {whole.shape}"
        )
    if part.kind.persistent or whole.kind.persistent or name in {*program.takes_over, *program.takes_over.values()}:
        raise PlanError(f"bad plan: {name} lies within {place.whole}, and one of them outlives a step or changes hands")


class _Thought:
    """What each tensor that matters is, and what stands in the maps of the wider ones."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._wholes = {place.whole for place in program.within.values()}
        self._is: dict[str, Values] = {}
        self._stands: dict[str, list[tuple[str, int] | None]] = {}

    def run(self, step: int, op: Op) -> None:
        for tensor in op.inputs:
            self._look(step, op, tensor)
        for tensor in op.outputs:
            giver = self._program.takes_over.get(tensor.name)
            if giver in self._wholes:  # what was there is written over
                self._stands.pop(str(giver), None)
        self._make(op)
        for tensor in op.outputs:
            self._put(tensor)

    def _make(self, op: Op) -> None:
        """What the outputs of an op are: values of its own; of a concatenation those that it joins or takes apart."""
        if op.name == "concat_forward":
            self._is[op.outputs[0].name] = [value for tensor in op.inputs for value in self._value(tensor)]
        elif op.name == "concat_backward":
            first, whole = 0, self._value(op.inputs[0])
            for tensor in op.outputs:
                self._is[tensor.name] = whole[first : first + tensor.shape[-1]]
                first += tensor.shape[-1]
        else:
            for tensor in op.outputs:
                self._is.pop(tensor.name, None)

    def _value(self, tensor: Tensor) -> Values:
        if tensor.name not in self._is:
            self._is[tensor.name] = [(tensor.name, map_) for map_ in range(tensor.shape[-1])]
        return self._is[tensor.name]

    def _put(self, tensor: Tensor) -> None:
        """Write an output to where it lies."""
        whole, first = self._place(tensor)
        if whole in self._wholes:
            stands = self._stands.setdefault(whole, [None] * self._program.tensors[whole].shape[-1])
            stands[first : first + tensor.shape[-1]] = self._value(tensor)

    def _look(self, step: int, op: Op, tensor: Tensor) -> None:
        whole, first = self._place(tensor)
        if whole not in self._wholes:
            return
        if self._stands.get(whole, [])[first : first + tensor.shape[-1]] != self._value(tensor):
            raise PlanError(
                f"bad plan: step {step}, {op.name} of {op.layer}, reads {tensor.name} within {whole}, where something "
                "else stands"
            )

    def _place(self, tensor: Tensor) -> tuple[str, int]:
        place = self._program.within.get(tensor.name)
        return (tensor.name, 0) if place is None else (place.whole, place.first)
