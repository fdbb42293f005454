"""Fusions: what follows a convolution becomes part of it, so that it costs no pass of its own over memory.

Functions Program -> Program that leave every value as it was, bit for bit, as those of `rewrite`. They apply where the
device says that it can do so for the algorithm of the convolution (`Program.fusions`). A fused op belongs to the layer
of the convolution; what it makes keeps the name and the layer that it had.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from gpunet.compile.fuse_conv_norm import conv_norm
from gpunet.compile.fuse_norm import norm_relu
from gpunet.compile.steps import exchanged, readers_of
from gpunet.program.algorithm import Fusion
from gpunet.program.program import Attribute, Op, Program
from gpunet.program.switches import switches_like
from gpunet.program.tensor import Kind, Tensor

SWITCHES = 255
"""What a switch of one byte can hold."""

BACKWARD = {
    "conv_backward_weights": "conv_pool_backward_weights",
    "conv_backward_input": "conv_pool_backward_input",
    "bias_backward": "conv_pool_backward_bias",
}
"""The ops that read the gradient of a convolution's output, and those that read the one behind the pool instead."""


def conv_relu(program: Program) -> Program:
    """A ReLU that alone reads the output of a convolution is made in the same pass."""
    ops = list(program.ops)
    readers = readers_of(ops)
    gone = set()
    for step, conv in enumerate(ops):
        if conv.name == "conv_forward" and _fuses(program, conv, "relu"):
            behind = readers.get(conv.outputs[0].name, [])
            if len(behind) == 1 and ops[behind[0]].name == "relu_forward":
                ops[step] = replace(conv, name="conv_relu_forward", outputs=ops[behind[0]].outputs)
                gone.add(behind[0])
    return _without(program, ops, gone)


def conv_pool(program: Program) -> Program:
    """Max pooling that alone reads the output of a convolution, with a ReLU that alone reads the maxima: one op.

    So the volume before the pool is nowhere as a whole. Where ReLU gives 0, a switch points nowhere, which is all that
    ReLU's backward must know. Only for windows that do not overlap, and only where the strips of that volume that are
    made instead are small.
    """
    ops = list(program.ops)
    readers = readers_of(ops)
    gone: set[int] = set()
    for step, conv in enumerate(ops):
        if conv.name == "conv_forward":
            found = _found(ops, readers, step)
            if found is not None and _pays(program, found):
                ops[step] = found.forward()
                if found.unpool is not None:
                    ops[found.unpool] = found.backward(ops[found.unpool])
                gone |= found.gone
    return _without(program, ops, gone)


def unpool(program: Program) -> Program:
    """Gradients of a convolution are made from that behind the max-pool behind it; the one before is nowhere whole."""
    return _unpool(program, ("unpool", "unpool2x2"))


def late_unpool(program: Program) -> Program:
    """The same where it costs some time, so that it is only for a budget that is short."""
    return _unpool(program, ("late-unpool", "late-unpool2x2"))


FUSIONS = {
    "conv-pool": conv_pool,
    "conv-relu": conv_relu,
    "unpool": unpool,
    "norm-relu": norm_relu,
    "conv-norm": conv_norm,
}
"""Fusions by name, in the order in which they are applied."""


@dataclass(frozen=True, slots=True)
class _ConvPool:
    """A convolution with pooling behind it.

    `relu`      the ReLU behind the pool, or None
    `gradient`  with respect to what is behind all of it, or None where nothing is learnt from it
    `unpool`    the step of the pool's backward, which reads it then
    `gone`      the steps that the fused op does, too
    """

    conv: Op
    pool: Op
    relu: Op | None
    gradient: Tensor | None
    unpool: int | None
    gone: frozenset[int]

    @property
    def switches(self) -> tuple[Tensor, ...]:
        """Where the maxima were, half a byte for each or a whole one; none in inference."""
        y, *kept = self.pool.outputs
        shape, dtype = switches_like(y.shape, int(self.pool.attributes["F"]) ** 2)  # type: ignore[arg-type]
        return tuple(replace(tensor, shape=shape, dtype=dtype) for tensor in kept)

    def forward(self) -> Op:
        made = (self.relu or self.pool).outputs[0]
        absent = self.conv.absent if self.switches else (*self.conv.absent, 4)
        relu = {"relu": int(self.relu is not None)}
        return replace(
            self.conv,
            name="conv_pool_forward",
            outputs=(made, *self.switches),
            scratch=(*self.conv.scratch, self.strip),
            attributes={**self.conv.attributes, **_numbers(self.pool, self.conv.outputs[0]), **relu},
            absent=absent,
        )

    def backward(self, op: Op) -> Op:
        """The pool's backward as one that reads the gradient behind ReLU."""
        assert self.gradient is not None  # there is none without it
        return replace(op, inputs=(self.gradient, *self.switches))

    @property
    def strip(self) -> Tensor | None:
        """What there is of the volume before the pool at a time: as many chunks as a window is high, so that they may
        end where windows do."""
        return _strip(self.conv, self.conv.outputs[0], int(self.pool.attributes["S"]))  # type: ignore[arg-type]


def _found(ops: Sequence[Op], readers: dict[str, list[int]], step: int) -> _ConvPool | None:
    """What can be fused with the convolution of this step; None where nothing can."""
    behind = readers.get(ops[step].outputs[0].name, [])
    if len(behind) != 1 or ops[behind[0]].name not in ("max_pool_forward", "max_pool_infer"):
        return None
    pool = ops[behind[0]]
    relu = _only(ops, readers, pool.outputs[0], "relu_forward")
    gone = {behind[0]} | ({relu} if relu is not None else set())
    gradient = back = None
    if len(pool.outputs) > 1:
        back = _only(ops, readers, pool.outputs[1], "max_pool_backward")
        if back is None:
            return None
        gradient = ops[back].inputs[0]
        if relu is not None:
            slope = next((at for at, op in enumerate(ops) if op.outputs == (gradient,)), None)
            if slope is None or ops[slope].name != "relu_backward" or ops[relu].outputs[0] not in ops[slope].inputs:
                return None
            gradient, gone = ops[slope].inputs[0], gone | {slope}
    return _ConvPool(ops[step], pool, ops[relu] if relu is not None else None, gradient, back, frozenset(gone))


def _pays(program: Program, found: _ConvPool) -> bool:
    """Whether the device fuses them, and the strip is small beside the volume that is saved."""
    before, strip = found.conv.outputs[0], found.strip
    what: Fusion = "pool2x2" if _in_twos(found.pool, before, found.pool.outputs[0]) else "pool"
    return (
        _apart(found.pool)
        and _fuses(program, found.conv, what)
        and not _is_one_product(found.conv)
        and _in_whole_bytes(found.conv)
        and found.conv.attributes.get("slices", 1) == 1  # a sum in slices is not complete where it is made
        and (strip is None or 2 * strip.nbytes <= before.nbytes)
    )


def _unpool(program: Program, kinds: tuple[Fusion, Fusion]) -> Program:
    """`kinds`: what the device must do, for any windows that do not overlap, and for those of 2 x 2."""
    ops = list(program.ops)
    readers = readers_of(ops)
    gone: set[int] = set()
    for step, pool in enumerate(ops):
        if pool.name == "max_pool_backward" and _apart(pool) and pool.inputs[1].dtype == "uint8":
            (dy, _), (before,) = pool.inputs, pool.outputs
            reading = readers.get(before.name, [])
            kind = kinds[_in_twos(pool, before, dy)]
            if reading and all(_reads_behind(program, ops[at], before, kind) for at in reading):
                for at in reading:
                    ops[at] = _from_behind(ops[at], pool)
                gone.add(step)
    return _without(program, ops, gone)


def _reads_behind(program: Program, op: Op, before: Tensor, kind: Fusion) -> bool:
    """Whether the device makes this gradient from that behind the pool, and its strip is small."""
    if op.name == "bias_backward":
        return len(before.shape) == 4 and op.outputs[0].shape == before.shape[3:]
    strip = _strip(op, before) if op.name in BACKWARD else None
    return (
        op.name in BACKWARD
        and _fuses(program, op, kind)
        and not _is_one_product(op)
        and (strip is None or 2 * strip.nbytes <= before.nbytes)
    )


def _from_behind(op: Op, pool: Op) -> Op:
    """A backward op of a convolution as one that reads the gradient behind the pool."""
    before, at = pool.outputs[0], int(op.name == "conv_backward_weights")
    if op.name == "bias_backward":
        attributes = {**op.attributes, **_numbers(pool, before)}
        return replace(op, name=BACKWARD[op.name], inputs=pool.inputs, absent=(), attributes=attributes)
    scratch = (*op.scratch, _strip(op, before))
    inputs = (*op.inputs[:at], *pool.inputs, *op.inputs[at + 1 :])
    attributes = {**op.attributes, **_numbers(pool, before)}
    return replace(op, name=BACKWARD[op.name], inputs=inputs, scratch=scratch, attributes=attributes)


def _numbers(pool: Op, before: Tensor) -> dict[str, Attribute]:
    """What fused ops must know beside what those of the convolution do."""
    _, H2, W2, _ = before.shape
    return {"H2": H2, "W2": W2, "F": pool.attributes["F"], "S": pool.attributes["S"]}


def _strip(op: Op, before: Tensor, times: int = 1) -> Tensor | None:
    """Scratch for so many chunks of the volume before the pool, or of its gradient; None where no matrix is cut."""
    columns = op.scratch[0]
    if columns is None:
        return None
    *positions, K = before.shape
    rows = min(times * columns.shape[0], prod(positions))
    return Tensor(columns.name.replace("columns", "strip"), Kind.WORKSPACE, (rows, K), columns.dtype, op.layer)


def _apart(pool: Op) -> bool:
    """Whether the windows of a pool do not overlap, begin where its input does, and leave switches a value to spare."""
    F, S, P = (int(pool.attributes[name]) for name in ("F", "S", "P"))  # type: ignore[arg-type]
    return S >= F and P == 0 and F * F <= SWITCHES


def _in_twos(pool: Op, before: Tensor, behind: Tensor) -> bool:
    """Whether the windows are 2 x 2 at stride 2 and all of them within the volume before."""
    (_, H2, W2, _), (_, H3, W3, _) = before.shape, behind.shape
    return pool.attributes["F"] == pool.attributes["S"] == 2 and 2 * H3 <= H2 and 2 * W3 <= W2


def _in_whole_bytes(conv: Op) -> bool:
    """Whether no two groups of filters, which different threads make, share a byte of switches."""
    x, w = conv.inputs[:2]
    groups = x.shape[3] // w.shape[3]
    return groups == 1 or w.shape[0] // groups % 2 == 0


def _is_one_product(op: Op) -> bool:
    """Whether no im2col matrix is cut into chunks, as x itself is that matrix: what it makes comes in one piece."""
    return op.attributes["algorithm"] == "im2col" and op.scratch[0] is None


def _only(ops: Sequence[Op], readers: dict[str, list[int]], tensor: Tensor, name: str) -> int | None:
    """The step that alone reads a tensor, if it is an op of this name."""
    found = readers.get(tensor.name, [])
    return found[0] if len(found) == 1 and ops[found[0]].name == name else None


def _fuses(program: Program, op: Op, what: Fusion) -> bool:
    """Whether the device does this together with the algorithm of the op."""
    return what in program.fusions.get(str(op.attributes["algorithm"]), ())


def _without(program: Program, ops: Sequence[Op], steps: set[int]) -> Program:
    """The program of these ops but those steps."""
    return exchanged(replace(program, ops=tuple(ops)), steps, {})
