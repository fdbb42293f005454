"""Plans and profiles in other tools: PyTorch's memory viewer, Perfetto, spreadsheets."""

import csv
import gzip
import io
import json
import pickle
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from torch.cuda import _memory_viz
from typer.testing import CliRunner

import gpunet
from gpunet import ConfigError, Plan
from gpunet.cli.app import app
from gpunet.compile.fuse import FUSIONS
from gpunet.profile.measure import Profile, profile
from gpunet.program.tensor import Kind
from gpunet.report.as_csv import csv_text
from gpunet.report.snapshot import memory_snapshot, save_snapshot
from gpunet.report.trace import save_trace, trace_json

PATTERN = "INPUT[8x8x1] -> CONV3-4 -> BN -> RELU -> POOL2 -> FC-10"
NET = gpunet.load(PATTERN)
DIGITS = gpunet.load("vgg_digits")


@cache
def plan_of(kind: str) -> Plan:
    """Plans that differ in what outlives a step, in who takes over bytes, and in rounds."""
    if kind == "training":
        return gpunet.plan(NET, 4, device="cpu")
    if kind == "inference":
        return gpunet.plan(NET, 4, device="cpu", mode="infer")
    if kind == "on a card":
        return gpunet.plan(DIGITS, 64, gpu="3060", optimizer="adam")
    options = {"device": "cpu", "without": (*FUSIONS, "late-unpool")}
    free = gpunet.plan(DIGITS, 300, **options)
    budget = free.total_bytes - free.arena_bytes // 3
    return gpunet.plan(DIGITS, 300, budget=budget, ways=["micro-batches"], **options)


PLANS = pytest.mark.parametrize("kind", ["training", "inference", "on a card", "in rounds"])


@cache
def small_profile() -> Profile:
    return profile(NET, 4, "cpu", steps=2)


class BuiltIns(pickle.Unpickler):
    """Reads what is made of built-in types alone."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name}")


# -- PyTorch's memory viewer -----------------------------------------------------------------------


def replayed(snapshot: dict[str, Any]) -> Iterator[tuple[int, dict[int, tuple[int, str]]]]:
    """(step, what is allocated in it: sizes and names by address), from the events alone."""
    alive: dict[int, tuple[int, str]] = {}
    (events,) = snapshot["device_traces"]
    first, *rest = events
    assert first["action"] == "segment_alloc" and first["category"] == "unknown"
    for number, event in enumerate(rest):
        if event["action"] == "alloc":
            assert event["addr"] not in alive
            alive[event["addr"]] = event["size"], event["frames"][0]["name"]
        elif event["action"] == "free_completed":
            assert alive.pop(event["addr"])[0] == event["size"]
        step = event["time_us"]
        following = rest[number + 1]["time_us"] if number + 1 < len(rest) else step + 1
        yield from ((one, dict(alive)) for one in range(step, following))


@PLANS
def test_in_each_step_of_a_snapshot_what_is_alive_in_the_plan_is_allocated_where_it_lies(kind: str) -> None:
    plan = plan_of(kind)
    steps = dict(replayed(memory_snapshot(plan)))
    for step in range(plan.steps):
        expected = {t.offset: (t.nbytes, f"{t.name} in steps [{t.first}, {t.last})") for t in plan.alive(step)}
        assert steps[step] == expected
        assert sum(size for size, _ in steps[step].values()) == plan.live_bytes[step]


@PLANS
def test_a_snapshot_ends_with_what_outlives_the_step_in_blocks_that_fill_the_arena(kind: str) -> None:
    plan = plan_of(kind)
    snapshot = memory_snapshot(plan)
    (segment,) = snapshot["segments"]
    assert (segment["address"], segment["total_size"]) == (0, plan.arena_bytes)
    ends = [0]
    for block in segment["blocks"]:
        assert block["address"] == ends[-1] and block["size"] > 0
        ends.append(block["address"] + block["size"])
    assert ends[-1] == plan.arena_bytes
    kept = {one["address"]: one["size"] for one in segment["blocks"] if one["state"] == "active_allocated"}
    *_, (_, last) = replayed(snapshot)
    assert kept == {address: size for address, (size, _) in last.items()}
    assert segment["allocated_size"] == sum(kept.values())
    assert sum(kept.values()) == sum(t.nbytes for t in plan.tensors if t.kind in ("parameter", "optimizer_cache"))


def test_every_tensor_has_kind_layer_and_lifetime() -> None:
    plan = plan_of("on a card")
    (events,) = memory_snapshot(plan)["device_traces"]
    found = {}
    for event in events:
        if event["action"] == "alloc":
            said = {frame["filename"]: frame["name"] for frame in event["frames"]}
            assert event["category"] == said["kind"]
            found[said["tensor"]] = said["kind"], said["layer"], said["net"]
    assert found == {f"{t.name} in steps [{t.first}, {t.last})": (t.kind, t.layer, plan.net) for t in plan.tensors}


@PLANS
def test_pytorchs_own_tools_take_the_file(tmp_path: Path, kind: str) -> None:
    plan, path = plan_of(kind), tmp_path / "plan.pickle"
    save_snapshot(plan, path)
    with path.open("rb") as file:
        snapshot = BuiltIns(file).load()
    assert "segments: 1\n" in _memory_viz.segsum(snapshot)  # which adds the blocks up
    assert f"{len(snapshot['device_traces'][0])} entries" in _memory_viz.trace(snapshot)
    assert "MemoryViz.js" in _memory_viz.trace_plot(snapshot) and "MemoryViz.js" in _memory_viz.segment_plot(snapshot)
    lines = _memory_viz.memory(snapshot, format_flamegraph=str).splitlines()
    assert sum(int(line.rpartition(" ")[2]) for line in lines) == plan.arena_bytes


# -- Perfetto --------------------------------------------------------------------------------------


def spans(trace: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The boxes of each row, by its name."""
    rows = {e["tid"]: e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "thread_name"}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in rows.values()}
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            found[rows[event["tid"]]].append(event)
    return found


def check_format(trace: dict[str, Any]) -> None:
    """What the Trace Event Format asks for, and that no two boxes of a row overlap."""
    assert set(trace) == {"traceEvents", "displayTimeUnit", "otherData"} and trace["displayTimeUnit"] == "ms"
    assert json.loads(json.dumps(trace, allow_nan=False)) == trace
    for event in trace["traceEvents"]:
        assert event["ph"] in ("M", "X", "C") and isinstance(event["name"], str) and event["ts"] >= 0
        assert {"pid", "tid", "args"} <= set(event)
        if event["ph"] == "C":
            assert event["args"] and all(isinstance(value, int) for value in event["args"].values())
    for row in spans(trace).values():
        edges = [round(edge * 1000) for e in row for edge in (e["ts"], e["ts"] + e["dur"])]
        assert edges == sorted(edges)


def counted(trace: dict[str, Any], name: str) -> dict[float, dict[str, int]]:
    return {e["ts"]: e["args"] for e in trace["traceEvents"] if e["ph"] == "C" and e["name"] == name}


@PLANS
def test_a_trace_has_every_op_every_layer_and_the_bytes_of_every_step(kind: str) -> None:
    plan = plan_of(kind)
    trace = trace_json(plan)
    check_format(trace)
    rows = spans(trace)
    assert [one["name"] for one in rows["ops"]] == [op.name for op in plan.program.ops]
    assert [one["args"]["step"] for one in rows["ops"]] == [*range(plan.steps)]
    for op, box in zip(plan.program.ops, rows["ops"], strict=True):
        assert (box["args"]["layer"], box["cat"]) == (op.layer, op.phase)
        assert box["args"]["writes"] == [tensor.name for tensor in op.outputs]
    assert sum(one["args"]["ops"] for one in rows["layers"]) == plan.steps
    by_kind, alive = counted(trace, "bytes by kind"), counted(trace, "bytes alive")
    for box, live in zip(rows["ops"], plan.live_bytes, strict=True):
        assert sum(by_kind[box["ts"]].values()) == alive[box["ts"]]["bytes"] == live == box["args"]["live_bytes"]
    assert by_kind[rows["ops"][plan.peak_step]["ts"]] == plan.by_kind
    kept = sum(t.nbytes for t in plan.tensors if t.kind in (Kind.PARAMETER, Kind.OPTIMIZER_CACHE))
    assert alive[max(alive)]["bytes"] == kept  # behind the last op
    assert len(rows.get("rounds", [])) == len(plan.program.loops) == (kind == "in rounds")


def test_a_trace_of_a_plan_for_a_card_has_the_times_that_are_predicted() -> None:
    plan = plan_of("on a card")
    trace = trace_json(plan)
    for box, op in zip(spans(trace)["ops"], plan.predicted.ops, strict=True):
        assert box["dur"] == pytest.approx(op.ms.likely * 1e3, abs=1e-3)
        assert box["args"]["predicted_ms"] == op.ms._asdict() and box["args"]["bound_by"] == op.bound
    assert trace["otherData"]["times"].startswith("predicted, not measured, on an RTX 3060 12GB; by ")


def test_where_no_time_is_known_each_op_is_as_long_and_that_is_said() -> None:
    trace = trace_json(plan_of("training"))
    assert {box["dur"] for box in spans(trace)["ops"]} == {1000}
    assert trace["otherData"]["times"] == "not known: each op is drawn as 1 ms"


def test_a_trace_of_a_profile_has_the_times_that_were_measured() -> None:
    made = small_profile()
    trace = trace_json(made)
    check_format(trace)
    for box, took in zip(spans(trace)["ops"], made.ops, strict=True):
        assert box["name"] == took.op.name and box["dur"] == pytest.approx(took.ms * 1e3, abs=1e-3)
        assert box["args"]["bytes"] == took.nbytes and box["args"]["flops"] == took.flops
    assert trace["otherData"]["times"].startswith("measured op by op")


def test_a_trace_may_be_packed(tmp_path: Path) -> None:
    plan = plan_of("training")
    save_trace(plan, tmp_path / "plan.json")
    save_trace(plan, tmp_path / "plan.json.gz")
    plain = (tmp_path / "plan.json").read_bytes()
    assert gzip.decompress((tmp_path / "plan.json.gz").read_bytes()) == plain
    assert json.loads(plain) == trace_json(plan)


# -- spreadsheets ----------------------------------------------------------------------------------


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_the_numbers_of_json() -> None:
    plan = plan_of("training")
    tensors = read(plan.to_csv("tensors"))
    assert [(row["name"], int(row["offset"]), int(row["last"])) for row in tensors] == [
        (one.name, one.offset, one.last) for one in plan.tensors
    ]
    layers = read(plan.to_csv())
    assert [row["output"] for row in layers] == ["8x8x1", "8x8x4", "8x8x4", "8x8x4", "4x4x4", "1x1x10"]
    assert int(layers[1]["parameter_bytes"]) == plan.by_layer["conv1"][Kind.PARAMETER]
    ops = read(small_profile().to_csv("ops"))
    assert [float(row["ms"]) for row in ops] == [op.ms for op in small_profile().ops]
    with pytest.raises(ConfigError, match="no row for each of 'rows' here; there is for layers, tensors"):
        plan.to_csv("rows")


def test_cells_are_plain() -> None:
    text = csv_text([{"a": {"b": 1, "c": [2, 3]}, "d": None}, {"e": ["x, y", "z"], "f": True, "g": 'a "b"\n'}])
    assert read(text) == [
        {"a.b": "1", "a.c": "2x3", "d": "", "e": "", "f": "", "g": ""},
        {"a.b": "", "a.c": "", "d": "", "e": "x, y z", "f": "true", "g": 'a "b"\n'},
    ]


# -- the commands ----------------------------------------------------------------------------------


def test_plan_writes_all_three(tmp_path: Path) -> None:
    told = ["plan", PATTERN, "--device", "cpu", "--batch", "4", "--csv", "--rows", "tensors"]
    files = ["--snapshot", str(tmp_path / "p.pickle"), "--trace", str(tmp_path / "p.json")]
    result = CliRunner().invoke(app, [*told, *files])
    assert result.exit_code == 0, result.output
    assert result.stdout == plan_of("training").to_csv("tensors")
    assert pickle.loads((tmp_path / "p.pickle").read_bytes()) == memory_snapshot(plan_of("training"))
    assert json.loads((tmp_path / "p.json").read_text()) == trace_json(plan_of("training"))


def test_profile_writes_a_trace_and_csv(tmp_path: Path, cache_folder: Path) -> None:
    told = ["profile", PATTERN, "--device", "cpu", "--batch", "4", "--steps", "1", "--csv", "--rows", "ops"]
    result = CliRunner().invoke(app, [*told, "--trace", str(tmp_path / "p.json")])
    assert result.exit_code == 0, result.output
    trace = json.loads((tmp_path / "p.json").read_text())
    assert [row["name"] for row in read(result.stdout)] == [box["name"] for box in spans(trace)["ops"]]
    assert trace["otherData"]["times"].startswith("measured")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--csv", "--json"], "--json and --csv print the same in two ways: leave one of them out"),
        (["--rows", "layers"], "--rows says what a line of the CSV is of: give --csv, too"),
        (["--csv", "--times"], "--csv prints numbers for a spreadsheet alone: leave out --times"),
        (["--snapshot", "p.txt"], "a snapshot is a .pickle file; got 'p.txt'"),
        (["--trace", "p.txt"], "a trace is a .json or .json.gz file; got 'p.txt'"),
        (["--trace", "nowhere/p.json"], "there is no folder nowhere for p.json; make it first"),
    ],
)
def test_a_mistake_is_one_message(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["plan", PATTERN, "--device", "cpu", *arguments])
    assert result.exit_code == 2 and words in result.stderr and len(result.stderr.splitlines()) == 1
