"""What the tables and the JSON of plans and fits say, against the notes' figures and the plan itself."""

import io
import json
import re
from math import prod
from typing import Any

import pytest

from gpunet import Learning, Net, Plan, load, plan
from gpunet.compile.fuse import FUSIONS
from gpunet.devices import target
from gpunet.memory.size import format_bytes, format_speed
from gpunet.planning.fitter import Rung, Survey
from gpunet.program.tensor import Kind
from gpunet.report import console
from gpunet.report.as_json import as_text, fit_json, plan_json
from gpunet.report.table import cost_line, fit_parts, headline, plan_parts, verdict
from gpunet.report.timeline import HEIGHT, sparkline, timeline_parts
from gpunet.report.ways import describe, format_flops, how, needed
from gpunet.train.metrics import EpochMetrics, as_line, header
from gpunet.train.screen import epoch_line

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
    """One image, for a GPU of 12 GiB, each layer by itself as the notes list them."""
    return plan(vgg, 1, budget="12GiB", without=FUSIONS)


@pytest.fixture(scope="module")
def tight(vgg: Net) -> Plan:
    """256 images within 8.2 GB, which takes more than free savings, rounds of the first layers among it."""
    return plan(vgg, 256, budget="8.2GB", max_cost=0.1, without=FUSIONS)


@pytest.fixture(scope="module")
def rounds() -> Plan:
    """A step that runs in rounds."""
    net = load("vgg_digits")
    options = {"device": "cpu", "without": (*FUSIONS, "late-unpool")}
    free = plan(net, 300, **options)
    return plan(net, 300, budget=free.total_bytes - free.arena_bytes // 3, ways=["micro-batches"], **options)


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
    tensor = {"name", "kind", "layer", "offset", "nbytes", "first", "last", "within"}
    assert all(set(row) == tensor for row in found["tensors"])
    assert json.loads(as_text(found)) == found


def test_json_of_vgg16_lists_the_notes_rows(vgg: Net, one: Plan) -> None:
    found = plan_json(vgg, one)
    rows = [row for row in found["layers"] if row["type"] != "relu"]
    listed = [("x".join(map(str, row["output"])), row["parameters"]) for row in rows]
    assert listed == [(volume, parameters) for volume, _, parameters in VGG16]
    values = [H * W * D for H, W, D in (row["output"] for row in rows)]
    assert values == [count for _, count, _ in VGG16] and sum(values) == 15_237_608
    assert found["parameters"] == sum(row["parameters"] for row in found["layers"]) == 138_357_544


def test_activations_of_one_image_are_outputs_and_half_byte_switches_and_no_copies(vgg: Net, one: Plan) -> None:
    rows = plan_json(vgg, one)["layers"]
    by_type: dict[str, int] = {}
    for row in rows:
        by_type[row["type"]] = by_type.get(row["type"], 0) + row["activation_bytes"]
    pooled = sum(count for volume, count, parameters in VGG16[1:] if parameters == 0)
    learnt = sum(count for _, count, parameters in VGG16 if parameters)
    assert by_type["pool"] == 4 * pooled + pooled // 2  # float32, and two switches a byte
    assert by_type["conv"] + by_type["fc"] == 4 * learnt
    for row in rows:
        if row["type"] == "relu":  # in place: at most a bit for each value
            assert row["activation_bytes"] <= -(-prod(row["output"]) // 8)
    # floats, pixels, those of the next batch, a label, the learning rate, and what blocks of a GPU count with
    counters = one.program.counters
    assert rows[0]["data_bytes"] == 150_528 * (4 + 2) + 4 + 8 + (counters.nbytes if counters else 0)


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


FREE = Rung((), 3, 90, 101, 0.0)
AGAIN = Rung(("recompute",), 5, 95, 105, 0.0125, ("recompute",), 123.4, extra_time_fraction=0.025)
NOTHING_FITS = Rung((), 0, None, 70, 0.0)


def test_json_of_fits_is_the_chosen_rung_with_its_ladder() -> None:
    anyones, card = target("cuda"), target("cuda", "h200")
    found = fit_json([Survey(100, AGAIN, (FREE, AGAIN), anyones), Survey(5, NOTHING_FITS, (NOTHING_FITS,), card)])
    chosen, nothing = found
    assert {key: value for key, value in chosen.items() if key not in ("budget_bytes", "ladder")} == {
        "card": None,
        "compute_capability": "8.6",
        "ways": ["recompute"],
        "used": ["recompute"],
        "batch": 5,
        "total_bytes": 95,
        "next_total_bytes": 105,
        "extra_flops_fraction": 0.0125,
        "extra_time_fraction": 0.025,
        "images_per_second": 123.4,
        "predicted_ms": None,
    }
    assert [rung["batch"] for rung in chosen["ladder"]] == [3, 5] and chosen["budget_bytes"] == 100
    assert chosen["ladder"][0]["ways"] == [] and chosen["ladder"][0]["images_per_second"] is None
    assert (nothing["batch"], nothing["total_bytes"], nothing["next_total_bytes"]) == (0, None, 70)
    assert (nothing["card"], nothing["compute_capability"]) == ("H200", "9.0")
    assert json.loads(as_text(found)) == found


def test_json_says_what_was_done_to_fit(vgg: Net, tight: Plan) -> None:
    found = plan_json(vgg, tight)
    ways = found["ways"]
    assert ways["names"] == ["recompute", "chunks"] and ways["cut"] == "pool1.y" and ways["micro_batch"] == 0
    assert ways["scratch_limit_bytes"] == found["scratch_limit_bytes"]
    makers = {name: [op for op in tight.program.ops if name + ".again" in {t.name for t in op.outputs}] for name in
              ways["dropped"]}  # fmt: skip
    assert makers and all(len(ops) == 1 for ops in makers.values())
    plain = plan(vgg, 256, without=FUSIONS)
    flops = sum(op.flops for op in plain.program.ops)
    assert found["flops"] == flops + round(found["extra_flops_fraction"] * flops)
    assert 0 < found["extra_flops_fraction"] <= 0.03 and found["extra_time_fraction"] > 0
    assert found["loops"] == [
        {"first": loop.first, "last": loop.last, "images": ways["chunk"]} for loop in tight.program.loops
    ]
    again = {row["name"] for row in found["layers"] if row["made_again"]}
    assert again == {"conv1", "relu1"}
    inside = {row["name"] for row in found["layers"] if row["images_per_round"] == ways["chunk"]}
    assert inside == {"input", "conv1", "relu1", "conv2", "relu2", "pool1"}
    assert {row["images_per_round"] for row in found["layers"] if row["name"] not in inside} == {None}
    assert json.loads(as_text(found)) == found


def test_json_of_a_plan_without_ways_has_nothing_there_but_the_placement(vgg: Net, one: Plan) -> None:
    found = plan_json(vgg, one)
    assert found["ways"]["names"] == found["ways"]["dropped"] == found["loops"] == []
    assert found["extra_flops_fraction"] == 0 and not any(row["made_again"] for row in found["layers"])
    forward = 2 * sum(
        row["parameters"] * prod(row["output"][:2]) for row in found["layers"] if row["type"] in ("conv", "fc")
    )
    assert abs(found["flops"] / (3 * forward) - 1) < 0.01  # the input of the first layer has no gradient
    placement = found["placement"]
    assert placement["gap"] == found["arena_bytes"] / found["lower_bound_bytes"] - 1
    assert placement["order"] == one.placement.order and 0 < placement["seconds"] < 10


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
    assert any(
        f"at step {made.peak_step} (0 to {made.steps - 1}), {op.phase}: {op.name} of {op.layer}" in x for x in lines
    )
    for kind in Kind:
        assert any(line.startswith(f"  {kind.replace('_', ' ')} ") for line in lines)


def test_the_verdict_gives_the_room_that_is_left_or_lacking() -> None:
    net = load("INPUT[8x8x1] -> FC-2")
    total = plan(net, 1, budget=1).total_bytes  # as little as can be
    assert verdict(plan(net, 1, budget=total)) == "fits, 0 B to spare"
    assert verdict(plan(net, 1, budget=total + 7)) == "fits, 7 B to spare"
    assert verdict(plan(net, 1, budget=total - 7), "try 3") == "does not fit by 7 B; try 3"
    assert "no budget was given" in verdict(plan(net, 1))


def test_one_line_says_what_a_run_costs() -> None:
    net = load("vgg_digits")
    made = plan(net, 16, device="cpu", budget="1GiB")
    line = cost_line(made, free_bytes=3 * 2**30)
    assert line.startswith("vgg_digits, training with momentum, batch 16, float32, on cpu: ")
    assert "of 3 GiB free (" in line and "reserve 64 MiB" in line
    assert "of 1 GiB (" in cost_line(made) and " of " not in cost_line(plan(net, 16, device="cpu"))


@pytest.mark.parametrize(
    ("clips", "words"),
    [
        ({}, ""),
        ({"clip_value": 0.1}, ", gradients clipped at value 0.1"),
        ({"clip_norm": 2}, ", gradients clipped at norm 2"),
        ({"clip_value": 0.1, "clip_norm": 2}, ", gradients clipped at value 0.1 and norm 2"),
    ],
)
def test_a_plan_says_at_what_gradients_are_clipped(clips: dict[str, float], words: str) -> None:
    net = load("INPUT[8x8x1] -> FC-2")
    made = plan(net, 3, device="cpu", optimizer=Learning("sgd", **clips))
    assert headline(made) == f"net, training with sgd{words}, batch 3, float32, on cpu"
    found = plan_json(net, made)
    assert {"clip_value": found["clip_value"], "clip_norm": found["clip_norm"]} == (
        {"clip_value": None, "clip_norm": None} | clips
    )
    scores = plan(net, 3, device="cpu", mode="infer", optimizer=Learning("sgd", **clips))
    assert headline(scores) == "net, inference, batch 3, float32, on cpu"


def test_a_ladder_is_a_row_for_each_rung_and_marks_the_one_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    free = Rung((), 1234, 5 * MIB, 7 * MIB, 0.0)
    again = Rung(("recompute",), 2345, 6 * MIB, 8 * MIB, 0.0219, extra_time_fraction=0.031)
    none = Rung((), 0, None, 2 * MIB, 0.0)
    lines = text_of(
        capsys,
        *fit_parts([Survey(6 * MIB, again, (free, again), target("cuda")), Survey(MIB, none, (none,), target("cuda"))]),
    )
    assert "images/s" not in lines[0] and re.search("more time +extra FLOPs", lines[0])
    rows = [re.split(r"  +", line.strip()) for line in lines[2:] if line.strip() and line.strip("─ ")]
    assert rows[0] == ["6 MiB", "free savings alone", "1,234", "5 MiB", "1 MiB", "1 MiB over", "-", "-"]
    assert rows[1] == ["+ layers made again", "2,345 *", "6 MiB", "0 B", "2 MiB over", "3.10%", "2.19%"]
    assert rows[2] == ["1 MiB", "free savings alone", "none *", "-", "-", "1 MiB over", "-", "-"]
    assert lines[-1].startswith("* ") and not any("--micro-batches" in line for line in lines)


def test_a_ladder_has_speeds_where_a_profile_tells_them_and_warns_of_rounds(capsys: pytest.CaptureFixture[str]) -> None:
    free = Rung((), 12, 5 * MIB, 7 * MIB, 0.0, (), 1234.5)
    micro = Rung(("micro-batches",), 99, 5 * MIB, 7 * MIB, 0.0)
    lines = text_of(capsys, *fit_parts([Survey(6 * MIB, free, (free, micro), target("cuda"))]))
    assert lines[0].endswith("images/s") and lines[2].endswith("1,234") and lines[3].endswith(" -")
    assert lines[3].strip().startswith("whole step in rounds (a)")
    assert any(line.startswith("(a) only with --micro-batches: gradients are added up") for line in lines)


def test_the_column_how_is_there_only_where_something_runs_again_or_in_rounds(
    vgg: Net, one: Plan, tight: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not any(line.endswith(" how") for line in text_of(capsys, *plan_parts(vgg, one, verdict(one))))
    lines = text_of(capsys, *plan_parts(vgg, tight, verdict(tight)))
    assert any(line.endswith("  how") for line in lines)
    images = tight.ways.chunk
    rows = {line.split()[0]: line for line in lines if line and not line.startswith(" ")}
    assert rows["conv1"].endswith(f"  made again, in rounds of {images}")
    assert rows["pool1"].endswith(f"  in rounds of {images}") and not rows["pool1"].endswith(
        f"again, in rounds of {images}"
    )
    assert rows["conv3"].endswith("MiB")
    assert f"% more time, {100 * tight.extra_flops_fraction:.2f}% extra FLOPs" in rows["ways"]
    assert f"from the input to pool1 in rounds of {images} images" in rows["ways"]
    assert rows["step"].split()[1:3] == format_flops(sum(op.flops for op in tight.program.ops)).split()
    assert format_bytes(tight.scratch_limit_bytes) in rows["scratch"]


def test_the_gap_and_the_time_of_placing_stand_in_every_plan(
    vgg: Net, one: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    gap = next(line for line in text_of(capsys, *plan_parts(vgg, one, "")) if line.startswith("gap "))
    assert re.search(r"lower bound.*placed in [\d.]+ ms, " + one.placement.order, gap)
    assert f" {one.arena_bytes - one.lower_bound_bytes:,} B" in gap


def test_ways_in_words(vgg: Net, one: Plan, tight: Plan, rounds: Plan) -> None:
    assert describe(one) == "free savings alone, no extra FLOPs" and not needed(one) and how(one) == {}
    assert describe(tight).startswith("conv1, relu1 made again in the backward pass; ") and needed(tight)
    images = rounds.ways.micro_batch
    assert 1 < images < 300 and f"the whole step in rounds of {images} images" in describe(rounds) and needed(rounds)
    assert describe(rounds).endswith(": no extra FLOPs")
    assert set(how(rounds).values()) == {f"in rounds of {images}"}
    assert {"input", "conv1", "fc2", "loss"} <= set(how(rounds))
    digits = load("vgg_digits")
    options = dict(device="cpu", without=["late-gradients", "late-unpool"], max_cost=0)
    free = plan(digits, 300, budget=plan(digits, 300, **options).total_bytes - 1, **options)
    assert describe(free) == "one buffer for images: no extra FLOPs" and needed(free)
    scratch = plan(digits, 300, budget=free.total_bytes - 1, **options)  # at the peak there is scratch
    assert scratch.fits and scratch.scratch_limit_bytes < free.scratch_limit_bytes
    limit = format_bytes(scratch.scratch_limit_bytes)
    words = f"one buffer for images; scratch of at most {limit} for a convolution: no extra FLOPs"
    assert describe(scratch) == words and needed(scratch)


@pytest.mark.parametrize(
    ("count", "words"), [(7, "7 FLOP"), (30_940_000_000, "30.94 GFLOP"), (5 * 10**12, "5 TFLOP"), (10**16, "10 PFLOP")]
)
def test_flops_for_people(count: int, words: str) -> None:
    assert format_flops(count) == words


# -- who is alive ----------------------------------------------------------------------------------


def test_the_timeline_lists_all_that_is_alive_at_the_peak_the_largest_first(
    tight: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = text_of(capsys, *timeline_parts(tight))
    pattern = r"(\S+) +([a-z ]+?) {2,}(\S+) +([\d,]+) .* ([\d.]+)% +\[(\d+), (\d+)\)$"
    rows = [found.groups() for found in map(re.compile(pattern).match, lines) if found]
    at_peak = {
        t.name: (t.kind.replace("_", " "), t.layer, t.nbytes, t.first, t.last)
        for t in tight.tensors
        if t.first <= tight.peak_step < t.last
    }
    assert len(rows) == len(at_peak) > 50
    for name, kind, layer, count, _, first, last in rows:
        assert at_peak[name] == (kind, layer, int(count.replace(",", "")), int(first), int(last))
    sizes = [int(row[3].replace(",", "")) for row in rows]
    assert sizes == sorted(sizes, reverse=True) and sum(sizes) == max(tight.live_bytes)
    assert sum(float(row[4]) for row in rows) == pytest.approx(100, abs=1)


def test_the_sparkline_is_highest_at_the_peak_and_plain_ascii(tight: Plan, rounds: Plan) -> None:
    for made in (tight, rounds):
        lines = sparkline(made)
        assert "".join(lines).isascii()
        margin = lines[0].index("|") + 1
        picture = [line[margin:] for line in lines[:HEIGHT]]
        phases, mark = lines[HEIGHT + 1][margin:], lines[HEIGHT + 2]
        column = mark.index("^") - margin
        assert lines[0].startswith(format_bytes(max(made.live_bytes))) and picture[0][column] == "#"
        assert len(phases) == min(made.steps, 100) and set(phases) <= set("flbu") and phases[0] == "f"
        heights = [sum(len(row) > at and row[at] == "#" for row in picture) for at in range(len(phases))]
        assert max(heights) == HEIGHT
        if made.steps <= 100:  # a column is a step
            expected = [int(live * HEIGHT / max(made.live_bytes) + 0.5) for live in made.live_bytes]
            assert all(abs(a - b) <= 1 for a, b in zip(heights, expected, strict=True))
            assert column == made.peak_step


def test_a_plan_has_a_timeline_only_when_asked(vgg: Net, one: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    assert not any("alive at the peak" in line for line in text_of(capsys, *plan_parts(vgg, one, "")))
    assert any("alive at the peak" in line for line in text_of(capsys, *plan_parts(vgg, one, "", timeline=True)))


# -- the screen ------------------------------------------------------------------------------------


def test_work_that_takes_long_is_told_in_a_pipe_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("gpunet.train.beat.monotonic", lambda: now[0])
    with console.working("counting sheep") as say:
        for seconds in range(0, 65, 5):
            now[0] = float(seconds)
            say(f"after {seconds}")
    assert capsys.readouterr().err == "after 20\nafter 40\nafter 60\n"


@pytest.mark.parametrize(
    ("speed", "said"), [(12345.6, "12,346"), (87.2, "87"), (9.96, "10"), (3.21, "3.2"), (0.0412, "0.041")]
)
def test_no_speed_is_said_to_be_0(speed: float, said: str) -> None:
    assert format_speed(speed) == said
    losses = dict(train_loss=1.0, train_accuracy=0.5, test_loss=1.0, test_accuracy=0.5)
    row = EpochMetrics(epoch=1, **losses, images_per_second=speed, learning_rate=0.1, seconds=2.0)
    assert f" {said} images/s" in epoch_line(row, 3)
    written = dict(zip(header(EpochMetrics).split(","), as_line(row).split(","), strict=True))
    assert float(written["images_per_second"]) == pytest.approx(speed, rel=0.01)


def test_short_work_is_told_on_a_screen_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with console.working("counting sheep") as say:
        say("counting wolves")
    assert stream.getvalue() == ""
    stream.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setenv("TERM", "xterm")
    with console.working("counting sheep") as say:
        say("counting wolves")
    assert "sheep" in stream.getvalue() or "wolves" in stream.getvalue()


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
