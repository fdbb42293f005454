"""The program as people use it: what it prints, where, and with which exit code, right and wrong."""

import csv
import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text
from safetensors.numpy import load_file
from typer.testing import Result

import gpunet
from gpunet.compile.rewrite import REWRITES
from gpunet.data import digits
from gpunet.devices import target
from gpunet.errors import DeviceError
from gpunet.memory.size import format_bytes
from gpunet.net.config import load_config
from gpunet.optimize.optimizers import OPTIMIZERS
from gpunet.report.plot import draw
from gpunet.system.resources import config_names
from tests.conftest import Run

ROOT = Path(__file__).parent.parent
TINY = "INPUT[8x8x1] -> CONV3-4 -> RELU -> POOL2 -> FC-10"
GIB = 2**30
RTX_3060 = 12_587_106_304
"""The least CUDA total that is known of one, in bytes."""


def start(*arguments: str, folder: Path, **options: object) -> "subprocess.Popen[str]":
    """Start the program as a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "gpunet", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes)  # type: ignore[call-overload]


def said(result: Result, code: int, *words: str) -> str:
    """What went to standard error, once the exit code is right, all words are there and no traceback is."""
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.stderr, result.stderr
    return result.stderr


# -- plan ------------------------------------------------------------------------------------------


def test_plan_shows_a_table_and_says_that_it_fits(run: Run) -> None:
    result = run("plan", "vgg16")
    assert result.exit_code == 0 and result.stderr == ""
    assert result.stdout.splitlines()[0] == (
        "vgg16, training with momentum, batch 64, float32, on cuda, for an RTX 3060 12GB (compute capability 8.6)"
    )
    assert re.search(r"^fc1 +1x1x4096 +102,764,544 ", result.stdout, re.MULTILINE)
    assert re.search(
        r"^budget +11.72 GiB +12,587,106,304 B .* no card or budget was named", result.stdout, re.MULTILINE
    )
    assert re.fullmatch(r"fits, .* to spare", result.stdout.splitlines()[-1])


def test_plan_json_is_the_plan_of_the_python_api(run: Run) -> None:
    options = "--batch 3 --optimizer sgd --mode train --dtype float64 --device cpu --scratch 64KiB --budget 1GiB"
    found = json.loads(run("plan", "vgg_digits", *options.split(), "--json").stdout)
    made = gpunet.plan(
        gpunet.load("vgg_digits"), 3, optimizer="sgd", dtype="float64", device="cpu", scratch_limit="64KiB"
    )
    assert (found["batch"], found["optimizer"], found["dtype"], found["device"]) == (3, "sgd", "float64", "cpu")
    assert found["arena_bytes"] == made.arena_bytes and found["scratch_limit_bytes"] == 64 * 1024
    assert found["budget_bytes"] == GIB and found["fits"] is True and found["largest_batch"] is None
    assert [row["name"] for row in found["tensors"]] == [planned.name for planned in made.tensors]
    assert [row["offset"] for row in found["tensors"]] == [planned.offset for planned in made.tensors]


def test_plan_takes_its_defaults_from_the_config_and_the_device(run: Run, tmp_path: Path) -> None:
    config = 'input = "8x8x1"\nnet = "FC-2"\n[train]\nbatch = 7\noptimizer = "sgd"\n'
    (tmp_path / "mine.toml").write_text(config)
    found = json.loads(run("plan", "mine.toml", "--json").stdout)
    assert (found["net"], found["batch"], found["optimizer"]) == ("mine", 7, "sgd")
    assert found["budget_bytes"] == RTX_3060 and found["device"] == "cuda" and found["mode"] == "train"
    found = json.loads(run("plan", TINY, "--device", "cpu", "--json").stdout)
    assert (found["batch"], found["optimizer"], found["budget_bytes"]) == (64, "momentum", None)


def test_a_net_is_scaled_on_the_command_line(run: Run) -> None:
    scaled = load_config("vgg16").net.scaled(0.125, "32x32x3")
    made = gpunet.plan(scaled, 2, device="cpu", optimizer="momentum")
    options = ("vgg16", "--width", "0.125", "--input", "32x32x3")
    told = json.loads(run("plan", *options, "--batch", 2, "--device", "cpu", "--json").stdout)
    assert told["arena_bytes"] == made.arena_bytes
    assert "32x32x8" in run("describe", *options).stdout
    wrong = run("plan", "vgg16", "--width", "0")
    assert wrong.exit_code == 2
    assert "the width must be a number above 0" in wrong.stderr


def test_plan_for_inference(run: Run) -> None:
    result = run("plan", "vgg_digits", "--mode", "infer", "--batch", 5)
    assert result.exit_code == 0 and result.stdout.startswith("vgg_digits, inference, batch 5,")


def test_a_plan_that_does_not_fit_names_what_would(run: Run) -> None:
    batch, options = 80000, ("--budget", "700MiB")
    result = run("plan", "vgg_digits", "--batch", batch, *options)
    assert result.exit_code == 1
    words = re.fullmatch(
        r"does not fit by .*; a budget of (\d+) bytes would hold it, and so would rounds of ([\d,]+) images "
        r"\(--micro-batches\); the largest batch that fits is (\d+)",
        result.stdout.splitlines()[-1],
    )
    assert words
    largest = int(words[3])
    assert run("plan", "vgg_digits", "--batch", largest, *options).exit_code == 0
    assert run("plan", "vgg_digits", "--batch", largest + 1, *options).exit_code == 1
    assert run("plan", "vgg_digits", "--batch", batch, "--budget", words[1]).exit_code == 0
    in_rounds = run("plan", "vgg_digits", "--batch", batch, *options, "--micro-batches")
    assert in_rounds.exit_code == 0 and f"the whole step in rounds of {words[2]} images" in in_rounds.stdout
    found = run("plan", "vgg_digits", "--batch", batch, *options, "--json")
    assert found.exit_code == 1
    assert json.loads(found.stdout)["largest_batch"] == largest and json.loads(found.stdout)["fits"] is False
    images_alone_are_too_much = run("plan", "vgg_digits", "--batch", 2000000, *options)
    assert images_alone_are_too_much.exit_code == 1 and "--micro-batches" not in images_alone_are_too_much.stdout


@pytest.mark.parametrize(
    "options",
    [("--device", "cpu"), ("--max-cost", 0), ("--mode", "infer"), ("--device", "cpu", "--micro-batches")],
    ids=lambda options: " ".join(map(str, options)),
)
def test_a_plan_of_which_no_image_fits_names_the_smallest_budget_that_would_do(
    run: Run, options: tuple[object]
) -> None:
    result = run("plan", "vgg_digits", "--budget", "1MiB", *options)
    words = re.search(r"does not fit by .*one image takes .* for \S+\); a budget of (\d+) bytes would", result.stdout)
    assert result.exit_code == 1 and words
    found = run("plan", "vgg_digits", "--budget", "1MiB", *options, "--json")
    assert json.loads(found.stdout)["largest_batch"] == 0
    assert run("plan", "vgg_digits", "--batch", 1, "--budget", words[1], *options).exit_code == 0
    assert run("plan", "vgg_digits", "--batch", 1, "--budget", int(words[1]) - 1, *options).exit_code == 1


def test_plan_finds_the_cheapest_ways_to_fit_and_shows_them_layer_by_layer(run: Run) -> None:
    result = run("plan", "vgg16", "--batch", 256, "--budget", "8.4GB")
    assert result.exit_code == 0 and result.stdout.splitlines()[-1].startswith("fits, ")
    assert re.search(r"^conv1 .* made again", result.stdout, re.MULTILINE)
    assert re.search(
        r"^ways +.* made again .*: \d.\d\d% more time, 0.\d\d% extra FLOPs( \(gap .*\))?$",
        result.stdout,
        re.MULTILINE,
    )
    dearer = json.loads(run("plan", "vgg16", "--batch", 240, "--budget", "6GiB", "--max-cost", 0.1, "--json").stdout)
    cheaper = json.loads(run("plan", "vgg16", "--batch", 150, "--budget", "6GiB", "--json").stdout)
    free = json.loads(run("plan", "vgg16", "--batch", 100, "--budget", "6GiB", "--json").stdout)
    assert dearer["fits"] and cheaper["fits"] and free["fits"]
    fractions = [found[f"extra_{what}_fraction"] for what in ("time", "flops") for found in (dearer, cheaper, free)]
    assert 0.1 >= fractions[0] > fractions[1] > fractions[2] == 0 and fractions[3] > fractions[4] > fractions[5] == 0


@pytest.mark.slow
def test_the_cost_is_capped_and_nothing_costly_is_done_for_0(run: Run) -> None:
    options = ("plan", "vgg16", "--batch", 255, "--budget", "6GiB", "--json")
    assert json.loads(run(*options, "--max-cost", "0.1").stdout)["fits"]
    capped = json.loads(run(*options).stdout)
    assert 0.01 < capped["extra_time_fraction"] <= 0.03 and not capped["fits"]
    by_flops = json.loads(run(*options, "--max-cost-flops", "0.04").stdout)
    assert 0.01 < by_flops["extra_flops_fraction"] <= 0.04 < by_flops["extra_time_fraction"] and by_flops["fits"]
    both = json.loads(run(*options, "--max-cost-flops", "0.01", "--max-cost", "0.1").stdout)
    assert both["extra_flops_fraction"] <= 0.01 and not both["fits"]
    free = run(*options, "--max-cost", 0)
    found = json.loads(free.stdout)
    assert free.exit_code == 1 and found["ways"]["names"] == [] and found["extra_flops_fraction"] == 0


@pytest.mark.parametrize("name", REWRITES)
def test_every_free_saving_can_be_left_out(run: Run, name: str) -> None:
    options = ("plan", "vgg16", "--batch", 4, "--json")
    found = json.loads(run(*options, "--without", name).stdout)
    assert found["arena_bytes"] == gpunet.plan(gpunet.load("vgg16"), 4, without=[name]).arena_bytes
    more = "conv-pool", "small-switches"  # either alone brings little: fused switches are small in any case
    every = json.loads(run(*options, *(word for one in (name, *more) for word in ("--without", one))).stdout)
    assert every["arena_bytes"] == gpunet.plan(gpunet.load("vgg16"), 4, without=[name, *more]).arena_bytes
    assert every["arena_bytes"] > json.loads(run(*options).stdout)["arena_bytes"]


def test_plan_draws_and_still_prints(run: Run, tmp_path: Path) -> None:
    result = run("plan", TINY, "--plot", "plan.png")
    assert result.exit_code == 0 and result.stdout.splitlines()[-1].startswith("fits, ")
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")
    assert run("plan", TINY, "--budget", "1MiB", "--plot", "over.png", "--json").exit_code == 1
    assert (tmp_path / "over.png").exists() and len(list(tmp_path.iterdir())) == 2


def test_plan_says_how_to_get_what_draws(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = run("plan", TINY, "--plot", "plan.png")
    said(result, 2, "--plot needs matplotlib, which is not installed: pip install")
    assert result.stdout == "" and list(tmp_path.iterdir()) == []


def test_plan_shows_who_is_alive_at_the_peak(run: Run) -> None:
    result = run("plan", "vgg16", "--timeline")
    assert re.search(
        r"^fc1\.w +parameter +fc1 +411,041,792 +392 MiB +[\d.]+% +\[0, \d+\)$", result.stdout, re.MULTILINE
    )
    assert re.search(r"\^ the peak, step \d+$", result.stdout, re.MULTILINE)


def test_nets_lists_all_that_come_with_it(run: Run) -> None:
    table = run("nets").stdout.splitlines()
    row = next(line for line in table if line.startswith("vgg16 "))
    assert row.split() == ["vgg16", "224x224x3", "1,000", "138,357,544", "VGG-16"]
    told = json.loads(run("nets", "--json").stdout)
    assert [net["name"] for net in told] == config_names()
    assert all(f"\n{net['name']} " in "\n".join(table) for net in told)
    assert told[0]["input"] == [227, 227, 3] and told[0]["source"]


@pytest.mark.parametrize("name", ["VGG16", "Vgg-16", "vgg_16"])
def test_shipped_nets_are_known_however_their_names_are_written(name: str, run: Run, tmp_path: Path) -> None:
    assert run("describe", name).stdout.startswith("vgg16: 224x224x3")
    (tmp_path / name).write_text('input = "8x8x1"\nnet = "FC-3"\n')
    assert "8x8x1 -> 1x1x3" in run("describe", name).stdout


def test_the_step_of_the_peak_is_the_same_everywhere(run: Run) -> None:
    step = json.loads(run("plan", TINY, "--json").stdout)["peak"]["step"]
    lines = run("plan", TINY, "--timeline").stdout
    plan = gpunet.plan(gpunet.load(TINY), 64)
    assert f"at step {step} (0 to {plan.steps - 1}), " in lines and f"the peak, step {step}\n" in lines
    assert plan.peak_step == step and plan.live_bytes[step] == max(plan.live_bytes)
    figure = draw(plan)
    assert any(f"step {step})" in text.get_text() for text in figure.findobj(Text))


# -- fit -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "vgg_digits --budget 530MiB --optimizer sgd",
        "vgg_digits --budget 1GB --max-cost 0 --device cpu",
        "vgg_digits --budget 70MiB --mode infer --device cpu",
        "vgg_digits --budget 75MiB --device cpu --micro-batches",
        "vgg_digits --budget 600MiB --without pool-before-relu --dtype float64",
        "lenet5 --budget 530MiB --max-cost 0.01",
        pytest.param("vgg_cifar --budget 1GiB --max-cost 0.01", marks=pytest.mark.slow),
        pytest.param("vgg16 --budget 2.5GiB", marks=pytest.mark.slow),
        pytest.param("vgg16 --budget 6GiB --reserve 300MiB", marks=pytest.mark.slow),
        "'INPUT[31x17x3] -> CONV5-7(S=3, P=0, fit=pad) -> RELU -> FC-33 -> FC-5' --budget 100MiB --device cpu",
    ],
)
def test_the_largest_batch_fits_a_plan_with_the_same_options_and_one_more_does_not(run: Run, line: str) -> None:
    words = shlex.split(line)
    result = run("fit", *words, "--json")
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    assert found["total_bytes"] <= found["budget_bytes"] < found["next_total_bytes"]
    with_it = run("plan", *words, "--batch", found["batch"], "--json")
    assert with_it.exit_code == 0
    made = json.loads(with_it.stdout)
    assert made["total_bytes"] == found["total_bytes"]
    assert made["extra_flops_fraction"] == found["extra_flops_fraction"] and made["ways"]["names"] == found["used"]
    one_more = run("plan", *words, "--batch", found["batch"] + 1, "--json")
    assert one_more.exit_code == 1
    made = json.loads(one_more.stdout)
    assert made["total_bytes"] == found["next_total_bytes"] and made["largest_batch"] == found["batch"]


def test_fit_json_has_the_ladder_of_every_budget(run: Run) -> None:
    found = json.loads(run("fit", "vgg16", "--budget", "4GiB", "--json").stdout)
    assert len(found) == 1 and found[0]["budget_bytes"] == 4 * GIB
    ladder = found[0]["ladder"]
    assert [rung["ways"] for rung in ladder] == [[], ["recompute"], ["recompute", "chunks"], ["micro-batches"]]
    batches = [rung["batch"] for rung in ladder]
    assert batches == sorted(batches) and batches[0] < batches[1] and found[0]["batch"] == batches[2] < batches[3]
    assert ladder[0]["extra_flops_fraction"] == 0 < ladder[1]["extra_flops_fraction"] <= 0.03
    for rung in ladder:
        assert rung["total_bytes"] <= 4 * GIB < rung["next_total_bytes"]
        assert rung["images_per_second"] is None  # nothing was profiled
    for rung in ladder[:2]:
        again = gpunet.fit(gpunet.load("vgg16"), "4GiB", ways=rung["ways"])
        assert (again.batch, again.total_bytes) == (rung["batch"], rung["total_bytes"])
    free = json.loads(run("fit", "vgg16", "--budget", "4GiB", "--budget", "6GB", "--max-cost", 0, "--json").stdout)
    assert [one["budget_bytes"] for one in free] == [4 * GIB, 6 * 10**9]
    assert free[0]["ladder"] == ladder[:1] and free[0]["batch"] == batches[0] < free[1]["batch"]


def test_fit_shows_a_ladder_for_each_budget_and_on_the_cpu_has_budgets_of_its_own(run: Run) -> None:
    result = run("fit", "vgg_digits", "--max-cost", 0, "--device", "cpu")
    rows = [line.split() for line in result.stdout.splitlines() if " free savings alone " in line]
    assert result.exit_code == 0
    assert [" ".join(row[:2]) for row in rows] == ["3 GiB", "4 GiB", "6 GiB", "8 GiB", "11 GiB", "12 GiB"]
    batches = [int(row[5].replace(",", "")) for row in rows]
    assert batches == sorted(set(batches)) and all(row[6] == "*" for row in rows)
    result = run("fit", "vgg_digits", "--budget", "1GiB", "--micro-batches")
    (taken,) = [line for line in result.stdout.splitlines() if " * " in line]
    assert "all of these (a)" in taken and "(a) only with --micro-batches" in result.stdout


def test_fit_gives_the_other_budgets_where_one_holds_nothing(run: Run) -> None:
    options = ("fit", "vgg_digits", "--budget", "1MiB", "--budget", "1GiB", "--max-cost", 0)
    result = run(*options)
    said(result, 1, "vgg_digits does not fit 1 MiB", "bytes would hold it")
    assert re.search(r"^ *1 MiB +free savings alone +none ", result.stdout, re.MULTILINE)
    nothing, something = json.loads(run(*options, "--json").stdout)
    assert nothing["batch"] == 0 and nothing["total_bytes"] is None and nothing["next_total_bytes"] > 512 * 2**20
    assert something["batch"] > 0


# -- train -----------------------------------------------------------------------------------------


def test_train_says_what_it_costs_learns_and_leaves_a_run(run: Run, tmp_path: Path) -> None:
    options = ("--epochs", 2, "--batch", 50, "--device", "cpu", "--seed", 3, "--learning-rate", "0.03")
    result = run("train", "vgg_digits", *options)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("vgg_digits, training with momentum, batch 50, float32, on cpu: ")
    assert lines[1] == "digits: 1,293 images to learn from, 144 to validate with, 360 to test on"
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == ["1/2", "2/2"]
    folder = tmp_path / "runs" / "vgg_digits-1"
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.safetensors",
        "config.toml",
        "environment.json",
        "last.safetensors",
        "metrics.csv",
        "plan.json",
        "previous.safetensors",
        "steps.csv",
        "test.json",
        "weights.safetensors",
    ]
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    accuracy = json.loads((folder / "test.json").read_text())["test_accuracy"]
    assert lines[-1].startswith(f"test accuracy {accuracy:.2%} after epoch 2; ")
    assert float(rows[1]["train_loss"]) < float(rows[0]["train_loss"])
    plan = json.loads((folder / "plan.json").read_text())
    assert plan["batch"] == 50 and plan["device"] == "cpu"


def test_the_config_of_a_run_gives_the_same_run_again_bit_for_bit(run: Run, tmp_path: Path) -> None:
    first = run("train", TINY, "--epochs", 1, "--batch", 90, "--device", "cpu", "--seed", 11, "--out", "a")
    again = run("train", "a/config.toml", "--device", "cpu", "--out", "b")
    assert first.exit_code == again.exit_code == 0, first.output + again.output
    assert (tmp_path / "a/weights.safetensors").read_bytes() == (tmp_path / "b/weights.safetensors").read_bytes()
    assert (tmp_path / "a/config.toml").read_text() == (tmp_path / "b/config.toml").read_text()
    measured = [(tmp_path / name / "metrics.csv").read_text().splitlines()[1].split(",")[:5] for name in "ab"]
    assert measured[0] == measured[1]


def test_the_weights_of_a_run_score_as_its_metrics_say(run: Run, tmp_path: Path) -> None:
    options = ("--epochs", 1, "--device", "cpu", "--validation", 0)
    assert run("train", TINY, *options, "--out", "a").exit_code == 0
    test = digits().test
    with gpunet.Model(gpunet.load("a/config.toml"), 360, "cpu", mode="infer") as model:
        for name, values in load_file(tmp_path / "a/weights.safetensors").items():
            model.parameters[name] = values
        right = (model.forward(test.images).argmax(1) == test.labels).mean()
    row = (tmp_path / "a/metrics.csv").read_text().splitlines()[1].split(",")
    assert float(row[4]) == right


def test_train_learns_from_arrays_in_a_file(run: Run, tmp_path: Path, rng: np.random.Generator) -> None:
    np.savez(tmp_path / "mine.npz", images=rng.random((40, 3, 5, 2), np.float32), labels=rng.integers(0, 4, 40))
    result = run("train", "INPUT[3x5x2] -> FC-4", "--data", "mine.npz", "--epochs", 1, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "mine.npz: 29 images to learn from, 3 to validate with, 8 to test on" in result.stdout
    assert "a fifth of each class, 8 of 40 images drawn by the seed 0, is tested on" in result.stdout


def test_another_optimizer_leaves_the_settings_behind_that_it_does_not_have(run: Run, tmp_path: Path) -> None:
    net = 'net = "INPUT[8x8x1] -> FC-10"\n[train]\nepochs = 1\nmomentum = 0.5\nweight_decay = 0.125\n'
    (tmp_path / "net.toml").write_text(net)
    assert run("train", "net.toml", "--device", "cpu", "--optimizer", "adam", "--out", "a").exit_code == 0
    train = load_config(tmp_path / "a/config.toml").train
    assert (train.optimizer, train.momentum, train.weight_decay) == ("adam", None, 0.125)
    assert (train.beta1, train.beta2, train.eps) == (0.9, 0.999, 1e-8)
    for name in OPTIMIZERS:
        assert name in run("train", "--help").stdout


def test_train_refuses_what_does_not_fit_and_names_the_batch_that_does(run: Run, tmp_path: Path) -> None:
    options = ("--device", "cpu", "--epochs", 1, "--budget", "80MiB", "--max-cost", 0)
    error = said(run("train", "vgg_digits", *options, "--batch", 999), 1, "at batch 999")
    largest = int(error.split()[-1])
    said(run("train", "vgg_digits", *options, "--batch", largest + 1), 1)
    assert not (tmp_path / "runs").exists()
    assert run("train", "vgg_digits", *options, "--batch", largest).exit_code == 0


def test_train_finds_the_cheapest_way_says_what_it_costs_and_runs_in_the_plan_it_showed(
    run: Run, tmp_path: Path
) -> None:
    free = gpunet.fit(gpunet.load("vgg_digits"), "100MiB", device="cpu", max_cost=0, ways=()).batch
    options = ("--device", "cpu", "--epochs", 1, "--budget", "100MiB", "--batch", free + 40)
    said(run("train", "vgg_digits", *options, "--max-cost", 0), 1, f"the largest batch that fits is {free}")
    result = run("train", "vgg_digits", *options, "--max-cost", 0.5, "--out", "a")
    assert result.exit_code == 0, result.output
    cost = r"(\d\.\d\d% more time, )?(no|\d\.\d\d%) extra FLOPs( \(gap .*\))?"
    assert re.fullmatch(rf"to fit: .* (made again|in rounds of) .*: {cost}", result.stdout.splitlines()[1])
    kept = json.loads((tmp_path / "a/plan.json").read_text())
    made = gpunet.plan(gpunet.load("vgg_digits"), free + 40, device="cpu", budget="100MiB", max_cost=0.5)
    assert kept["ways"]["names"] == list(made.ways.names) != [] and kept["arena_bytes"] == made.arena_bytes
    assert kept["extra_flops_fraction"] == made.extra_flops_fraction
    assert "to fit:" not in run("train", "vgg_digits", "--device", "cpu", "--epochs", 1, "--budget", "1GiB").stdout


def test_train_runs_in_rounds_only_when_asked(run: Run, tmp_path: Path) -> None:
    largest = gpunet.fit(gpunet.load("vgg_digits"), "72MiB", device="cpu").batch
    options = ("--device", "cpu", "--epochs", 1, "--budget", "72MiB", "--batch", largest + 100)
    said(run("train", "vgg_digits", *options), 1, f"the largest batch that fits is {largest}")
    result = run("train", "vgg_digits", *options, "--micro-batches", "--out", "a")
    assert result.exit_code == 0 and "the whole step in rounds of" in result.stdout.splitlines()[1]
    assert json.loads((tmp_path / "a/plan.json").read_text())["ways"]["micro_batch"] > 0


def test_train_leaves_free_savings_out(run: Run, tmp_path: Path) -> None:
    options = ("--device", "cpu", "--epochs", 1, "--batch", 200)
    assert run("train", "vgg_digits", *options, "--out", "a").exit_code == 0
    assert run("train", "vgg_digits", *options, "--without", "pool-before-relu", "--out", "b").exit_code == 0
    plans = [json.loads((tmp_path / name / "plan.json").read_text()) for name in "ab"]
    assert plans[0]["arena_bytes"] < plans[1]["arena_bytes"]
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]


def test_train_refuses_what_the_machine_has_no_memory_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    free = gpunet.plan(gpunet.load("vgg_digits"), 1, device="cpu", budget=1).total_bytes + 1000
    monkeypatch.setattr("gpunet.devices.cpu.probe.free_bytes", lambda: free)
    result = run("train", "vgg_digits", "--device", "cpu", "--batch", 999)
    said(result, 1, "the largest batch that fits is ")
    assert f"of {format_bytes(free)} free" in result.stdout


def test_what_is_free_changes_a_run_only_where_it_must_and_is_kept_then(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = gpunet.load("vgg_digits")
    batch = gpunet.fit(net, "100MiB", device="cpu", max_cost=0, ways=()).batch + 40
    made = gpunet.plan(net, batch, device="cpu")
    free = [made.total_bytes, 64 * GIB, 100 * 2**20, 64 * GIB]
    monkeypatch.setattr("gpunet.devices.cpu.probe.free_bytes", lambda: free.pop(0))
    options = ("--device", "cpu", "--epochs", 1, "--max-cost", 0.5)
    results = [run("train", "vgg_digits", *options, "--batch", batch, "--out", name) for name in "abc"]
    results.append(run("train", "c/config.toml", "--device", "cpu", "--out", "d"))
    assert [result.exit_code for result in results] == [0] * 4, results[-1].output
    told = ["config.toml keeps as budget" in result.stdout for result in results]
    assert told == [False, False, True, False]
    kept = [load_config(tmp_path / name / "config.toml").train.budget for name in "abcd"]
    assert kept == [None, None, 100 * 2**20, 100 * 2**20]
    plans = [json.loads((tmp_path / name / "plan.json").read_text()) for name in "abcd"]
    ways = [(plan["ways"], plan["budget_bytes"], plan["arena_bytes"]) for plan in plans]
    assert ways[0] == ways[1] != ways[2] == ways[3]
    assert ways[0][0]["names"] == [] != ways[2][0]["names"]
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in "abcd"]
    assert weights[0] == weights[1] and weights[2] == weights[3]


def test_a_budget_in_the_config_is_kept_to_and_one_given_replaces_it(run: Run, tmp_path: Path) -> None:
    config = 'net = "INPUT[8x8x1] -> FC-10"\n[train]\nepochs = 1\nbudget = "10MiB"\n'
    (tmp_path / "small.toml").write_text(config)
    said(run("train", "small.toml", "--device", "cpu"), 1, "does not fit 10 MiB")
    assert run("train", "small.toml", "--device", "cpu", "--budget", "1GiB", "--out", "a").exit_code == 0
    assert load_config(tmp_path / "a/config.toml").train.budget == "1GiB"


def test_free_memory_is_asked_before_a_gpu_is_opened_to_choose_the_device(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def free_bytes(number: int = 0) -> int:
        asked.append("free")
        return GIB

    def choose(name: str) -> str:
        asked.append("open")
        return "cpu"

    monkeypatch.setattr("gpunet.devices.cuda.probe.free_bytes", free_bytes)
    monkeypatch.setattr("gpunet.model.model.choose_device", choose)
    assert run("train", TINY, "--epochs", 1).exit_code == 0
    assert asked[:2] == ["free", "open"]


def test_a_loss_that_is_no_number_ends_the_run_with_advice(run: Run, tmp_path: Path) -> None:
    result = run("train", "vgg_digits", "--device", "cpu", "--learning-rate", "1000", "--out", "a")
    said(result, 2, "the loss became", "in epoch 1, step ", "try a smaller learning rate", "a holds no weights")
    left = ["config.toml", "environment.json", "plan.json", "steps.csv"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == left


def test_a_disk_that_fills_up_is_named_and_the_epochs_before_are_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, fsync = [], os.fsync

    def filling(handle: int) -> None:
        synced.append(handle)
        # four files at the start, four an epoch, each with its folder, and the rows of the steps before a checkpoint
        if len(synced) > 8 + 9 + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", filling)
    result = run("train", TINY, "--device", "cpu", "--epochs", 3, "--validation", 0, "--out", "a")
    said(result, 2, "cannot write a/last.safetensors: No space left on device", "holds the weights after epoch 1")
    said(result, 2, "gpunet train --resume a goes on after step 23")
    assert len((tmp_path / "a/metrics.csv").read_text().splitlines()) == 2
    assert set(load_file(tmp_path / "a/weights.safetensors")) == {"conv1.w", "conv1.b", "fc1.w", "fc1.b"}
    assert len(list((tmp_path / "a").iterdir())) == 8


def test_a_run_folder_is_never_overwritten(run: Run, tmp_path: Path) -> None:
    assert run("train", TINY, "--device", "cpu", "--epochs", 1, "--out", "a").exit_code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    said(run("train", TINY, "--device", "cpu", "--epochs", 1, "--out", "a"), 2, "already holds a run", "another --out")
    assert {path: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("plan", "gpunet plan needs NET; gpunet plan -h says more"),
        ("plan vgg_digit", "did you mean vgg_digits?"),
        ("plan nowhere.toml", "nowhere.toml"),
        ("plan .", "directory"),
        ("plan ''", "no net was given"),
        ("plan vgg16 more", "gpunet plan takes no more words; got 'more'"),
        ("plann vgg16", "there is no command 'plann'; did you mean plan?"),
        ("plan vgg16 --bach 3", "there is no --bach of gpunet plan; did you mean --batch?"),
        ("plan vgg16 --batch x", "--batch must be an integer; got 'x'"),
        ("plan vgg16 --batch 0", "from 1 to 16,777,216; got 0"),
        ("plan vgg16 --batch -3", "got -3"),
        ("plan vgg16 --batch 1000000000000", "got 1000000000000"),
        ("plan vgg16 --budget '12 apples'", "cannot read '12 apples' as an amount of memory; write it like 12GiB"),
        ("plan vgg16 --budget 0", "at least one byte"),
        ("plan vgg16 --budget -5GiB", "cannot read '-5GiB'"),
        ("plan vgg16 --scratch lots", "cannot read 'lots'"),
        ("plan vgg16 --device tpu", "there are cpu, cuda, and cuda:1"),
        ("plan vgg16 --mode both", "--mode must be one of train, infer; got 'both'"),
        ("plan vgg16 --dtype float8", "--dtype"),
        ("plan vgg16 --optimizer adamm", "did you mean adam?"),
        ("plan 'INPUT[8x8x1] -> CNV3-4'", "did you mean CONV?"),
        (
            "plan 'INPUT[10x10x3] -> CONV3-4(S=2, P=0) -> FC-2'",
            "does not fit 10x10, as (W - F + 2P)/S + 1 = 4.5: 11 or 9",
        ),
        ("plan vgg16 --without pool-before-rely", "did you mean pool-before-relu?"),
        ("plan vgg16 --without xyz", "there are pool-before-relu, small-switches"),
        ("plan vgg16 --max-cost -1", "max_cost must be a number from 0 to 10; got -1.0"),
        ("plan vgg16 --max-cost nan", "got nan"),
        ("plan vgg16 --max-cost 3%", "--max-cost must be a number; got '3%'"),
        ("plan vgg16 --max-cost 0 --micro-batches", "say --no-micro-batches"),
        ("plan vgg16 --mode infer --micro-batches", "leave one of them out"),
        ("plan vgg16 --device cpu --micro-batches", "give one, like --budget 4GiB"),
        ("plan vgg16 --device cpu --max-cost 0.1", "give one, like --budget 4GiB"),
        ("plan vgg16 --json --timeline", "leave out --timeline"),
        ("plan vgg16 --plot plan.pdf", "a plot is a .png file; got 'plan.pdf'"),
        ("plan vgg16 --plot nowhere/plan.png", "there is no folder nowhere"),
        ("fit vgg16 --without xyz", "there is no rewrite 'xyz'"),
        ("fit vgg16 --max-cost 11", "got 11.0"),
        ("fit vgg16 --max-cost 0 --micro-batches", "say --no-micro-batches"),
        ("fit vgg16 --mode infer --micro-batches", "leave one of them out"),
        ("train vgg_digits --device cpu --without xyz", "there is no rewrite 'xyz'"),
        ("train vgg_digits --device cpu --max-cost -0.1", "got -0.1"),
        ("train vgg_digits --device cpu --max-cost 0 --micro-batches", "say --no-micro-batches"),
        ("fit vgg16 --budget '12 apples'", "cannot read '12 apples'"),
        ("fit vgg_digit", "did you mean vgg_digits?"),
        ("train vgg_digits --epochs 0", "epochs must be an integer from 1"),
        ("train vgg_digits --batch 0", "batch must be"),
        ("train vgg_digits --batch 1000000000000", "batch must be"),
        ("train vgg_digits --seed -1", "seed must be"),
        ("train vgg_digits --learning-rate 0", "learning_rate must be"),
        ("train vgg_digits --learning-rate nan", "learning_rate must be"),
        ("train vgg_digits --optimizer adamm", "optimizer"),
        ("plan vgg16 --budget 6", "6GiB?"),
        ("train vgg_digits --budget 6", "budget must be an amount of memory like 6GiB; got '6'; 6GiB?"),
        ("train vgg_digits --budget '12 apples'", "budget must be an amount of memory like 6GiB; got '12 apples'"),
        ("train vgg_digits --device cpu --data nowhere.npz", "there is no file nowhere.npz"),
        ("train vgg_digits --device cpu --data cifar", "no data set called 'cifar'"),
        ("train vgg_cifar --device cpu --data digits", "digits holds images of 8x8x1; the net takes 32x32x3"),
        ("train 'INPUT[8x8x1] -> FC-5' --device cpu", "the net's 5 classes are labelled 0 to 4"),
    ],
)
def test_a_mistake_is_one_message_that_names_it_and_exit_code_2(
    run: Run, tmp_path: Path, line: str, words: str
) -> None:
    result = run(*shlex.split(line))
    said(result, 2)
    assert words in re.sub(r"\s*│\n│\s*", " ", result.stderr)
    assert len(result.stderr.splitlines()) <= 6
    assert not (tmp_path / "runs").exists()


def test_a_device_that_is_not_there_says_what_to_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise DeviceError(f"no {name} here: use --device cpu")

    monkeypatch.setattr("gpunet.model.model.open_device", missing)
    said(run("train", "vgg_digits", "--device", "cuda", "--epochs", 1), 2, "no cuda here: use --device cpu")


# -- the process -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("process")


@pytest.mark.parametrize(
    ("arguments", "most_s", "without"),
    [
        (["--help"], 0.5, ["numpy", "tomllib", "safetensors", "gpunet.model.model"]),
        (["plan", "vgg16"], 1.5, ["numpy", "safetensors", "gpunet.model.model", "cupy"]),
    ],
)
def test_answers_come_at_once(arguments: list[str], most_s: float, without: list[str]) -> None:
    code = (
        "import sys, time, atexit; sys.argv[1:] = {0!r}\n"
        "atexit.register(lambda: print(*sorted(sys.modules), time.process_time(), file=sys.stderr))\n"
        "from gpunet.cli import main; main()"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code.format(arguments)], capture_output=True, text=True, cwd=ROOT)
        for _ in range(2)
    ]
    assert all(run.returncode == 0 for run in runs), runs[0].stderr
    modules = runs[0].stderr.split()
    assert not set(without) & set(modules)
    assert min(float(run.stderr.split()[-1]) for run in runs) < most_s  # processor time: others may be busy


def test_the_version_and_help_name_everything(run: Run) -> None:
    assert run("--version").stdout == f"gpunet {gpunet.__version__}\n"
    for command in ("plan", "fit", "train", "doctor"):
        assert command in run("--help").stdout
        assert run(command, "-h").exit_code == 0
    for option in ("batch", "optimizer", "mode", "dtype", "budget", "device", "scratch", "json", "plot", "timeline"):
        assert f"--{option}" in run("plan", "--help").stdout
    for command in ("plan", "fit", "train"):
        for option in ("--without", "--max-cost", "--micro-batches", "--no-micro-batches"):
            assert option in run(command, "--help").stdout
    for device in ("cuda", "cpu"):
        words = f"{target(device).scratch_limit_bytes // 2**20}MiB for {device}"
        assert words in " ".join(re.sub("[│\\s]+", " ", run("plan", "--help").stdout).split())
    for option in ("epochs", "batch", "device", "seed", "budget", "out", "data", "optimizer", "learning-rate"):
        assert f"--{option}" in run("train", "--help").stdout
    assert "INPUT[32x32x3]" in run("plan", "--help").stdout


@pytest.mark.parametrize("arguments", [["plan", "vgg16"], ["plan", "vgg16", "--json"], ["--version"], ["doctor"]])
def test_an_output_that_takes_nothing_is_one_line(arguments: list[str], folder: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.fail("this test needs /dev/full; run it on Linux")
    with Path("/dev/full").open("w") as full:
        process = start(*arguments, folder=folder, stdout=full)
        _, errors = process.communicate(timeout=60)
    assert errors == "gpunet: cannot write the output: No space left on device\n"
    assert process.returncode == 2


def test_a_reader_that_leaves_early_ends_the_program_quietly(folder: Path) -> None:
    read, write = os.pipe()
    process = start("plan", "vgg16", "--json", folder=folder, stdout=write)
    os.close(write)
    os.close(read)
    _, errors = process.communicate(timeout=60)
    assert errors == "" and process.returncode == 141


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "--help"], ["--version"]])
def test_help_that_nobody_reads_ends_quietly(arguments: list[str], folder: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    process = start(*arguments, folder=folder, stdout=write)
    os.close(write)
    _, errors = process.communicate(timeout=60)
    assert errors == "" and process.returncode == 141


@pytest.mark.parametrize("arguments", ["--help", "--version", "plan vgg16", "doctor", f"train '{TINY}' --device cpu"])
def test_an_output_that_is_closed_from_the_start_is_as_one_that_nobody_reads(arguments: str, folder: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m gpunet {arguments} >&-"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, shell=True, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
    assert result.stderr == "" and result.returncode == 141
    assert not (folder / "runs").exists()


CTRL_C_AT_IMPORT = """
import os, signal, sys
def hook(event, arguments):
    if event == "import" and arguments[0] == {module!r}:
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(hook)
sys.argv[1:] = ["plan", "vgg16", "--device", "cpu"]
from gpunet.cli import main
main()
"""


@pytest.mark.parametrize(
    "module", ["gpunet.cli.app", "typer", "gpunet.errors", "gpunet.planning.planner", "rich.table"]
)
def test_ctrl_c_is_heard_while_the_program_starts(module: str, folder: Path) -> None:
    command = [sys.executable, "-c", CTRL_C_AT_IMPORT.format(module=module)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert result.stderr == "gpunet: stopped\n" and result.stdout == "" and result.returncode == 130


def test_ctrl_c_in_the_middle_of_training_keeps_all_of_it(folder: Path) -> None:
    options = ("--epochs", "5000", "--device", "cpu", "--validation", "0", "--out", "stopped")
    process = start("train", TINY, *options, folder=folder)
    assert process.stdout and process.stderr
    for line in process.stdout:
        if line.startswith("epoch    2/5000"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    words = re.fullmatch(
        r"gpunet: stopping after this step; once more to leave at once\n"
        r"gpunet: stopped; gpunet train --resume stopped goes on after step ([\d,]+)\n",
        errors,
    )
    assert process.returncode == 130 and words, errors
    steps, rows = ((folder / "stopped" / name).read_text().splitlines()[1:] for name in ("steps.csv", "metrics.csv"))
    assert len(steps) == int(words[1].replace(",", "")) and len(rows) >= 2
    assert len(rows) == (len(steps) - 1) // 23 or (len(steps) % 23 == 0 and len(rows) == len(steps) // 23)
    assert load_file(folder / "stopped/weights.safetensors")["conv1.w"].shape == (4, 3, 3, 1)
    assert len(list((folder / "stopped").iterdir())) == 9
