"""Recomputation: drop activations after the forward pass and make them again when backward wants them.

Which ones pay is chosen in `choose`; here a program is rewritten once that is known. Recomputed values, and so all
gradients, are the same bits. Source: Chen et al. 2016, "Training deep nets with sublinear memory cost".
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

from gpunet.errors import PlanError
from gpunet.program.program import Op, Program
from gpunet.program.tensor import Kind, Tensor

AGAIN = ".again"
"""What is appended to the name of a tensor that is made again; ".again2" where that is done once more."""


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


EARLY = "conv_norm_backward_weights"
"""The op that may read a value some steps before the others do: it normalizes that, and the gradient of the
normalization comes after that of the convolution's input."""


def early_reads(program: Program) -> dict[str, list[int]]:
    """By name, the steps of the backward pass in which EARLY reads a value that others read later on."""
    early: dict[str, list[int]] = {}
    first: dict[str, int] = {}
    for step, op in enumerate(program.ops):
        if op.phase == "backward":
            for tensor in op.inputs:
                if op.name == EARLY:
                    early.setdefault(tensor.name, []).append(step)
                else:
                    first.setdefault(tensor.name, step)
    return {name: steps for name, steps in early.items() if name in first and max(steps) < first[name]}


NORM_SUMS = ("batch_norm_backward_sums", "batch_norm_relu_backward_sums")
"""The ops that are first to read the gradient of what was normalized; none of them is in chunks of images."""

NORM_SLOPES = ("batch_norm_backward", "batch_norm_relu_backward")
"""The ops that make of it the gradient of what it was normalized from."""


def before_unpooling(program: Program) -> dict[int, Tensor]:
    """By the step that makes a larger gradient of the one behind a pool, what the normalization before was made from.

    Made again ahead of that step, it and what it is made from meet the small gradient and not the large one.
    """
    sums = {op.inputs[0].name: op.inputs[1] for op in program.ops if op.name in NORM_SUMS}
    return {
        step: sums[op.outputs[0].name]
        for step, op in enumerate(program.ops)
        if op.name == "max_pool_backward"
        and op.outputs[0].name in sums
        and op.outputs[0].nbytes >= 2 * op.inputs[0].nbytes
    }


def behind_unpooling(program: Program) -> set[int]:
    """The steps of EARLY whose gradient comes from an unpooling: what they read need not be there during that."""
    large = {program.ops[step].outputs[0].name for step in before_unpooling(program)}
    slopes = {op.outputs[0].name for op in program.ops if op.name in NORM_SLOPES and op.inputs[0].name in large}
    return {
        step for step, op in enumerate(program.ops) if op.name == EARLY and any(t.name in slopes for t in op.inputs)
    }


def recompute(
    program: Program, dropped: Collection[str], kept: Collection[str] = (), twice: Collection[str] = ()
) -> Program:
    """The program without the activations `dropped` between forward and backward: each is made once more, just in time.

    `kept`   activations that backward does not read, which stay all the same: others are made from them
    `twice`  those of `dropped` that do not wait for backward once others were made from them, or EARLY has read them:
             they are made once more, and for EARLY, too, where what lies between is an unpooled gradient

    Raises PlanError for a dropped name that is not among `saved(program)`, for a kept one that no op makes, and for one
    to be made twice that is not dropped.
    """
    if not dropped:
        return program
    known = saved(program)
    made = {t.name for op in program.ops if op.phase == "forward" for t in op.outputs}
    for names, among, wrong in (
        (dropped, known, "dropped: it is not saved for the backward pass"),
        (kept, made, "kept: the forward pass does not make it"),
        (twice, dropped, "made twice: it is not dropped"),
    ):
        for name in names:
            if name not in among:
                raise PlanError(f"{name} cannot be {wrong}")
    again = _Again(program, (frozenset(known) | frozenset(kept)) - frozenset(dropped), frozenset(dropped))
    own: set[str] = set()
    early, ahead, behind = early_reads(program), before_unpooling(program), behind_unpooling(program)
    for step, op in enumerate(program.ops):
        if op.phase == "backward":
            read = (*op.inputs, ahead[step]) if step in ahead else op.inputs
            wanted = [t for t in read if t.name in dropped]
            now = {t.name for t in wanted if step not in early.get(t.name, ())}
            anew = {t.name for t in wanted} if step in behind else now
            again.begin((anew & frozenset(twice)) - own)
            own |= now
            again.make(wanted)
            op = replace(op, inputs=tuple(again.found(t) if t in wanted else t for t in op.inputs))
        again.ops.append(op)
    return replace(program, ops=tuple(again.ops))


class _Again:
    """Makes tensors again, and whatever is needed for them that is not there any more.

    What backward reads stays until it has been read; the rest is made for one moment, the ops before one of backward.
    """

    def __init__(self, program: Program, kept: frozenset[str], dropped: frozenset[str]):
        forward = [op for op in program.ops if op.phase == "forward"]
        self._forward = forward
        self._makers = {t.name: at for at, op in enumerate(forward) for t in op.outputs}
        given = program.image_bytes, program.images, program.numbers, program.counters
        fed = {t.name for t in given if t is not None}
        small = {t.name for op in program.ops if op.phase == "update" for t in op.inputs}  # statistics of a batch
        self._there = (kept | fed | small | {p.tensor.name for p in program.parameters}) - dropped
        self._dropped = dropped
        self._staying: dict[str, Tensor] = {}
        self._passing: dict[str, Tensor] = {}
        self._times: dict[str, int] = {}
        self.ops: list[Op] = []

    def begin(self, anew: Collection[str]) -> None:
        """Begin a new moment, at which these tensors are made once more."""
        self._passing = {}
        for name in anew:
            self._staying.pop(name, None)

    def make(self, tensors: Iterable[Tensor]) -> None:
        """Make tensors again, in the order of the forward pass; the ops for that are appended."""
        needed: set[int] = set()
        todo = list(tensors)
        while todo:
            name = todo.pop().name
            if not (name in self._there or name in self._staying or self._makers[name] in needed):
                needed.add(self._makers[name])
                todo += self._forward[self._makers[name]].inputs
        for at in sorted(needed):
            self._run(self._forward[at])

    def found(self, tensor: Tensor) -> Tensor:
        """A tensor where it is now: as it was made again, or as it is still there."""
        return self._staying.get(tensor.name) or self._passing.get(tensor.name) or tensor

    def _run(self, op: Op) -> None:
        time = self._times[op.outputs[0].name] = self._times.get(op.outputs[0].name, 0) + 1
        outputs = tuple(_again(t, time) for t in op.outputs)
        scratch = tuple(None if t is None else _again(t, time) for t in op.scratch)
        inputs = tuple(t if t.name in self._there else self.found(t) for t in op.inputs)
        self.ops.append(replace(op, phase="backward", inputs=inputs, outputs=outputs, scratch=scratch))
        for old, new in zip(op.outputs, outputs, strict=True):
            self._passing[old.name] = new
            if old.name in self._dropped:
                self._staying.setdefault(old.name, new)


def _again(tensor: Tensor, time: int) -> Tensor:
    return replace(tensor, name=f"{tensor.name}{AGAIN}{time if time > 1 else ''}")


def is_again(op: Op) -> bool:
    """Whether an op makes something again."""
    ends = (t.name.rpartition(AGAIN) for t in op.outputs)
    return any(again and (not time or time.isdecimal()) for _, again, time in ends)


def extra_flops(program: Program) -> int:
    """The FLOPs of what is made again."""
    return sum(op.flops for op in program.ops if is_again(op))
