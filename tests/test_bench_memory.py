"""bench/memory.py: PyTorch's own count, the largest batch in it, and the tables beside gpunet's plans."""

import json
from typing import Any

import pytest

import gpunet
from bench import memory, placement, planner
from bench.tracker import TRIES, Peaks, peak_bytes
from gpunet import FC, Conv, MaxPool, Net, ReLU
from gpunet.layers.layer import Layer
from gpunet.memory.size import parse_bytes


def net_of(*layers: Layer) -> Net:
    return Net("8x8x2", [*layers, FC(2)], name="of-8x8")


# -- PyTorch's count ------------------------------------------------------------------------------


def test_the_trackers_peak_of_one_layer_by_hand():
    """At the peak: weights, their gradient, their momentum, the batch, and no more than three of the scores' size."""
    batch, inputs, classes = 7, 48, 1000
    parameters = 4 * classes * (inputs + 1)
    images, labels, scores = 4 * batch * inputs, 8 * batch, 4 * batch * classes
    net = Net("4x4x3", [FC(classes)])
    for momentum, copies in ((0.9, 3), (0.0, 2)):
        least = copies * parameters + images + labels
        assert least <= peak_bytes(net, batch, momentum=momentum) <= least + 3 * scores + 1000


@pytest.mark.parametrize(
    "layers, eighths",
    [
        # ReLU's backward: its output, the gradients of its output and of its input
        ((Conv(32), ReLU()), 24),
        # the second convolution's backward: the same three; a ReLU in place adds none
        ((Conv(32), ReLU(), Conv(32)), 24),
        # a pool's backward: its input and that one's gradient, its indices of 8 bytes, the gradient of its output
        ((Conv(32), MaxPool(2)), 8 + 8 + 4 + 2),
    ],
)
def test_what_the_tracker_counts_for_one_more_image_by_hand(layers, eighths):
    """In eighths of a convolution's volume, beside the image and its label."""
    net = net_of(*layers)
    volume, image, label = 4 * 8 * 8 * 32, 4 * 8 * 8 * 2, 8
    assert peak_bytes(net, 513) - peak_bytes(net, 512) == eighths * volume // 8 + image + label


def test_vgg16s_line():
    start, slope = Peaks.of(gpunet.load("vgg16")).line
    assert start / 1e6 == pytest.approx(1629.8, abs=0.1)
    assert slope / 1e6 == pytest.approx(73.66, abs=0.01)


# -- the largest batch ----------------------------------------------------------------------------


def lines(*each: tuple[int, int]) -> Peaks:
    """Peaks that are the largest of some lines (bytes, bytes an image)."""
    return Peaks(lambda batch: max(start + slope * batch for start, slope in each))


@pytest.mark.parametrize(
    "peaks", [lines((1000, 7)), lines((1000, 7), (900, 9), (500, 13)), lines((10, 1), (0, 1000), (-100_000, 1001))]
)
def test_the_largest_batch_fits_and_one_more_does_not(peaks):
    for limit in (*range(1, 2000, 13), 12_345, 1_000_001, 10**12):
        batch = peaks.largest(limit)
        assert batch >= 0
        assert batch == 0 or peaks.at(batch) <= limit
        assert peaks.at(batch + 1) > limit


def test_the_search_asks_about_few_batches():
    peaks = lines((1000, 7), (900, 9), (500, 13))
    peaks.largest(10**6)
    assert len(peaks.known) <= 10


def test_peaks_that_are_no_line_are_refused():
    with pytest.raises(ValueError, match="no straight line in the batch: 16,777,216 bytes at 4096, not"):
        Peaks(lambda batch: batch**2).largest(10**6)


def test_a_search_that_does_not_end_is_given_up():
    jumping = Peaks(lambda batch: 10 * batch if batch > 1000 else 10 * (batch % 2) + 990)
    with pytest.raises(ValueError, match=f"in {TRIES} tries"):
        jumping.largest(995)


# -- the bench ------------------------------------------------------------------------------------


def run(tmp_path, *arguments: str) -> tuple[int, dict[str, Any]]:
    path = tmp_path / "memory.json"
    code = memory.main(["--json", str(path), *arguments])
    return code, json.loads(path.read_text())


def test_the_table_holds_gpunets_own_batches_beside_pytorchs(tmp_path, capsys):
    code, results = run(tmp_path, "--net", "vgg_digits", "--budget", "600MiB", "--budget", "700MiB", "--no-targets")
    assert code == 0
    net = gpunet.load("vgg_digits")
    for row, budget in zip(results["rows"], ("600MiB", "700MiB"), strict=True):
        limit = parse_bytes(budget) - parse_bytes("512MiB")
        assert peak_bytes(net, row["pytorch"]) <= limit < peak_bytes(net, row["pytorch"] + 1)
        assert list(row["gpunet"]) == ["free", "no products", "FLOPs", "time"] and not row["residual"]
        free = gpunet.fit(net, budget, reserve="512MiB", max_cost=0)
        assert row["gpunet"]["free"]["batch"] == free.batch
        assert row["gpunet"]["free"]["total_bytes"] == free.total_bytes
        found = row["gpunet"]
        ratios = {name: one["ratio"] for name, one in found.items()}
        assert 1.5 < free.batch / row["pytorch"] == ratios["free"] <= ratios["no products"] <= ratios["FLOPs"]
        assert ratios["free"] <= ratios["time"] == gpunet.fit(net, budget, reserve="512MiB").batch / row["pytorch"]
        assert found["no products"]["extra_flops_fraction"] == 0 and found["FLOPs"]["extra_flops_fraction"] <= 0.03
        assert found["time"]["extra_time_fraction"] <= 0.03
    (peak,) = results["peaks"]
    plan = gpunet.plan(net, 64)
    assert sum(peak["alive"].values()) == sum(planned.nbytes for planned in plan.alive(plan.peak_step))
    (peer,) = results["pytorch"]
    assert peer["bytes_per_image"] * 2048 == peer["peaks"]["4096"] - peer["peaks"]["2048"]
    shown = capsys.readouterr().out
    assert f"{results['rows'][0]['pytorch']}" in shown and "0.05863" in shown


def test_a_net_that_pytorch_does_not_have_is_left_out_by_name(tmp_path, capsys):
    config = tmp_path / "odd.toml"
    config.write_text('input = "9x9x2"\nnet = "DROPOUT -> FC-3"\n')
    code, results = run(tmp_path, "--net", str(config), "--budget", "600MiB", "--no-targets")
    assert code == 0
    assert results["rows"] == []
    assert "is left out, for PyTorch has no such net: dropout1" in capsys.readouterr().err


def test_a_net_that_no_budget_holds_stands_in_the_table(tmp_path, capsys):
    code, results = run(tmp_path, "--net", "vgg_digits", "--budget", "513MiB", "--no-targets")
    (row,) = results["rows"]
    assert code == 0 and row["pytorch"] == 0 and row["gpunet"]["free"] is None
    assert [one.reached for one in memory.net_targets(results["rows"])] == [0.0, 0.0]


def test_nets_with_sums_are_to_reach_more():
    at = {"no products": {"ratio": 1.5}, "time": None}
    rows = [{"net": "a", "budget": "1GiB", "residual": residual, "gpunet": at} for residual in (False, True)]
    found = memory.net_targets(rows)
    assert [(one.target, one.holds) for one in found] == [(1.25, True), (2.0, False), (1.8, False), (2.0, False)]


def test_a_missed_target_is_an_error(tmp_path, monkeypatch, capsys):
    missed = [memory.Target("one", 5.0, 4.0, "GB"), memory.Target("two", 3.0, 2.0, "x", at_least=True)]
    assert [one.holds for one in missed] == [False, True]
    monkeypatch.setattr(memory, "targets", lambda net: missed)
    monkeypatch.setattr(memory, "by_type", lambda net: [])
    code, results = run(tmp_path, "--net", "vgg_digits", "--budget", "600MiB")
    assert code == 1
    assert [one["holds"] for one in results["targets"]] == [False, True, True, True]  # those of the net, too
    assert "one 5.00 GB <= 4 GB NO" in " ".join(capsys.readouterr().out.split())


def test_cards_are_told_by_name_in_each_type_that_they_have(monkeypatch):
    monkeypatch.setattr(memory, "CARDS", ("RTX 3060 12GB", "Titan X Pascal"))
    rows = memory.by_type(gpunet.load("INPUT[64x64x3] -> [CONV3-16 -> RELU]*3 -> POOL2 -> FC-10"))
    assert [(row["card"], row["dtype"]) for row in rows] == [
        *(("RTX 3060 12GB", dtype) for dtype in ("float32", "bfloat16", "float16")),
        ("Titan X Pascal", "float32"),
    ]
    assert rows[1]["free"] > 1.8 * rows[0]["free"] and all(row["at_a_cost"] >= row["free"] for row in rows)
    assert len(memory.types_table(rows).rows) == 4


def test_bytes_without_scratch_are_those_of_a_program_without_it():
    plan = gpunet.plan(gpunet.load("vgg_digits"), 32)
    kept = [t for t in plan.tensors if t.kind is not gpunet.Kind.WORKSPACE]
    most = max(sum(t.nbytes for t in kept if t.first <= step < t.last) for step in range(plan.steps))
    assert memory.without_scratch(plan) == most < plan.arena_bytes


# -- the planner's own benches ---------------------------------------------------------------------


@pytest.mark.parametrize("layers", [10, 11, 25, 50, 100, 201])
def test_a_chain_has_the_layers_it_is_named_for(layers):
    net = planner.chain(layers)
    assert len(net.nodes) == layers
    assert [type(node.layer) for node in net.nodes].count(MaxPool) == planner.POOLS
    assert net.volumes[net.nodes[-2].name].shape[:2] == (7, 7)


@pytest.mark.parametrize("name, layers", [("dense-12", 12), ("residual-3", 17), ("sums-4", 10), ("branches-5", 12)])
def test_nets_that_are_hard_to_plan_are_made_by_name(name, layers):
    assert len(planner.net_of(name).nodes) == layers


def test_the_time_to_plan_is_told_and_a_slow_planner_is_an_error(tmp_path, monkeypatch, capsys):
    path = tmp_path / "planner.json"
    cases = planner.Case("chain-10", 8, "least", limit_s=1000), planner.Case("dense-12", 0, "1MiB", limit_mb=-1)
    monkeypatch.setattr(planner, "CASES", cases)
    monkeypatch.setattr(planner, "measure", lambda case: planner.Row(case, **planner.measured(case)))  # in this process
    assert planner.main(["--net", "chain-10", "--json", str(path)]) == 0
    (row,) = json.loads(path.read_text())["rows"]
    assert row["case"]["net"] == "chain-10" and row["seconds"] > 0 and row["found"].endswith("B, free")
    assert planner.main(["--json", str(path)]) == 1
    assert "refused  ABOVE" in capsys.readouterr().out
    assert planner.main(["--one", "dense-12: fit 1MiB"]) == 0
    assert json.loads(capsys.readouterr().out)["found"] == "refused"


def test_gaps_are_told_and_a_wide_one_is_an_error(tmp_path, monkeypatch):
    path = tmp_path / "placement.json"
    arguments = ["--net", "vgg_digits", "--batch", "3", "--hard", "60", "--seeds", "2", "--seconds", "0.2"]
    arguments += ["--json", str(path)]
    assert placement.main(arguments) == 0
    results = json.loads(path.read_text())
    assert len(results["nets"]) == 2 * 2 * 2 and len(results["hard"]) == 2
    assert all(row["gap"] == 0 for row in results["nets"])
    for row in results["hard"]:
        assert row["gap"] == pytest.approx(row["height_bytes"] / (20_000 * 256) - 1)
    monkeypatch.setattr(placement, "HARD_GAP", -1.0)
    assert placement.main(arguments) == 1
