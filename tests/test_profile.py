"""Profiles: the time and the work of each op, and the command that shows them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import gpunet
from gpunet import ConfigError, Model, Net
from gpunet.cli.app import app
from gpunet.compile.fuse import FUSIONS
from gpunet.devices.cuda import present
from gpunet.devices.device import Device
from gpunet.planning.predict import predicted_images_per_second
from gpunet.profile.keep import keep_reserve
from gpunet.profile.measure import profile
from gpunet.profile.steps import op_times, random_batch, timed_calls
from gpunet.report.figures import number
from gpunet.report.profile_json import profile_json
from tests.nets import BLOCKS, blocks, tight_plan

ROOT = Path(__file__).parent.parent
MIB = 2**20
BATCH = 7


class OtherClock:
    """A clock that calls of ops move on, each by what it is worth; `factor` differs from step to step."""

    def __init__(self) -> None:
        self.now, self.factor, self.calls = 0.0, 1, 0

    def spend(self, model: Model, *arrays: np.ndarray) -> Iterator[Any]:
        self.calls = 0
        for op, call in Model.calls(model, *arrays):
            yield op, lambda call=call, op=op: (call(), self.move(op.name))

    def move(self, name: str) -> None:
        self.now += self.factor * self.worth(name, self.calls)
        self.calls += 1

    @staticmethod
    def worth(name: str, number: int) -> int:
        return 10 * len(name) + number

    def mark(self) -> float:
        return self.now

    def milliseconds(self, first: float, last: float) -> float:
        return last - first


@pytest.mark.parametrize("way", ["plain", "tight"])
def test_each_op_gets_the_median_of_what_all_its_rounds_took(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    clock = OtherClock()
    steps = []
    with Model(blocks(), BATCH, "cpu", plan=tight_plan(blocks(), BATCH, "cpu") if way == "tight" else None) as model:
        monkeypatch.setattr(model, "calls", lambda *arrays: clock.spend(model, *arrays))
        for clock.factor in (3, 1, 2):
            steps.append(timed_calls(model, clock, *random_batch(blocks(), BATCH)))
        times = op_times(model, steps, BATCH)
        program = model.plan.program
    turns = list(program.turns(BATCH))
    assert [time_.op for time_ in times] == list(program.ops)
    for step, time_ in enumerate(times):
        numbers = [number for number, turn in enumerate(turns) if turn.step == step]
        assert time_.ms == 2 * sum(clock.worth(time_.op.name, number) for number in numbers)
        assert time_.calls == len(numbers)
        assert time_.images == max(turns[number].last - turns[number].first for number in numbers)
    conv = next(time_ for time_ in times if time_.op.name == "conv_forward" and time_.op.layer == "conv2")
    assert conv.nbytes == 4 * (BATCH * 2 * 16 * 12 * 8 + conv.calls * (8 * 9 * 8 + 8))
    assert any(time_.calls > 1 for time_ in times) == any(time_.again for time_ in times) == (way == "tight")


def test_bytes_and_flops_are_those_of_the_definition(device: Device) -> None:
    small = Net("5x4x3", [gpunet.Conv(6), gpunet.ReLU(), gpunet.FC(2)])
    images, labels = random_batch(small, 3)
    with Model(small, 5, device, optimizer="sgd", dtype="float64", without=("relu-masks", *FUSIONS)) as model:
        times = op_times(model, [timed_calls(model, device, images, labels)], len(images))
    found = {(time_.op.layer, time_.op.name): time_ for time_ in times}
    x, y, w, b = 3 * 5 * 4 * 3, 3 * 5 * 4 * 6, 6 * 9 * 3, 6
    conv = found["conv1", "conv_forward"]
    assert conv.nbytes == 8 * (x + y + w + b)
    assert conv.flops == 2 * y * 27
    assert found["input", "image_to_float"].nbytes == x + 8 * x
    assert found["relu1", "relu_forward"].nbytes == 8 * 2 * y and found["relu1", "relu_forward"].flops == 0
    assert found["fc1", "fc_backward_weights"].nbytes == 8 * (y + 3 * 2 + y // 3 * 2)
    counters = 4 * (device.name != "cpu")  # one, of an int32
    assert found["conv1", "bias_backward"].nbytes == 8 * (y + b) + counters
    assert all(time_.ms > 0 for time_ in times)


def test_a_device_tells_the_milliseconds_between_marks(device: Device) -> None:
    first = device.mark()
    time.sleep(0.02)
    second = device.mark()
    assert 15 < device.milliseconds(first, second) < 1000
    assert device.milliseconds(second, device.mark()) >= 0


APART = ("joint-updates", "conv-norm", "late-conv-norm")
"""So that each update is a call of its own layer, and that there are normalized values to make again."""


@pytest.mark.parametrize("way", ["plain", "tight"])
def test_a_profile_adds_up(device: Device, way: str) -> None:
    seen: list[int] = []
    options: dict[str, Any] = dict(max_cost=1.0, without=APART)
    tight = gpunet.plan(blocks(), BATCH, device=device.name, budget=1, **options)
    budget = tight.total_bytes if way == "tight" else None
    made = profile(blocks(), BATCH, device, steps=2, watch=seen.append, budget=budget, **options)
    made_again = any(name.endswith(".again") for name in made.plan.program.tensors)
    assert any(op.again for op in made.ops) == made_again and (made_again or way != "tight" or device.name != "cpu")
    assert seen == [1, 2] and made.plan.device == device.name
    assert made.images_per_second == pytest.approx(BATCH / made.step_ms * 1000)
    assert made.ops_ms + made.rest_ms == pytest.approx(made.step_ms)
    report = profile_json(made)
    assert (report["net"], report["batch"], report["device"]) == ("net", BATCH, device.name)
    parts = ("forward_ms", "backward_ms", "again_ms", "update_ms")
    assert sum(row[part] for row in report["layers"] for part in parts) == pytest.approx(made.ops_ms)
    assert [row["name"] for row in report["layers"]] == ["input", *(node.name for node in blocks().nodes), "loss"]
    planned = {layer: sum(kinds.values()) for layer, kinds in made.plan.by_layer.items() if any(kinds.values())}
    assert {row["name"]: row["planned_bytes"] for row in report["layers"] if row["planned_bytes"]} == planned
    conv = next(row for row in report["layers"] if row["name"] == "conv2")
    ops = [op for op in report["ops"] if op["layer"] == "conv2"]
    assert conv["update_ms"] == pytest.approx(sum(op["ms"] for op in ops if op["name"] == "momentum_update"))
    assert conv["gb_per_s"] == pytest.approx(sum(op["nbytes"] for op in ops) / sum(op["ms"] for op in ops) / 1e6)
    products = [op for op in ops if op["name"].startswith("conv_") and not op["name"].endswith("bias")]
    flops = len(products) * 2 * BATCH * 16 * 12 * 8 * 9 * 8
    assert conv["gflop_per_s"] == pytest.approx(flops / sum(op["ms"] for op in products) / 1e6)
    json.dumps(report)


def test_nothing_is_learnt_while_time_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random labels would drive the weights far away in many steps."""
    weights: list[dict[str, np.ndarray]] = []

    class Watched(Model):
        def close(self) -> None:
            weights.append(dict(self.parameters))
            super().close()

    monkeypatch.setattr("gpunet.profile.measure.Model", Watched)
    profile(blocks(), 2, "cpu", steps=2)
    with Model(blocks(), 2, "cpu") as fresh:
        for name, values in fresh.parameters.items():
            np.testing.assert_array_equal(weights[0][name], values)


@pytest.mark.parametrize("steps", [0, -3, True, 2.0])
def test_at_least_one_step_is_timed(steps: Any) -> None:
    with pytest.raises(ConfigError, match="at least one step"):
        profile(blocks(), 2, "cpu", steps=steps)


# -- the command ----------------------------------------------------------------------------------


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["profile", *map(str, arguments)])


def test_the_command_shows_every_layer_the_step_and_the_memory(cache_folder: Path) -> None:
    result = run(BLOCKS, "--batch", BATCH, "--steps", 2, "--device", "cpu")
    assert result.exit_code == 0 and result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"net, training with momentum, batch {BATCH}, float32, on cpu: ")
    for name in ("input", *(node.name for node in blocks().nodes), "loss", "total", "ops", "rest", "whole step"):
        assert sum(line.startswith(f"{name} ") for line in lines) == 1, name
    assert re.search(
        r"^whole step +[\d.]+ ms  [\d,.]+ images/s, [\d.]+ GFLOP/s; median of 2 steps$", result.stdout, re.M
    )
    for name in ("before", "at the peak", "after", "arena", "reserve", "planned", "measured", "difference"):
        assert any(line.startswith(f"{name} ") for line in lines), name
    assert "made again" not in result.stdout and "rounds" not in result.stdout
    assert lines[-1].startswith(f"kept in {cache_folder}")


def test_the_command_shows_what_is_made_again_and_rounds() -> None:
    budget = gpunet.plan(blocks(), 64, device="cpu", budget=1).total_bytes
    made = gpunet.plan(blocks(), 64, device="cpu", budget=budget)
    result = run(BLOCKS, "--batch", 64, "--steps", 1, "--device", "cpu", "--budget", budget)
    assert result.exit_code == 0, result.output
    assert ("made again" in result.stdout) == bool(made.extra_flops_fraction)
    assert ("rounds" in result.stdout) == bool(made.program.loops)
    assert made.extra_flops_fraction or made.program.loops


def test_json_holds_the_same(cache_folder: Path) -> None:
    options = "--batch 5 --steps 1 --device cpu --optimizer sgd --dtype float64 --reserve 100MiB --json"
    result = run("vgg_digits", *options.split())
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["net"], report["batch"], report["dtype"], report["optimizer"]) == ("vgg_digits", 5, "float64", "sgd")
    assert (report["reserve_bytes"], report["reserve_source"]) == (100 * MIB, "as given")
    assert report["memory"]["planned_bytes"] == report["arena_bytes"] + 100 * MIB == report["total_bytes"]
    memory_ = report["memory"]
    assert memory_["difference_bytes"] == memory_["measured_bytes"] - memory_["planned_bytes"]
    assert report["memory"]["measured_reserve_bytes"] is None
    assert {op["name"] for op in report["ops"] if op["phase"] == "update"} == {"sgd_update"}
    assert "kept in" in result.stderr
    again = gpunet.plan(gpunet.load("vgg_digits"), 5, device="cpu", dtype="float64", optimizer="sgd")
    speed = predicted_images_per_second(gpunet.load("vgg_digits"), again)
    assert speed == pytest.approx(report["images_per_second"], rel=1e-6)


def test_a_cache_that_cannot_be_written_does_not_spoil_the_figures(cache_folder: Path) -> None:
    cache_folder.write_text("a file in its place")
    result = run(BLOCKS, "--batch", 2, "--steps", 1, "--device", "cpu")
    assert result.exit_code == 0 and "whole step" in result.stdout
    assert "nothing was kept" in result.stderr and "GPUNET_CACHE" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([BLOCKS, "--budget", "65MiB", "--batch", "100000"], 1, "the largest batch that fits is"),
        ([BLOCKS, "--budget", "1MiB"], 1, "would hold it"),
        ([BLOCKS, "--steps", "0"], 2, "at least one step"),
        ([BLOCKS, "--batch", "0"], 2, "the batch must be"),
        ([BLOCKS, "--budget", "12 apples"], 2, "12 apples"),
        (["vgg17"], 2, "vgg17"),
    ],
)
def test_a_mistake_is_one_message(cache_folder: Path, arguments: list[str], code: int, words: str) -> None:
    result = run(*arguments, "--device", "cpu")
    assert result.exit_code == code and words in result.stderr and result.stdout == ""
    assert len(result.stderr.splitlines()) <= 3 and "Traceback" not in result.output
    assert not cache_folder.exists()


def test_a_gpu_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(present, "driver_version", lambda: None)
    monkeypatch.setattr("gpunet.profile.measure.driver_version", lambda: None)
    monkeypatch.setattr("gpunet.devices.cuda.driver.check_driver", present.check_driver)
    result = run(BLOCKS, "--device", "cuda", "--batch", 2)
    assert result.exit_code == 2 and "no NVIDIA driver" in result.stderr and result.stdout == ""


def test_ctrl_c_ends_a_profile_quietly(cache_folder: Path, tmp_path: Path) -> None:
    """Once it is under way: the process is told to write a line for each step."""
    code = (
        "import gpunet.profile.measure as m, sys; sys.argv[1:] = ['profile', 'vgg_digits', '--batch', '4', '--steps',"
        " '100000', '--device', 'cpu']\n"
        "right = m.timed_calls\n"
        "m.timed_calls = lambda *a: (print('step', flush=True), right(*a))[1]\n"
        "from gpunet.cli import main; main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(3)] == ["step\n"] * 3
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "gpunet: stopped\n")
    assert not cache_folder.exists()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "-"),
        (12345.6, "12,346"),
        (1.234, "1.23"),
        (0.01234, "0.0123"),
        (3e-6, "0.0000"),
        (-33.6, "-33.6"),
    ],
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert number(value) == text


# -- on a GPU -------------------------------------------------------------------------------------


@pytest.mark.gpu
def test_a_real_gpu_is_profiled_and_its_reserve_kept() -> None:
    made = profile(blocks(), 64, "cuda", steps=3)
    assert made.memory.told_by == "NVML" and made.hardware
    assert made.reserve_bytes is not None and 0 < made.reserve_bytes < 4 * 2**30
    assert made.memory.peak["pool"] == made.memory.before.get("pool", 0)
    assert all(op.ms > 0 for op in made.ops) and made.ops_ms < 10 * made.step_ms
    held = keep_reserve(made)
    assert held is not None and gpunet.plan(blocks(), 8).reserve_bytes == held.nbytes
