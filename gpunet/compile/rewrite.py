"""Savings that cost nothing: functions Program -> Program that leave every value as it was, bit for bit.

They are applied in the order of REWRITES; each can be left out by name.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from math import prod

from gpunet.compile.fuse import FUSIONS, late_unpool, readers_of
from gpunet.errors import ConfigError
from gpunet.memory.plan import live_bytes
from gpunet.program.program import Op, Program
from gpunet.program.tensor import Kind, Tensor
from gpunet.values.given import told

Rewrite = Callable[[Program], Program]


def pool_before_relu(program: Program) -> Program:
    """relu then max-pool becomes max-pool then relu, so that the large volume before the pool dies at once.

    The values are the same, as max and max(0, x) commute; so are the gradients: where the maximum of a window is
    above zero it is in the same place, and where it is not, ReLU's backward gives zero to all of the window in either
    order.
    """
    ops = list(program.ops)
    readers = readers_of(ops)
    for step, relu in enumerate(ops):
        if relu.name == "relu_forward":
            reading = readers.get(relu.outputs[0].name, [])
            pool_step = next((s for s in reading if ops[s].name.startswith("max_pool_")), None)
            backward = [ops[s] for s in reading if ops[s].phase == "backward"]
            if (
                pool_step is not None
                and len(reading) == 1 + len(backward)
                and all(op.name == "relu_backward" for op in backward)
            ):
                pool = ops[pool_step]
                _swap_forward(ops, step, pool_step)
                if backward:
                    _swap_backward(ops, pool, backward[0])
                readers = readers_of(ops)
    return replace(program, ops=tuple(ops))


def _swap_forward(ops: list[Op], relu_step: int, pool_step: int) -> None:
    """x -relu-> y -pool-> z  becomes  x -pool-> m -relu-> z."""
    relu, pool = ops[relu_step], ops[pool_step]
    (x,), (z, *switches) = relu.inputs, pool.outputs
    maximum = replace(z, name=f"{z.layer}.max")
    ops[relu_step] = replace(pool, inputs=(x,), outputs=(maximum, *switches))
    ops[pool_step] = replace(relu, inputs=(maximum,), outputs=(z,))


def _swap_backward(ops: list[Op], pool: Op, relu_backward: Op) -> None:
    """dz -pool-> dy -relu-> dx  becomes  dz -relu-> dm -pool-> dx."""
    z, switches = pool.outputs
    pool_step, pool_backward = next((i, op) for i, op in enumerate(ops) if switches in op.inputs)
    (dz, _), (dx,) = pool_backward.inputs, relu_backward.outputs
    dm = replace(dz, name=f"{z.layer}.dmax", layer=z.layer)
    relu_step = ops.index(relu_backward)
    ops[pool_step] = replace(relu_backward, inputs=(dz, z), outputs=(dm,))
    ops[relu_step] = replace(pool_backward, inputs=(dm, switches), outputs=(dx,))


def small_switches(program: Program) -> Program:
    """Pool switches become one byte wherever the window has at most 256 places."""

    def smaller(op: Op) -> Iterable[Tensor]:
        if op.name in ("max_pool_forward", "max_pool_by_axis_forward") and _places(op) <= 256:
            yield op.outputs[1]

    return _replaced(program, {t.name: replace(t, dtype="uint8") for op in program.ops for t in smaller(op)})


def _places(pool: Op) -> int:
    """How many positions a window of a pool has."""
    extents = ("F", "F") if "F" in pool.attributes else ("F_rows", "F_columns")
    rows, columns = (int(pool.attributes[extent]) for extent in extents)  # type: ignore[arg-type]
    return rows * columns


def relu_masks(program: Program) -> Program:
    """Behind its last other reader, a ReLU's output becomes one bit for each value, all that ReLU's backward needs.

    So it is gone while the gradient with respect to it is made, which is as large. Nothing is done where that would
    bring nothing: where ReLU's backward follows that reader at once, or a loop holds the output anyway.
    """
    ops = list(program.ops)
    readers = readers_of(ops)
    masks: dict[int, list[Op]] = {}
    for step, relu in enumerate(ops):
        if relu.name == "relu_backward":
            dy, y = relu.inputs
            reader = max((s for s in readers[y.name] if s != step), default=-1)
            if 0 <= reader < step - 1 and not _held(program, y, reader, step):
                mask, phase = _mask(relu, y), ops[reader].phase
                masks.setdefault(reader, []).append(Op("relu_mask", relu.layer, phase, (y,), (mask,)))
                ops[step] = replace(relu, name="relu_backward_masked", inputs=(dy, mask), in_place=((0, 0),))
    return _inserted(replace(program, ops=tuple(ops)), masks)


def _held(program: Program, y: Tensor, reader: int, step: int) -> bool:
    """Whether y lives to the end of a loop that both steps are in, as it is there for more images than a round's."""
    loop = program.loop_at(step)
    return loop is not None and loop is program.loop_at(reader) and y.shape[0] > loop.images


def _mask(relu: Op, y: Tensor) -> Tensor:
    """A bit for each value of y, whole bytes for each image."""
    images, *volume = y.shape
    shape = images, -(-prod(volume) // 8)
    return Tensor(f"{y.name}.mask", Kind.ACTIVATION, shape, "uint8", relu.layer, y.batched)


def late_gradients(program: Program) -> Program:
    """The gradients of weights that are larger than what they are made from wait for the end of the backward pass.

    A fully connected layer behind large volumes is the case: its gradient would be alive while all activations still
    are, its input and the gradient of its output are small beside it. Done only where it lowers the peak.
    """
    waiting = {
        step
        for step, op in enumerate(program.ops)
        if op.name.endswith("_backward_weights")
        and program.loop_at(step) is None
        and sum(t.nbytes for t in op.outputs) > sum(t.nbytes for t in op.inputs)
    }
    if not waiting:
        return program
    last = max(step for step, op in enumerate(program.ops) if op.phase == "backward")
    moved = [program.ops[step] for step in sorted(waiting)]
    late = _removed(_inserted(program, {last: moved}), waiting)
    return min(program, late, key=lambda one: max(live_bytes(in_place(early_updates(one)))))


def early_updates(program: Program) -> Program:
    """Every parameter is updated as soon as nothing reads it any more in this step, so that its gradient dies at once.

    Before that its gradient is clipped, where it is to be: by value at once, by the norm of all when all are there.
    Where a loop adds a gradient up, all this comes after the loop. The loss is known before: of one that is no number
    nothing is learnt.
    """
    body = [op for op in program.ops if op.phase != "update"]
    known = max((step for step, op in enumerate(body) if program.loss in op.outputs), default=0)
    always_there = {t.name for t in (program.loss, program.numbers) if t is not None}  # and no update changes them
    last_use = {t.name: step for step, op in enumerate(body) for t in op.arguments if t is not None}
    due: dict[int, list[Op]] = {}
    for update in (op for op in program.ops if op.phase == "update"):
        used = [t.name for t in update.arguments if t is not None and t.name not in always_there]
        ready = max(known, *(last_use[name] for name in used if name in last_use))
        loop = program.loop_at(ready)
        when = loop.last - 1 if loop else ready
        due.setdefault(when, []).append(update)
        last_use |= dict.fromkeys(used, when)  # what uses the same later on comes behind it
    return _inserted(replace(program, ops=tuple(body)), due)


def _inserted(program: Program, after: Mapping[int, Sequence[Op]]) -> Program:
    """The program with these ops behind those steps; what comes behind the last step of a loop is not in it."""

    def moved(step: int) -> int:
        return step + sum(len(ops) for before, ops in after.items() if before < step)

    ops = tuple(op for step, one in enumerate(program.ops) for op in (one, *after.get(step, ())))
    loops = tuple(replace(loop, first=moved(loop.first), last=moved(loop.last - 1) + 1) for loop in program.loops)
    return replace(program, ops=ops, loops=loops)


def _removed(program: Program, steps: Collection[int]) -> Program:
    """The program without these steps, none of them in a loop."""

    def moved(step: int) -> int:
        return step - sum(gone < step for gone in steps)

    ops = tuple(op for step, op in enumerate(program.ops) if step not in steps)
    loops = tuple(replace(loop, first=moved(loop.first), last=moved(loop.last)) for loop in program.loops)
    return replace(program, ops=ops, loops=loops)


def in_place(program: Program) -> Program:
    """Let an output take over the bytes of an input whose last reader is the op that writes it.

    Only where the op allows it (`Op.in_place`), both are equally large, neither outlives a step, and the host does not
    read the input afterwards: ReLU over its input, softmax over the scores, gradients over gradients.
    """
    last_reader = {t.name: step for step, op in enumerate(program.ops) for t in op.inputs}
    first_writer: dict[str, int] = {}
    for step, op in enumerate(program.ops):
        for tensor in op.outputs:
            first_writer.setdefault(tensor.name, step)
    kept = {t.name for t in (program.loss, program.correct) if t is not None}
    if program.mode == "infer":
        kept.add(program.scores.name)
    takes_over: dict[str, str] = {}
    given: set[str] = set()
    for step, op in enumerate(program.ops):
        for written, read in op.in_place:
            heir, giver = op.outputs[written], op.inputs[read]
            loop = program.loop_at(step)
            if loop and not heir.shape[0] == giver.shape[0] == loop.images:
                continue  # the giver is still to be read in later rounds
            free = giver.name not in given | kept and last_reader[giver.name] == step and not giver.kind.persistent
            fits = heir.nbytes == giver.nbytes and heir.dtype == giver.dtype and first_writer[heir.name] == step
            if free and fits and heir.name not in takes_over:
                takes_over[heir.name] = giver.name
                given.add(giver.name)
    return replace(program, takes_over={**program.takes_over, **takes_over})


REWRITES: dict[str, Rewrite] = {
    "pool-before-relu": pool_before_relu,
    "small-switches": small_switches,
    **FUSIONS,
    "late-unpool": late_unpool,
    "relu-masks": relu_masks,
    "late-gradients": late_gradients,
    "early-updates": early_updates,
    "in-place": in_place,
}
"""Every rewrite by name, in the order in which they are applied: in-place last, for it looks at who reads what when."""


def rewrite(
    program: Program, without: Collection[str] = (), *, only: Collection[str] = (), skip: Collection[str] = ()
) -> Program:
    """Apply all rewrites, or `only` some, but those in `skip` and those that the user wants left out, `without`.

    Raises ConfigError for a name in `without` that there is not.
    """
    for name in without:
        if name not in REWRITES:
            close = get_close_matches(name, REWRITES, 1)
            hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(REWRITES)}"
            raise ConfigError(f"there is no rewrite {told(name)} to leave out{hint}")
    for name, apply in REWRITES.items():
        if name in (only or REWRITES) and name not in {*without, *skip}:
            program = apply(program)
    return program


def _replaced(program: Program, tensors: dict[str, Tensor]) -> Program:
    """The program with every tensor of a name in `tensors` exchanged for that one."""

    def new(found: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(tensors.get(tensor.name, tensor) for tensor in found)

    ops = tuple(replace(op, inputs=new(op.inputs), outputs=new(op.outputs)) for op in program.ops)
    return replace(program, ops=ops)
