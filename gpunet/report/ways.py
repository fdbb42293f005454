"""What it took to make a plan fit, in words: what is made again, what runs in rounds, what that costs."""

from collections.abc import Collection, Sequence

from gpunet.compile.recompute import is_again
from gpunet.memory.plan import Plan
from gpunet.memory.size import format_bytes
from gpunet.program.program import Attribute

LADDER_WORDS = {
    (): "free savings alone",
    ("recompute",): "+ layers made again",
    ("recompute", "chunks"): "+ first layers in rounds",
    ("chunks",): "+ first layers in rounds",
    ("micro-batches",): "whole step in rounds (a)",
    ("recompute", "chunks", "micro-batches"): "all of these (a)",
    ("ghost-rounds",): "whole step in ghost rounds (b)",
    ("recompute", "chunks", "ghost-rounds"): "all of these (b)",
    ("recompute", "chunks", "micro-batches", "ghost-rounds"): "all of these (a, b)",
}
"""What the rungs of a ladder are called in a table."""

CLIPS = {"clip_value": "clip_by_value", "clip_norm": "clip_by_norm"}
"""The ops that clip gradients, by the setting that asks for them."""

MICRO_BATCH_NOTE = """\
(a) only with --micro-batches: gradients are added up over rounds, so sums are taken in another order and results agree
    to rounding, not bit for bit; and rounds of few images use a GPU badly."""

GHOST_NOTE = """\
(b) only with --ways ghost-rounds: batch normalization takes its statistics over the images of a round, so a step gives
    other results than one in one go; rounds of few images learn worse."""


def made_again(plan: Plan) -> set[str]:
    """Names of the layers that run a second time, in the backward pass."""
    return {op.layer for op in plan.program.ops if is_again(op)}


def rounds(plan: Plan) -> dict[str, int]:
    """Images of a round, by the name of each layer that runs in rounds."""
    found: dict[str, int] = {}
    for loop in plan.program.loops:
        found |= {op.layer: loop.images for op in plan.program.ops[loop.first : loop.last]}
    return found


def how(plan: Plan) -> dict[str, str]:
    """How each layer runs that does not simply run once for the whole batch: "made again", "in rounds of 4"."""
    again, images = made_again(plan), rounds(plan)
    words = {}
    for layer in again | set(images):
        parts = ["made again"] if layer in again else []
        parts += [f"in rounds of {images[layer]:,}"] if layer in images else []
        words[layer] = ", ".join(parts)
    return words


def describe(plan: Plan) -> str:
    """What was chosen and what it costs, in one line: for a plan that needs nothing but the free savings, that."""
    parts = []
    if again := _again(plan):
        parts.append(f"{again} made again in the backward pass")
    if plan.ways is not None and plan.ways.micro_batch:
        parts.append(f"the whole step in rounds of {_images(plan.ways.micro_batch)}")
    elif plan.ways is not None and plan.ways.ghost_rounds:
        parts.append(
            f"the whole step in {plan.ways.ghost_rounds} ghost rounds, each a batch to batch normalization, which "
            "gives other results"
        )
    elif plan.ways is not None and plan.ways.chunk and plan.program.loops:
        last = plan.program.tensors[plan.ways.cut].layer
        parts.append(f"all from the input to {last} in rounds of {_images(plan.ways.chunk)}")
    if plan.ways is not None and plan.ways.one_buffer:
        parts.append("one buffer for images")
    if _scratch_is_short(plan):
        parts.append(f"scratch of at most {format_bytes(plan.scratch_limit_bytes)} for a convolution")
    if not parts:
        return "free savings alone, no extra FLOPs"
    least = "" if plan.least_cost is None else f" (gap {plan.cost_gap:.2%}: no choice is below {plan.least_cost:.2%})"
    return f"{'; '.join(parts)}: {cost(plan.extra_flops_fraction, plan.extra_time_fraction)}{least}"


def needed(plan: Plan) -> bool:
    """Whether anything but the free savings is at work."""
    saves = plan.ways is not None and (plan.ways.one_buffer or plan.ways.rounds or plan.ways.ghost_rounds)
    return bool(saves or made_again(plan) or _scratch_is_short(plan))


def _scratch_is_short(plan: Plan) -> bool:
    return plan.budget_bytes is not None and plan.scratch_limit_bytes < plan.target.scratch_limit_bytes


def cost(flops: float, time: float) -> str:
    """What is made again, as people say it: as fractions of the FLOPs and of the predicted time of a step."""
    more = f"{time:.2%} more time, " if time else ""
    return more + (f"{flops:.2%} extra FLOPs" if flops else "no extra FLOPs")


def step_flops(plan: Plan) -> int:
    """FLOPs of the matrix products of a step, what is made again included."""
    return sum(op.flops for op in plan.program.ops)


def format_flops(count: int) -> str:
    """FLOPs for people: 5.93 TFLOP, 30.9 GFLOP."""
    for unit, size in (("PFLOP", 10**15), ("TFLOP", 10**12), ("GFLOP", 10**9), ("MFLOP", 10**6), ("kFLOP", 10**3)):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count} FLOP"


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"


def frozen(plan: Plan) -> str:
    """The layers whose parameters stay as they are, as people say it: "conv1 to conv5"."""
    return _list(list(dict.fromkeys(p.tensor.layer for p in plan.program.parameters)), plan.frozen)


def clips(plan: Plan) -> dict[str, Attribute | None]:
    """The most that gradients may be, by the settings that say so; None where they do not."""
    most = {op.name: op.attributes["most"] for op in plan.program.ops if op.name in CLIPS.values()}
    return {setting: most.get(op) for setting, op in CLIPS.items()}


def clipped(plan: Plan) -> str:
    """What gradients are clipped at, as people say it: "value 0.1 and norm 1"; nothing where they are not."""
    said = {setting.removeprefix("clip_"): most for setting, most in clips(plan).items()}
    return " and ".join(f"{what} {most:g}" for what, most in said.items() if most is not None)


def _again(plan: Plan) -> str:
    """The layers that are made again, in the order of the program."""
    order = dict.fromkeys(op.layer for op in plan.program.ops if op.phase == "forward")
    return _list(list(order), made_again(plan))


def _list(order: Sequence[str], layers: Collection[str]) -> str:
    """Some of the layers in order: "conv1, relu1", or "conv1 to pool2" for a run of more than three."""
    chosen = [name for name in order if name in layers]
    run = order[order.index(chosen[0]) : order.index(chosen[-1]) + 1] if chosen else []
    return f"{chosen[0]} to {chosen[-1]}" if len(chosen) > 3 and run == chosen else ", ".join(chosen)
