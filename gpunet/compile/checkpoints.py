"""Which activations to drop and make again: dynamic programming over the chain of points at which the net can be cut.

The net is a chain of links between checkpoints: activations that are saved, and that alone cross from before to
behind. A branchy block is one link. A segment of links whose inner checkpoints are dropped costs the FLOPs of running
it again; what it saves is absent while everything behind it runs backward. The transients are the program's own:
bytes alive in each step.

Source: Chen et al. 2016, "Training deep nets with sublinear memory cost"; Beaumont et al. 2019, "Optimal
checkpointing for heterogeneous chains" (rotor). Here every activation is made again at most once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gpunet.compile.chunk import cut_points
from gpunet.compile.recompute import saved
from gpunet.program.program import Op, Program

STATES = 200
"""How many trade-offs between bytes and FLOPs are followed from one link to the next."""


@dataclass(frozen=True, slots=True)
class Link:
    """The part of the forward pass that makes `checkpoint`; the last link, up to the loss, makes none ("").

    `checkpoint_bytes`         of the checkpoint that ends the link
    `inner, inner_bytes`       what else it saves for backward, such as switches
    `flops`                    of running it once more
    `forward_bytes, backward_bytes`  most bytes alive while it runs, nothing dropped
    """

    checkpoint: str
    checkpoint_bytes: int
    inner: tuple[str, ...]
    inner_bytes: int
    flops: int
    forward_bytes: int
    backward_bytes: int


def links(program: Program, live_bytes: Sequence[int]) -> list[Link]:
    """The links of a training program in which nothing is dropped; live_bytes: what is alive in each step.

    What is dropped within a loop over images is gone from all of that loop, so the bytes of a loop count for the link
    behind it.
    """
    kept = saved(program)
    parts = _parts(program, [name for name in cut_points(program) if name in kept])
    owner: dict[str, int] = {}
    for number, (_, ops) in enumerate(parts):
        for op in ops:
            for layer in op.layers:
                owner.setdefault(layer, number)  # a mask of bits may be made in a later part than its layer's output
    forward, backward = [0] * len(parts), [0] * len(parts)
    for step, op in enumerate(program.ops):
        number = owner.get(op.layer, len(parts) - 1)
        loop = program.loop_at(step)
        if loop is not None:
            number = 1 + max(owner[inside.layer] for inside in program.ops[loop.first : loop.last])
        peaks = forward if op.phase in ("forward", "loss") else backward
        peaks[number] = max(peaks[number], live_bytes[step])
    found = []
    for number, (checkpoint, ops) in enumerate(parts):
        made = (t for op in ops for t in op.outputs if t.name in kept and t.name != checkpoint)
        inner = tuple(t.name for t in made if t.batched)  # statistics of a batch are too small to be worth it
        inner_bytes = sum(kept[name].nbytes for name in inner)
        size = kept[checkpoint].nbytes if checkpoint else 0
        flops = sum(op.flops for op in ops)
        found.append(Link(checkpoint, size, inner, inner_bytes, flops, forward[number], backward[number]))
    return found


def _parts(program: Program, checkpoints: Sequence[str]) -> list[tuple[str, list[Op]]]:
    """(checkpoint, the ops that make it from the one before); the last part, to the loss, has no checkpoint: ""."""
    parts: list[tuple[str, list[Op]]] = []
    ops: list[Op] = []
    wanted = iter([*checkpoints, ""])
    checkpoint = next(wanted)
    for op in program.ops:
        if op.phase in ("forward", "loss"):
            ops.append(op)
            if checkpoint in {t.name for t in op.outputs}:
                parts.append((checkpoint, ops))
                ops, checkpoint = [], next(wanted)
    return [*parts, ("", ops)]


@dataclass(frozen=True, slots=True)
class _State:
    """After some links: bytes and FLOPs of what was dropped, and which activations those are."""

    saved_bytes: int
    flops: int
    dropped: tuple[str, ...]


def cheapest(chain: Sequence[Link], limit_bytes: int, most_flops: int) -> tuple[str, ...] | None:
    """The activations to drop so that no step has more than limit_bytes alive, at the fewest FLOPs, at most most_flops.

    None where there is no such choice.
    """
    fronts: list[list[_State]] = [[] for _ in range(len(chain) + 1)]
    fronts[0] = [_State(0, 0, ())]
    for start in range(len(chain)):
        states = fronts[start] = _undominated(fronts[start])
        if states:
            _extend(chain, start, states, fronts, limit_bytes, most_flops)
    ends = _undominated(fronts[-1])
    return min(ends, key=lambda state: state.flops).dropped if ends else None


def _extend(
    chain: Sequence[Link],
    start: int,
    states: list[_State],
    fronts: list[list[_State]],
    limit_bytes: int,
    most_flops: int,
) -> None:
    """Continue every state by a segment of each length, with and without running its last link again too."""
    need = flops = freed = 0
    names: tuple[str, ...] = ()
    for end in range(start, len(chain)):
        link = chain[end]
        # A forward step still reads the checkpoint before it, so what is dropped there is not gone yet.
        before = freed - chain[end - 1].checkpoint_bytes if end > start else 0
        need = max(need, link.backward_bytes - limit_bytes, link.forward_bytes - before - limit_bytes)
        for again in (False, True) if link.inner else (False,):
            extra = flops + (link.flops if again else 0)
            gain = freed + (link.inner_bytes if again else 0)
            dropped = names + (link.inner if again else ())
            fronts[end + 1] += [
                _State(s.saved_bytes + gain, s.flops + extra, s.dropped + dropped)
                for s in states
                if s.saved_bytes >= need and s.flops + extra <= most_flops
            ]
        flops += link.flops
        freed += link.inner_bytes + link.checkpoint_bytes
        names += (*link.inner, link.checkpoint)
        if states[0].flops + flops > most_flops:
            return


def _undominated(states: list[_State]) -> list[_State]:
    """Those that no other beats in both bytes and FLOPs, cheapest first; thinned out to STATES of them."""
    best: list[_State] = []
    for state in sorted(states, key=lambda s: (s.flops, -s.saved_bytes)):
        if not best or state.saved_bytes > best[-1].saved_bytes:
            best.append(state)
    if len(best) <= STATES:
        return best
    step = (len(best) - 1) / (STATES - 1)
    return [best[round(i * step)] for i in range(STATES)]
