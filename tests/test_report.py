"""What the tables and the JSON of plans and fits say, against the notes' figures and the plan itself."""

import json
import re
from math import prod
from typing import Any

import pytest

from gpunet import Fit, Net, Plan, load, plan
from gpunet.memory.size import format_bytes
from gpunet.program.tensor import Kind
from gpunet.report import console
from gpunet.report.as_json import as_text, fit_json, plan_json
from gpunet.report.table import cost_line, fit_table, plan_parts, verdict

MIB = 2**20

VGG16 = [
    ("224x224x3", 150_528, 0),
    *[("224x224x64", 3_211_264, 1_728 + 64), ("224x224x64", 3_211_264, 36_864 + 64), ("112x112x64", 802_816, 0)],
    *[("112x112x128", 1_605_632, 73_728 + 128), ("112x112x128", 1_605_632, 147_456 + 128), ("56x56x128", 401_408, 0)],
    ("56x56x256", 802_816, 294_912 + 256),
    *[("56x56x256", 802_816, 589_824 + 256)] * 2,
    ("28x28x256", 200_704, 0),
    ("28x28x512", 401_408, 1_179_648 + 512),
    *[("28x28x512", 401_408, 2_359_296 + 512)] * 2,
    ("14x14x512", 100_352, 0),
    *[("14x14x512", 100_352, 2_359_296 + 512)] * 3,
    ("7x7x512", 25_088, 0),
    ("1x1x4096", 4_096, 102_760_448 + 4_096),
    ("1x1x4096", 4_096, 16_777_216 + 4_096),
    ("1x1x1000", 1_000, 4_096_000 + 1_000),
]
"""The notes' listing, ReLUs left out: volume, values of one image, weights and biases."""


@pytest.fixture(scope="module")
def vgg() -> Net:
    return load("vgg16")


@pytest.fixture(scope="module")
def one(vgg: Net) -> Plan:
    """One image, for a GPU of 12 GiB."""
    return plan(vgg, 1, budget="12GiB")


def text_of(capsys: pytest.CaptureFixture[str], *parts: Any) -> list[str]:
    console.show(*parts)
    return capsys.readouterr().out.splitlines()


# -- JSON ------------------------------------------------------------------------------------------


def test_json_has_every_key_that_was_promised(vgg: Net, one: Plan) -> None:
    found = plan_json(vgg, one)
    promised = (
        "net batch mode dtype optimizer device parameters kinds arena_bytes lower_bound_bytes reserve_bytes "
        "total_bytes budget_bytes fits layers tensors steps"
    )
    assert set(promised.split()) <= set(found)
    layer = "name type output parameters activation_bytes gradient_bytes parameter_bytes parameter_gradient_bytes"
    assert all({*layer.split(), "optimizer_cache_bytes"} <= set(row) for row in found["layers"])
    assert all(set(row) == {"name", "kind", "layer", "offset", "nbytes", "first", "last"} for row in found["tensors"])
    assert json.loads(as_text(found)) == found


def test_json_of_vgg16_lists_the_notes_rows(vgg: Net, one: Plan) -> None:
    found = plan_json(vgg, one)
    rows = [row for row in found["layers"] if row["type"] != "relu"]
    listed = [("x".join(map(str, row["output"])), row["parameters"]) for row in rows]
    assert listed == [(volume, parameters) for volume, _, parameters in VGG16]
    values = [H * W * D for H, W, D in (row["output"] for row in rows)]
    assert values == [count for _, count, _ in VGG16] and sum(values) == 15_237_608
    assert found["parameters"] == sum(row["parameters"] for row in found["layers"]) == 138_357_544


def test_activations_of_one_image_are_outputs_and_one_byte_switches_and_no_copies(vgg: Net, one: Plan) -> None:
    rows = plan_json(vgg, one)["layers"]
    by_type: dict[str, int] = {}
    for row in rows:
        by_type[row["type"]] = by_type.get(row["type"], 0) + row["activation_bytes"]
    pooled = sum(count for volume, count, parameters in VGG16[1:] if parameters == 0)
    learnt = sum(count for _, count, parameters in VGG16 if parameters)
    assert by_type["pool"] == 4 * pooled + pooled  # float32 and uint8
    assert by_type["conv"] + by_type["fc"] == 4 * learnt
    for row in rows:
        if row["type"] == "relu":  # in place: at most a bit for each value
            assert row["activation_bytes"] <= -(-prod(row["output"]) // 8)
    assert rows[0]["data_bytes"] == 150_528 * (4 + 1) + 4  # floats, pixels and a label


def test_json_gives_every_parameter_a_gradient_and_a_cache(vgg: Net, one: Plan) -> None:
    for row in plan_json(vgg, one)["layers"]:
        kept = [row[f"{kind}_bytes"] for kind in ("parameter", "parameter_gradient", "optimizer_cache")]
        assert kept == [4 * row["parameters"]] * 3


def test_json_tensors_make_up_the_kinds_and_stay_in_the_arena(vgg: Net, one: Plan) -> None:
    found = plan_json(vgg, one)
    live = [0] * found["steps"]
    for row in found["tensors"]:
        assert row["offset"] >= 0 and row["offset"] + row["nbytes"] <= found["arena_bytes"]
        for step in range(row["first"], row["last"]):
            live[step] += row["nbytes"]
    peak = found["peak"]["step"]
    assert max(live) == live[peak] == found["peak"]["live_bytes"] == sum(found["kinds"].values())
    assert list(found["kinds"]) == [
        "data",
        "activation",
        "gradient",
        "parameter",
        "parameter_gradient",
        "optimizer_cache",
        "workspace",
    ]
    for kind, count in found["kinds"].items():
        alive = [row for row in found["tensors"] if row["kind"] == kind and row["first"] <= peak < row["last"]]
        assert sum(row["nbytes"] for row in alive) == count
    assert found["total_bytes"] == found["arena_bytes"] + found["reserve_bytes"] <= found["budget_bytes"]


def test_json_of_inference_has_neither_loss_nor_gradients() -> None:
    net = load("vgg_digits")
    found = plan_json(net, plan(net, 3, mode="infer", device="cpu"))
    assert found["loss"] is None and found["budget_bytes"] is None and found["fits"] is True
    assert all(row["gradient_bytes"] == row["optimizer_cache_bytes"] == 0 for row in found["layers"])
    assert found["kinds"]["gradient"] == found["kinds"]["optimizer_cache"] == 0


def test_json_of_a_budget_that_holds_no_image_has_no_batch() -> None:
    assert fit_json([Fit(100, 3, 90, 101), Fit(5, 0, 0, 70)]) == [
        {"budget_bytes": 100, "batch": 3, "total_bytes": 90, "next_total_bytes": 101},
        {"budget_bytes": 5, "batch": 0, "total_bytes": None, "next_total_bytes": 70},
    ]


# -- tables ----------------------------------------------------------------------------------------


def test_the_table_of_vgg16_shows_the_notes_rows(vgg: Net, one: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    lines = text_of(capsys, *plan_parts(vgg, one, verdict(one)))
    rows = [line.split() for line in lines]
    rows = [row for row in rows if len(row) > 2 and row[1].count("x") == 2 and not row[0].startswith("relu")]
    assert [(row[1], row[2]) for row in rows] == [
        (volume, f"{parameters:,}" if parameters else "-") for volume, _, parameters in VGG16
    ]
    conv2 = next(row for row in rows if row[1] == "224x224x64" and row[2] == "36,928")
    assert conv2[3:5] == ["12.25", "MiB"]  # 3,211,264 floats
    assert any(line.startswith("total") and "138,357,544" in line for line in lines)
    assert not any("…" in line or line != line.rstrip() for line in lines)


def test_the_totals_of_the_table_are_sums_but_the_largest_for_scratch(
    vgg: Net, one: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row.values() for row in one.by_layer.values()]
    total = next(line for line in text_of(capsys, *plan_parts(vgg, one, "")) if line.startswith("total"))
    data, activation, gradient, parameter, parameter_gradient, cache, workspace = (
        [list(row)[column] for row in rows] for column in range(7)
    )
    assert re.split(r"  +", total)[2:] == [
        format_bytes(sum(data) + sum(activation)),
        format_bytes(sum(gradient)),
        format_bytes(sum(parameter) + sum(parameter_gradient) + sum(cache)),
        format_bytes(max(workspace)),
    ]


def test_the_sums_say_what_the_plan_says(vgg: Net, capsys: pytest.CaptureFixture[str]) -> None:
    made = plan(vgg, 2, budget="1GiB")
    lines = text_of(capsys, *plan_parts(vgg, made, verdict(made, "buy more")))
    for name, count in (
        ("lower bound", made.lower_bound_bytes),
        ("arena", made.arena_bytes),
        ("reserve", 512 * MIB),
        ("total", made.arena_bytes + 512 * MIB),
        ("budget", 1024 * MIB),
    ):
        assert any(line.startswith(name) and f" {count:,} B" in line for line in lines), name
    assert lines[-1].startswith("does not fit by ") and lines[-1].endswith("; buy more")
    op = made.program.ops[made.peak_step]
    assert any(f"at step {made.peak_step + 1} of {made.steps}, {op.phase}: {op.name} of {op.layer}" in x for x in lines)
    for kind in Kind:
        assert any(line.startswith(f"  {kind.replace('_', ' ')} ") for line in lines)


def test_the_verdict_gives_the_room_that_is_left_or_lacking() -> None:
    net = load("INPUT[8x8x1] -> FC-2")
    total = plan(net, 1).total_bytes
    assert verdict(plan(net, 1, budget=total)) == "fits, 0 B to spare"
    assert verdict(plan(net, 1, budget=total + 7)) == "fits, 7 B to spare"
    assert verdict(plan(net, 1, budget=total - 7), "try 3") == "does not fit by 7 B; try 3"
    assert "no budget was given" in verdict(plan(net, 1))


def test_one_line_says_what_a_run_costs() -> None:
    net = load("vgg_digits")
    made = plan(net, 16, device="cpu", budget="1GiB")
    line = cost_line(made, free=True)
    assert line.startswith("vgg_digits, training with momentum, batch 16, float32, on cpu: ")
    assert "of 1 GiB free" in line and "reserve 64 MiB" in line


def test_fits_are_a_row_for_each_budget(capsys: pytest.CaptureFixture[str]) -> None:
    lines = text_of(capsys, fit_table([Fit(6 * MIB, 1234, 5 * MIB, 7 * MIB), Fit(MIB, 0, 0, 2 * MIB)]))
    assert lines[0].split("  ")[0].strip() == "budget"
    assert lines[2].split() == ["6", "MiB", "1,234", "5", "MiB", "1", "MiB", "7", "MiB"]
    assert lines[3].split() == ["1", "MiB", "none", "-", "-", "2", "MiB"]


@pytest.mark.parametrize("columns", ["20", "80", "300"])
def test_no_figure_is_cut_however_narrow_the_screen(
    one: Plan, vgg: Net, columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    lines = [re.sub("\x1b[^m]*m", "", line) for line in text_of(capsys, *plan_parts(vgg, one, verdict(one)))]
    assert any("138,357,544" in line and line.startswith("total") for line in lines)
    assert any("102,764,544" in line for line in lines)
    assert max(len(line) for line in lines[:44]) <= 80
