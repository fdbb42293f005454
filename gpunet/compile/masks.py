"""What ReLU's backward needs of its output: a bit a value, where that keeps fewer bytes alive."""

from dataclasses import replace
from math import prod

from gpunet.compile.in_place import in_place
from gpunet.compile.steps import exchanged, inserted, readers_of
from gpunet.memory.plan import live_bytes
from gpunet.program.program import Op, Program
from gpunet.program.tensor import Kind, Tensor


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
    return inserted(replace(program, ops=tuple(ops)), masks) if masks else program


def _held(program: Program, y: Tensor, reader: int, step: int) -> bool:
    """Whether y lives to the end of a loop that both steps are in, as it is there for more images than a round's."""
    loop = program.loop_at(step)
    return loop is not None and loop is program.loop_at(reader) and y.shape[0] > loop.images


def _mask(relu: Op, y: Tensor) -> Tensor:
    """A bit for each value of y, whole bytes for each image."""
    images, *volume = y.shape
    shape = images, -(-prod(volume) // 8)
    return Tensor(f"{y.name}.mask", Kind.ACTIVATION, shape, "uint8", relu.layer, y.batched)


def spare_masks(program: Program) -> Program:
    """Masks that lower no peak are not made: ReLU's backward reads the output itself, which stays for that.

    A mask costs a call and a pass over the output. Far from the peak, where the output may live on in bytes that are
    free anyway, nothing is gained by it.
    """
    ops = list(program.ops)
    makers = {op.outputs[0].name: step for step, op in enumerate(ops) if op.name == "relu_mask"}
    if not makers:
        return program
    live = live_bytes(in_place(program))
    peak = max(live)
    gone = set()
    for step, op in enumerate(ops):
        made = makers.get(op.inputs[1].name) if op.name == "relu_backward_masked" else None
        if made is None or not _in_one_round(program, made, step):
            continue
        (dy, mask), (y,) = op.inputs, ops[made].inputs
        between, more = slice(made + 1, step + 1), _whole(y) - _whole(mask)
        if max(live[between]) + more <= peak:
            ops[step] = replace(op, name="relu_backward", inputs=(dy, y), in_place=((0, 0), (0, 1)))
            gone.add(made)
            live[between] = [nbytes + more for nbytes in live[between]]
    return exchanged(replace(program, ops=tuple(ops)), gone, {})


def _in_one_round(program: Program, made: int, read: int) -> bool:
    """Whether a mask and its reader stand in no loop, or in one: then the output is that of a round."""
    return program.loop_at(made) is program.loop_at(read)


def _whole(tensor: Tensor) -> int:
    """Its bytes, rounded up as a plan does."""
    return -(-tensor.nbytes // 256) * 256
