"""Savings that cost nothing: functions Program -> Program that leave every value as it was, bit for bit.

They are applied in the order of REWRITES; each can be left out by name.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from difflib import get_close_matches

from gpunet.compile.concat import concat_in_place
from gpunet.compile.fuse import FUSIONS, late_unpool
from gpunet.compile.fuse_conv_norm import late_conv_norm
from gpunet.compile.fuse_slope import conv_slope, sum_slope
from gpunet.compile.in_place import in_place
from gpunet.compile.joint import joint_updates
from gpunet.compile.masks import relu_masks, spare_masks
from gpunet.compile.overlap import overlap
from gpunet.compile.steps import exchanged, inserted, readers_of
from gpunet.errors import ConfigError
from gpunet.memory.plan import live_bytes
from gpunet.program.program import Op, Program
from gpunet.program.switches import switches_like
from gpunet.program.tensor import Tensor
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
    """Pool switches take half a byte wherever the window has at most 15 places, a byte where it has at most 256."""

    def smaller(op: Op) -> Iterable[Tensor]:
        if op.name in ("max_pool_forward", "max_pool_by_axis_forward"):
            y, switches = op.outputs
            shape, dtype = switches_like(y.shape, _places(op))
            yield replace(switches, shape=shape, dtype=dtype)

    switches = {t.name: t for op in program.ops for t in smaller(op)}
    return _replaced(program, switches) if switches else program


def _places(pool: Op) -> int:
    """How many positions a window of a pool has."""
    extents = ("F", "F") if "F" in pool.attributes else ("F_rows", "F_columns")
    rows, columns = (int(pool.attributes[extent]) for extent in extents)  # type: ignore[arg-type]
    return rows * columns


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
    late = exchanged(program, waiting, {last + 1: moved})
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
    return inserted(replace(program, ops=tuple(body)), due)


REWRITES: dict[str, Rewrite] = {
    "pool-before-relu": pool_before_relu,
    "small-switches": small_switches,
    **FUSIONS,
    "late-unpool": late_unpool,
    "late-conv-norm": late_conv_norm,
    "relu-masks": relu_masks,
    "late-gradients": late_gradients,
    "early-updates": early_updates,
    "overlap": overlap,
    "joint-updates": joint_updates,
    "spare-masks": spare_masks,
    "conv-slope": conv_slope,
    "sum-slope": sum_slope,
    "concat": concat_in_place,
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
