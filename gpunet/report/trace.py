"""A plan or a profile as a trace, which ui.perfetto.dev and chrome://tracing show: when ops run, and what is alive.

A row for layers, one for ops, one for rounds where there are any, and below them the bytes alive, all together and by
kind. Times are those that were measured, else those that are predicted; where nobody knows, each op takes as long.
Source: "Trace Event Format", the JSON of Chrome's tracing.
"""

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from os import PathLike
from pathlib import Path
from typing import Any

from gpunet.devices.cards import with_article
from gpunet.errors import ConfigError
from gpunet.memory.plan import Plan
from gpunet.planning.predict import op_bytes, op_calls
from gpunet.planning.prediction import Prediction
from gpunet.profile.measure import Profile
from gpunet.program.program import Op
from gpunet.program.tensor import Kind
from gpunet.system.files import check_place, write_whole

ENDINGS = (".json", ".json.gz")
PROCESS = 1
ROWS = ("layers", "ops", "rounds")
UNKNOWN_NS = 1_000_000
"""What an op takes where no time is known."""

Event = dict[str, Any]


def save_trace(shown: Plan | Profile, path: str | PathLike[str]) -> None:
    """Write a plan or a profile as a .json file, or .json.gz, that ui.perfetto.dev and chrome://tracing show.

    Of a profile the times are measured, of a plan for a card they are predicted; of another plan each op takes a
    millisecond. Raises ConfigError for another ending, or where nothing can be written.
    """
    where = Path(path)
    check_trace(where)
    text = json.dumps(trace_json(shown), allow_nan=False).encode()
    write_whole(where, gzip.compress(text, mtime=0) if where.suffix.lower() == ".gz" else text)


def check_trace(path: Path) -> None:
    """Raise ConfigError where a trace cannot be written into that file, before any work is done."""
    if not path.name.lower().endswith(ENDINGS):
        raise ConfigError(f"a trace is a {' or '.join(ENDINGS)} file; got {str(path)!r}")
    check_place(path)


def trace_json(shown: Plan | Profile) -> dict[str, Any]:
    """The trace as plain values; `ts` and `dur` are microseconds, from the first op on."""
    plan = shown if isinstance(shown, Plan) else shown.plan
    calls = _measured(shown) if isinstance(shown, Profile) else _planned(plan)
    names = ROWS if plan.program.loops else ROWS[:2]
    events = [
        *_labels(plan, names),
        *_layers(calls),
        *(_span("ops", call.op.name, call.op.phase, call.start, call.end, call.said) for call in calls),
        *_rounds(plan, calls),
        *_counters(plan, calls),
    ]
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": _about(shown)}


@dataclass(frozen=True, slots=True)
class Call:
    """An op of the program, all its rounds together, from `start` to `end` in nanoseconds; `said` of it: arguments."""

    step: int
    op: Op
    start: int
    end: int
    said: dict[str, Any]


def _measured(profile: Profile) -> list[Call]:
    """The ops that ran, with what was measured of each, and what was predicted beside it."""
    steps = {id(op): step for step, op in enumerate(profile.plan.program.ops)}
    found = []
    for took in profile.ops:
        step = steps[id(took.op)]
        said = {"calls": took.calls, "images": took.images, "bytes": took.nbytes, "flops": took.flops}
        said |= {"made_again": took.again} | _predicted(profile.plan, step)
        found.append((step, round(took.ms * 1e6), said))
    return _in_a_row(profile.plan, found)


def _planned(plan: Plan) -> list[Call]:
    """All ops, with the times that are predicted, or one time for each."""
    known: Prediction | None = plan.predicted
    found = []
    for step, op in enumerate(plan.program.ops):
        calls = op_calls(plan.program, step)
        ns = UNKNOWN_NS if known is None else round(known.ops[step].ms.likely * 1e6)
        said = {"calls": calls, "bytes": op_bytes(op, plan.batch, calls), "flops": op.flops}
        found.append((step, ns, said | _predicted(plan, step)))
    return _in_a_row(plan, found)


def _in_a_row(plan: Plan, ops: Sequence[tuple[int, int, dict[str, Any]]]) -> list[Call]:
    """Calls one after the other: of step, nanoseconds, and what is said."""
    edges = accumulate((ns for _, ns, _ in ops), initial=0)
    return [
        Call(step, plan.program.ops[step], start, end, _of_op(plan, step) | said)
        for (step, _, said), (start, end) in zip(ops, pairwise(edges), strict=True)
    ]


def _of_op(plan: Plan, step: int) -> dict[str, Any]:
    op = plan.program.ops[step]
    algorithm = op.attributes.get("algorithm")
    return {
        "step": step,
        "layer": op.layer,
        "reads": [tensor.name for tensor in op.inputs],
        "writes": [tensor.name for tensor in op.outputs],
        "scratch": [tensor.name for tensor in op.scratch if tensor is not None],
        "live_bytes": plan.live_bytes[step],
        **({} if algorithm is None else {"algorithm": algorithm}),
    }


def _predicted(plan: Plan, step: int) -> dict[str, Any]:
    """What is predicted of a step, in milliseconds, and what bounds it; nothing where nothing is."""
    known: Prediction | None = plan.predicted
    if known is None:
        return {}
    one = known.ops[step]
    return {"predicted_ms": one.ms._asdict(), "bound_by": one.bound}


def _labels(plan: Plan, names: Sequence[str]) -> Iterator[Event]:
    """What process and rows are called, and how the rows stand."""
    what = "training" if plan.mode == "train" else "inference"
    yield _meta("process_name", 0, {"name": f"{plan.net}, {what}, batch {plan.batch:,}, on {plan.device}"})
    for row, name in enumerate(names, 1):
        yield _meta("thread_name", row, {"name": name})
        yield _meta("thread_sort_index", row, {"sort_index": row})


def _layers(calls: Sequence[Call]) -> Iterator[Event]:
    """A span for each run of ops of one layer in one phase."""
    for (layer, phase), group in groupby(calls, lambda call: (call.op.layer, call.op.phase)):
        run = list(group)
        said = {"phase": phase, "ops": len(run), "steps": [run[0].step, run[-1].step + 1]}
        yield _span("layers", layer, phase, run[0].start, run[-1].end, said)


def _rounds(plan: Plan, calls: Sequence[Call]) -> Iterator[Event]:
    """A span for each loop."""
    for loop in plan.program.loops:
        within = [call for call in calls if loop.first <= call.step < loop.last]
        name = f"rounds of {loop.images:,} images"
        yield _span("rounds", name, "loop", within[0].start, within[-1].end, {"images": loop.images})


def _counters(plan: Plan, calls: Sequence[Call]) -> Iterator[Event]:
    """Bytes alive from each op on, and what is left behind the last."""
    by_step = _by_kind(plan)
    kept = {kind: sum(one.nbytes for one in plan.tensors if one.kind is kind and kind.persistent) for kind in Kind}
    for at, alive in [*((call.start, by_step[call.step]) for call in calls), (calls[-1].end, kept)]:
        for name, values in (("bytes alive", {"bytes": sum(alive.values())}), ("bytes by kind", alive)):
            yield {"ph": "C", "name": name, "pid": PROCESS, "tid": 0, "ts": at / 1e3, "args": dict(values)}


def _by_kind(plan: Plan) -> list[dict[Kind, int]]:
    """Bytes alive in each step, by kind."""
    changes = {kind: [0] * (plan.steps + 1) for kind in Kind}
    for one in plan.tensors:
        changes[one.kind][one.first] += one.nbytes
        changes[one.kind][one.last] -= one.nbytes
    sums = {kind: list(accumulate(change)) for kind, change in changes.items()}
    return [{kind: sums[kind][step] for kind in Kind} for step in range(plan.steps)]


def _about(shown: Plan | Profile) -> dict[str, Any]:
    """What the trace is of, and where its times come from."""
    plan = shown if isinstance(shown, Plan) else shown.plan
    return {
        "net": plan.net,
        "batch": plan.batch,
        "mode": plan.mode,
        "dtype": plan.dtype,
        "device": plan.device,
        "card": plan.card,
        "times": _source(shown),
        "arena_bytes": plan.arena_bytes,
        "reserve_bytes": plan.reserve_bytes,
        "total_bytes": plan.total_bytes,
    }


def _source(shown: Plan | Profile) -> str:
    """Where the times come from, in words."""
    if isinstance(shown, Profile):
        where = f" on {shown.hardware}" if shown.hardware else ""
        return (
            f"measured op by op{where}, the median of {shown.steps:,} steps; a whole step took {shown.step_ms:.4g} ms"
        )
    known: Prediction | None = shown.predicted
    if known is None:
        return f"not known: each op is drawn as {UNKNOWN_NS / 1e6:g} ms"
    return f"predicted, not measured, on {with_article(known.card)}; by {known.source}"


def _span(row: str, name: str, category: str, start: int, end: int, said: dict[str, Any]) -> Event:
    """A box in a row, from `start` to `end` in nanoseconds."""
    when = {"ts": start / 1e3, "dur": (end - start) / 1e3}
    return {"ph": "X", "name": name, "cat": category, "pid": PROCESS, "tid": ROWS.index(row) + 1, **when, "args": said}


def _meta(name: str, row: int, said: dict[str, Any]) -> Event:
    return {"ph": "M", "name": name, "pid": PROCESS, "tid": row, "ts": 0, "args": said}
