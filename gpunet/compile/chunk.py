"""Running a part of the net for some images at a time: the first layers, forward and backward, or the whole step.

The first layers have the largest volumes, so what they need only in passing (inputs and outputs of an op, gradients,
recomputed activations) is made for a few images at a time. Running the whole step so is a micro-batch: the gradients
are added up. Sums of gradients are then taken in another order, so they agree to rounding, not in every bit.
"""

from collections.abc import Iterable
from dataclasses import replace

from gpunet.errors import PlanError
from gpunet.program.program import Loop, Op, Program, RunTime
from gpunet.program.tensor import Kind, Tensor

ACCUMULATE = RunTime("accumulate")


def cut_points(program: Program) -> list[str]:
    """Names of the activations at which the forward pass can be cut in two: nothing else crosses from before to behind.

    In the order in which they are made; the scores are not among them. Masks of bits that stand for what an op behind
    has read are for the backward pass alone and cross nothing.
    """
    forward = [op for op in program.ops if op.phase == "forward" and op.name != "relu_mask"]
    last_reader = {t.name: step for step, op in enumerate(forward) for t in op.inputs}
    crossing: set[str] = set()
    ending: dict[int, list[str]] = {}
    found = []
    for step, op in enumerate(forward[:-1]):
        for tensor in op.outputs:
            last = last_reader.get(tensor.name, step)
            if last > step:
                crossing.add(tensor.name)
                ending.setdefault(last, []).append(tensor.name)
        crossing.difference_update(ending.pop(step, ()))
        if len(crossing) == 1:
            found += [t.name for t in op.outputs if t.name in crossing and t.kind is Kind.ACTIVATION]
    return found


def mixing(program: Program) -> Op | None:
    """The first op of the forward pass that needs all images of a batch together: it cannot be in a loop over them."""
    return next((op for op in program.ops if op.phase == "forward" and op.across_images), None)


def chunk_cuts(program: Program) -> list[str]:
    """Those of cut_points up to which a loop over images may run."""
    mixed = mixing(program)
    ops = program.ops if mixed is None else program.ops[: program.ops.index(mixed)]
    made = {t.name for op in ops for t in op.outputs}
    return [name for name in cut_points(program) if name in made]


def run_in_chunks(program: Program, cut: str, images: int) -> Program:
    """Make the activation `cut`, and what backward does behind it, `images` images at a time: two loops.

    `cut` must be one of chunk_cuts(program). Raises PlanError otherwise. Updates come after the loops. Where all images
    make one round, nothing changes.
    """
    if cut not in chunk_cuts(program):
        mixed = mixing(program)
        why = f": {mixed.layer} needs all images of the batch together" if mixed and cut in cut_points(program) else ""
        raise PlanError(f"the net cannot be cut at {cut}{why}")
    if images >= program.batch:
        return program
    ops = _updates_last(program.ops)
    end = 1 + next(step for step, op in enumerate(ops) if cut in {t.name for t in op.outputs})
    layers = {layer for op in ops[:end] for layer in op.layers}
    last = sum(op.phase != "update" for op in ops)
    first = last
    while ops[first - 1].phase == "backward" and ops[first - 1].layer in layers:
        first -= 1
    loops = [Loop(0, end, images)] + ([Loop(first, last, images)] if first < last else [])
    return _in_loops(replace(program, ops=ops), loops)


def run_in_micro_batches(program: Program, images: int) -> Program:
    """Run forward, loss and backward for `images` images at a time and add up the gradients; then update once.

    Where all images make one round, nothing changes. Raises PlanError where a layer needs all of them together.
    """
    if images >= program.batch:
        return program
    mixed = mixing(program)
    if mixed is not None:
        raise PlanError(f"{mixed.layer} needs all images of the batch together, so the step cannot run in rounds")
    rounds = [op for op in program.ops if not _after_all_images(op)]
    later = _updates_last(op for op in program.ops if _after_all_images(op))
    return _in_loops(replace(program, ops=(*rounds, *later)), [Loop(0, len(rounds), images)])


def _after_all_images(op: Op) -> bool:
    """Whether it waits for the last round: the mean loss, and updates, which look at it."""
    return op.phase == "update" or (op.phase == "loss" and op.across_images)


def _updates_last(ops: Iterable[Op]) -> tuple[Op, ...]:
    return tuple(sorted(ops, key=lambda op: op.phase == "update"))


def _in_loops(program: Program, loops: list[Loop]) -> Program:
    """Shrink what lives within one loop to its images, and let sums over images go on from round to round."""
    ops = list(program.ops)
    fixed = {t.name for t in (program.image_bytes, program.images, program.labels, program.scores) if t is not None}
    for loop in loops:
        outside = {t.name for op in [*ops[: loop.first], *ops[loop.last :]] for t in op.arguments if t is not None}
        for step in range(loop.first, loop.last):
            ops[step] = _for_rounds(ops[step], loop.images, outside | fixed)
    return replace(program, ops=tuple(ops), loops=tuple(loops))


def _for_rounds(op: Op, images: int, whole: set[str]) -> Op:
    def shrunk(tensor: Tensor) -> Tensor:
        if not tensor.batched or tensor.name in whole or tensor.shape[0] <= images:
            return tensor
        return replace(tensor, shape=(images, *tensor.shape[1:]))

    attributes = {**op.attributes, "accumulate": ACCUMULATE} if "accumulate" in op.attributes else op.attributes
    return replace(
        op,
        inputs=tuple(shrunk(t) for t in op.inputs),
        outputs=tuple(shrunk(t) for t in op.outputs),
        attributes=attributes,
    )
