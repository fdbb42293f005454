"""The passes of a training step, each to be run again and again on its own, as convnet-benchmarks times them.

For that every tensor has bytes of its own for as long as there is an arena. The loss and the updates are left out; the
gradient that is sent back is the output itself.
"""

from dataclasses import replace
from types import TracebackType
from typing import Any, Literal, Self, get_args

import numpy as np

from gpunet.bench.cases import Case
from gpunet.compile.lower import lower
from gpunet.compile.ways import Ways, apply
from gpunet.devices import free_bytes
from gpunet.devices.device import Device
from gpunet.devices.target import DeviceTarget
from gpunet.errors import OutOfMemory
from gpunet.layers.loss import LOSS, loss_of
from gpunet.memory.arena import Buffer, place
from gpunet.memory.plan import Plan, arrange, buffers
from gpunet.memory.size import format_bytes
from gpunet.model.bound import BoundProgram
from gpunet.model.parameters import Parameters
from gpunet.model.whole import Whole
from gpunet.net.net import Net, least_images
from gpunet.optimize.optimizers import SGD
from gpunet.planning.compiler import require_ops
from gpunet.planning.planner import check_batch
from gpunet.program.program import Dtype, Now, Op, Program
from gpunet.program.tensor import Kind, Tensor

PassName = Literal["forward", "backward_inputs", "backward_weights"]
PASSES: tuple[PassName, ...] = get_args(PassName)


class Passes:
    """A net on a device, its passes ready to be run on random normal images.

    `plan`         of the whole training step, with all savings, for what it says of memory
    `arena_bytes`  what the passes take here

    Raises OutOfMemory where the device has not that much memory.
    """

    def __init__(self, case: Case, device: Device, where: DeviceTarget, dtype: Dtype = "float32") -> None:
        self.device = device
        self.plan = step_plan(case, where, dtype)
        alone = _apart(self.plan, case.net)
        self.arena_bytes = alone.arena_bytes
        _require_room(case, device, self.arena_bytes)
        self._sent = _sent(self.plan.program, case.net)
        self._bound = BoundProgram(alone, device, seed=0)
        try:
            self._bound.set_numbers(Now(learning_rate=0.0, step=1, seen=0))
            Parameters(alone, self._bound, Whole(alone)).draw(0)
            images = np.random.default_rng(0).standard_normal((case.batch, *case.net.input.shape), np.float32)
            device.write(self.view(alone.program.images), images.astype(dtype, copy=False))
            self.calls = list(self._bound.walk(case.batch, 1, ("forward", "backward")))
        except BaseException:
            self._bound.free()
            raise

    def run(self, pass_: PassName) -> None:
        """Ask for all ops of a pass, once."""
        for op, call in self.calls:
            if pass_of(op) == pass_:
                call()

    def run_all(self) -> None:
        """Ask for all passes, op by op as in a training step; the gradient that is sent back is the output."""
        self.run("forward")
        for scores, gradient in self._sent:
            self.device.write(self.view(gradient), self.device.read(self.view(scores)).reshape(gradient.shape))
        for op, call in self.calls:
            if op.phase == "backward":
                call()

    def view(self, tensor: Tensor) -> Any:
        """A tensor on the device, whole."""
        return self._bound.view(tensor, 0, self.plan.batch)

    def flops(self, pass_: PassName) -> int:
        """Multiplications and additions of the matrix products of a pass."""
        return sum(op.flops for op, _ in self.calls if pass_of(op) == pass_)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bound.free()


def _require_room(case: Case, device: Device, nbytes: int) -> None:
    """Raise OutOfMemory where less is free, as far as that is told: some systems would let go of programs instead."""
    free = free_bytes(device.name)
    if free is not None and nbytes > free:
        raise OutOfMemory(
            f"{case.name}, batch {case.batch}: its passes take {format_bytes(nbytes)}, every tensor in bytes of its "
            f"own, and {format_bytes(free)} are free; use a smaller --batch"
        )


def pass_of(op: Op) -> PassName:
    """The pass that an op belongs to: what writes a gradient of parameters is of the weights."""
    if op.phase == "forward":
        return "forward"
    learnt = any(tensor.kind is Kind.PARAMETER_GRADIENT for tensor in op.outputs)
    return "backward_weights" if learnt else "backward_inputs"


def step_plan(case: Case, where: DeviceTarget, dtype: Dtype = "float32") -> Plan:
    """A training step of a case, with all savings that are free, by plain gradient descent."""
    net, batch = case.net, max(check_batch(case.batch), least_images(case.net.pairing(())))
    program = lower(
        net,
        batch=batch,
        mode="train",
        dtype=dtype,
        optimizer=SGD(),
        target=where,
        scratch_limit_bytes=where.scratch_limit_bytes,
        image_gradient=case.input_gradient,
    )
    require_ops(net, program, where.name)
    ways = Ways(where.scratch_limit_bytes)
    program = apply(program, ways)
    return Plan(net.name, where, "sgd", program, arrange(program), where.reserve().nbytes, ways=ways, of=net)


def _apart(plan: Plan, net: Net) -> Plan:
    """The passes of a plan's step alone, every tensor in bytes that are nobody else's at any time."""
    ops = tuple(op for op in plan.program.ops if op.phase in ("forward", "backward") and op.layer not in _losses(net))
    program = replace(plan.program, ops=ops, takes_over={}, within={}, loss=None, correct=None)
    base, moving = buffers(program)
    always = [Buffer(buffer.name, buffer.nbytes, 0, program.steps) for buffer in moving]
    return replace(plan, program=program, placement=place(always, base=base, alignment=plan.target.alignment))


def _sent(program: Program, net: Net) -> list[tuple[Tensor, Tensor]]:
    """(scores, their gradient) of each loss: what a loss reads first, and what it sends back."""
    losses = [op for op in program.ops if op.layer in _losses(net)]
    scores = {op.layer: op.inputs[0] for op in reversed(losses) if op.phase == "loss"}
    return [(scores[op.layer], op.outputs[0]) for op in losses if op.phase == "backward"]


def _losses(net: Net) -> set[str]:
    return {LOSS, *(loss_of(node.name) for node in net.heads)}
