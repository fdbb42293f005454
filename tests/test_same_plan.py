"""Commands plan, fit, profile and test learning rates of what `gpunet train` runs with the same config and options."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import gpunet
from gpunet import Learning, Model
from gpunet.cli.app import app
from gpunet.cli.options import train_settings, training
from gpunet.data import load as load_data
from gpunet.memory.plan import Plan
from gpunet.net.config import load_config
from gpunet.optimize.optimizers import Adam, AdamW, Momentum
from gpunet.train.lr_find import RateTest, lr_find

NET = 'input = "8x8x1"\nnet = "CONV3-16 -> RELU -> CONV3-16 -> RELU -> POOL2 -> FC-40 -> FC-10"\n'
HOW = """\
optimizer = "adam"
beta1 = 0.5
freeze = ["fc1"]
rate_factors = { "conv*" = 3 }
decay = "weights"
weight_decay = 0.1
clip_value = 0.5
clip_norm = 2
"""
FITTING = """\
budget = "71800KiB"
reserve = "68MiB"
without = ["pool-before-relu"]
max_cost = 0.5
micro_batches = true
"""
LEARNING = Learning(
    Adam(weight_decay=0.1, beta1=0.5),
    freeze="fc1",
    rate_factors={"conv*": 3},
    decay="weights",
    clip_value=0.5,
    clip_norm=2,
)

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> Run:
    """Run the program inside this process, in a folder with net.toml and its data."""
    monkeypatch.chdir(tmp_path)
    images = {name: rng.integers(0, 256, (64, 8, 8, 1), np.uint8) for name in ("images", "test_images")}
    labels = np.arange(64) % 10
    np.savez("images.npz", **images, labels=labels, test_labels=labels)
    train = f'[train]\ndata = "images.npz"\nepochs = 1\nbatch = 60\n{HOW}'
    Path("net.toml").write_text(NET + train + FITTING)
    Path("roomy.toml").write_text(NET + train)
    return lambda *arguments: CliRunner().invoke(app, [*map(str, arguments), "--device", "cpu"])


def read(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


OPTIONS = {
    "the config alone": (),
    "another optimizer": ("--optimizer", "adamw"),
    "other layers": ("--freeze", "conv1", "--freeze", "fc1", "--clip-norm", 1),
    "nothing but free savings": ("--no-micro-batches", "--max-cost", 0, "--budget", "1GiB", "--without", "relu-masks"),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_plan_plans_what_train_runs(run: Run, options: tuple[object, ...]) -> None:
    found = read(run("plan", "net.toml", *options, "--json"))
    assert run("train", "net.toml", *options, "--out", "run").exit_code == 0
    kept = json.loads(Path("run/plan.json").read_text())
    for made in (found, kept):
        del made["placement"]["seconds"]
    assert found == kept
    assert (found["ways"]["names"] == ["micro-batches"]) == ("--no-micro-batches" not in options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, LEARNING),
        ({"clip_norm": 1.0, "freeze": ["conv1"]}, replace(LEARNING, clip_norm=1, freeze="conv1")),
        ({"optimizer": "adamw"}, replace(LEARNING, optimizer=AdamW(weight_decay=0.1, beta1=0.5))),
        ({"optimizer": "momentum"}, replace(LEARNING, optimizer=Momentum(weight_decay=0.1))),
    ],
)
def test_settings_of_the_optimizer_are_those_of_train(run: Run, options: dict[str, Any], expected: Learning) -> None:
    told = training(load_config("net.toml"), **options)
    assert train_settings(told)["optimizer"] == expected


def test_plan_and_its_json_say_how_gradients_are_clipped(run: Run) -> None:
    head = "net, training with adam, fc1 frozen, gradients clipped at value 0.5 and norm {}, batch 60, float32, on cpu"
    assert run("plan", "net.toml").stdout.splitlines()[0] == head.format(2)
    assert run("plan", "net.toml", "--clip-norm", 0.25).stdout.splitlines()[0] == head.format(0.25)
    found = read(run("plan", "net.toml", "--json"))
    assert (found["clip_value"], found["clip_norm"]) == (0.5, 2)
    scores = run("plan", "net.toml", "--mode", "infer")
    assert scores.exit_code == 0 and scores.stdout.startswith("net, inference, batch 60, ")
    plain = read(run("plan", "vgg_digits", "--json"))
    assert (plain["clip_value"], plain["clip_norm"]) == (None, None)


def test_fit_finds_the_batch_that_train_can_take(run: Run) -> None:
    (found,) = read(run("fit", "roomy.toml", "--budget", "65MiB", "--max-cost", 0, "--json"))
    options = {"budget": "65MiB", "device": "cpu", "optimizer": LEARNING, "max_cost": 0}
    assert found["batch"] == gpunet.fit(gpunet.load("roomy.toml"), **options).batch
    for command in (("fit", "--budget", "1GiB"), ("plan",)):  # gradients are added up in training alone
        assert run(*command, "net.toml", "--mode", "infer").exit_code == 0
    assert "say --no-micro-batches" in run("fit", "net.toml", "--max-cost", 0).stderr


def test_profile_runs_the_plan_of_train(run: Run) -> None:
    planned = read(run("plan", "net.toml", "--clip-norm", 1, "--json"))
    found = read(run("profile", "net.toml", "--clip-norm", 1, "--steps", 1, "--json"))
    shared = ("arena_bytes", "total_bytes", "frozen", "clip_value", "clip_norm", "optimizer", "batch")
    assert {key: found[key] for key in shared} == {key: planned[key] for key in shared}
    assert found["ways"] == planned["ways"]["names"] == ["micro-batches"]


def test_learning_rates_are_tested_of_what_train_trains(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    config, data = load_config("net.toml"), load_data("images.npz", shape=(8, 8, 1), classes=10, validation="10%")
    plans: list[Plan] = []

    def watched(model: Model, *arguments: Any, **options: Any) -> RateTest:
        plans.append(model.plan)
        return lr_find(model, *arguments, **options)

    monkeypatch.setattr("gpunet.train.lr_find.lr_find", watched)
    found = read(run("lr-find", "net.toml", "--steps", 20, "--repeats", 1, "--json"))["tests"][0]
    planned = read(run("plan", "net.toml", "--json"))
    assert (plans[0].arena_bytes, list(plans[0].ways.names)) == (planned["arena_bytes"], ["micro-batches"])
    with Model(config.net, 60, "cpu", optimizer=LEARNING, plan=plans[0]) as model:
        assert found["losses"] == lr_find(model, data, steps=20).losses.tolist()
    other = read(run("lr-find", "net.toml", "--clip-norm", 1e-3, "--freeze", "conv2", "--steps", 20, "--json"))[
        "tests"
    ][0]
    assert (plans[1].frozen, other["losses"] == found["losses"]) == (("conv2",), False)


def test_learning_rates_are_tested_from_the_weights_that_train_starts_from(run: Run) -> None:
    assert run("train", "roomy.toml", "--out", "run").exit_code == 0
    config = Path("roomy.toml").read_text() + 'weights = "run/weights.safetensors"\n'
    Path("tuned.toml").write_text(config)
    result = run("lr-find", "tuned.toml", "--steps", 20)
    assert result.exit_code == 0 and "kept from run/weights.safetensors: conv1, conv2, fc1, fc2\n" in result.stdout
    tuned, anew = (read(run("lr-find", file, "--steps", 20, "--json")) for file in ("tuned.toml", "roomy.toml"))
    assert tuned["tests"][0]["losses"][0] < anew["tests"][0]["losses"][0]


def test_every_command_refuses_to_freeze_all(run: Run) -> None:
    for command in ("plan", "fit", "profile", "lr-find", "train"):
        result = run(command, "net.toml", "--freeze", "*")
        assert result.exit_code == 2 and "all 4 layers with parameters are frozen" in result.stderr, command
