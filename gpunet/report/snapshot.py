"""A plan as a snapshot of PyTorch's allocator, for the viewers of those: pytorch.org/memory_viz shows the arena.

Such a file is a pickle of a dictionary of plain values: `segments` as they are at the end, and a trace of what was
allocated and freed on the way. The arena is one segment at address 0, so that an address is an offset.
Source: `torch.cuda.memory._snapshot` of PyTorch, and MemoryViz.js, which reads it.
"""

import pickle
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

from gpunet.errors import ConfigError
from gpunet.memory.plan import Plan, PlannedTensor
from gpunet.system.files import check_place, write_whole

ENDINGS = (".pickle", ".pkl")
PROTOCOL = 4
"""Of pickles; the viewer reads the opcodes of 2 to 4."""

NO_KIND = "unknown"
"""What the viewer calls what has no category; it fails where there are categories and none is called so."""

Event = dict[str, Any]


def save_snapshot(plan: Plan, path: str | PathLike[str]) -> None:
    """Write a plan as a .pickle file that PyTorch's memory viewer takes: pytorch.org/memory_viz, where nothing is sent
    anywhere, or `torch.cuda._memory_viz`.

    Every tensor that lies within no other is an allocation of its bytes, at its offset, from its first step to its
    last; its frames say its name, kind, layer and net. `time_us` is the step. Raises ConfigError for another ending, or
    where nothing can be written.
    """
    where = Path(path)
    check_snapshot(where)
    write_whole(where, pickle.dumps(memory_snapshot(plan), PROTOCOL))


def check_snapshot(path: Path) -> None:
    """Raise ConfigError where a snapshot cannot be written into that file, before any work is done."""
    if path.suffix.lower() not in ENDINGS:
        raise ConfigError(f"a snapshot is a {ENDINGS[0]} file; got {str(path)!r}")
    check_place(path)


def memory_snapshot(plan: Plan) -> dict[str, Any]:
    """The snapshot as plain values. What outlives the step is allocated at its end; sizes and addresses are bytes."""
    arena = plan.arena_bytes
    kept = sorted((one for one in plan.tensors if one.kind.persistent), key=lambda one: one.offset)
    held = sum(one.nbytes for one in kept)
    segment = {
        "device": 0,
        "address": 0,
        "total_size": arena,
        "allocated_size": held,
        "active_size": held,
        "requested_size": held,
        "stream": 0,
        "segment_type": "large",
        "segment_pool_id": (0, 0),
        "is_expandable": False,
        "frames": [_frame("arena", plan.net, 0)],
        "blocks": list(_blocks(kept, plan)),
    }
    return {"segments": [segment], "device_traces": [list(_events(plan))], "allocator_settings": {}}


def _blocks(kept: list[PlannedTensor], plan: Plan) -> Iterator[dict[str, Any]]:
    """The whole arena, from its base on: the tensors that are kept, and the gaps between them."""
    end = 0
    for one in kept:
        if one.offset > end:
            yield _gap(end, one.offset)
        block = {"address": one.offset, "size": one.nbytes, "requested_size": one.nbytes}
        yield block | {"state": "active_allocated", "frames": _frames(one, plan)}
        end = one.offset + one.nbytes
    if plan.arena_bytes > end:
        yield _gap(end, plan.arena_bytes)


def _gap(first: int, last: int) -> dict[str, Any]:
    return {"address": first, "size": last - first, "requested_size": 0, "state": "inactive", "frames": []}


def _events(plan: Plan) -> Iterator[Event]:
    """What happens, in order: in each step first what ends there is freed, then what begins there is allocated."""
    yield _event("segment_alloc", 0, plan.arena_bytes, 0, NO_KIND, [_frame("arena", plan.net, 0)])
    begins: dict[int, list[PlannedTensor]] = {}
    ends: dict[int, list[PlannedTensor]] = {}
    for one in (one for one in plan.tensors if one.first < one.last and not one.within):
        begins.setdefault(one.first, []).append(one)
        if not one.kind.persistent:
            ends.setdefault(one.last, []).append(one)
    for step in range(plan.steps + 1):
        for one in ends.get(step, ()):
            for action in ("free_requested", "free_completed"):
                yield _event(action, one.offset, one.nbytes, step, one.kind, _frames(one, plan))
        for one in begins.get(step, ()):
            yield _event("alloc", one.offset, one.nbytes, step, one.kind, _frames(one, plan))


def _event(action: str, address: int, size: int, step: int, category: str, frames: list[Event]) -> Event:
    what = {"action": action, "addr": address, "size": size, "stream": 0, "time_us": step}
    return what | {"category": str(category), "frames": frames}


def _frames(one: PlannedTensor, plan: Plan) -> list[Event]:
    """What stands in the place of a stack: the tensor, the op of its first step, kind, layer and net."""
    return [
        _frame("tensor", f"{one.name} in steps [{one.first}, {one.last})", one.first),
        _frame("step", plan.program.ops[one.first].name, one.first),
        _frame("kind", str(one.kind), 0),
        _frame("layer", one.layer, 0),
        _frame("net", plan.net, 0),
    ]


def _frame(what: str, name: str, line: int) -> Event:
    return {"filename": what, "line": line, "name": name}
