"""Signals in a run, as processes get them; and the other ways in which a run ends early, or goes on."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpunet import Learning, load
from gpunet.model.model import Model
from gpunet.net.config import load_config
from gpunet.train.checkpoint import LAST, read
from gpunet.train.diverged import Diverged
from gpunet.train.trainer import Trainer
from tests.conftest import Run
from tests.runs import NET, images, measured, planned, train

ROOT = Path(__file__).parent.parent
TINY = "INPUT[8x8x1] -> CONV3-4 -> RELU -> POOL2 -> FC-10"


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "gpunet", "train", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes)  # type: ignore[call-overload]


def wait_for(process: "subprocess.Popen[str]", words: str) -> None:
    assert process.stdout
    for line in process.stdout:
        if line.startswith(words):
            return
    raise AssertionError(process.stderr and process.stderr.read())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_that_then_goes_on_as_if_never_stopped(
    run: Run, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    options = (TINY, "--epochs", "4", "--device", "cpu", "--schedule", "cosine", "--batch", "5")
    process = start(tmp_path, *options, "--out", "a")
    wait_for(process, "epoch 1/4")
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    first, last = errors.splitlines()
    assert first == "gpunet: stopping after this step; once more to leave at once"
    words = re.fullmatch(r"gpunet: stopped; gpunet train --resume a goes on after step ([\d,]+)", last)
    assert words and int(words[1].replace(",", "")) == read(tmp_path / "a" / LAST).state["trainer"]["steps"] < 4 * 288
    result = run("train", "--resume", "a", "--device", "cpu")
    assert result.exit_code == 0 and f"after step {words[1]}" in result.stdout, result.output
    assert run("train", *options, "--out", "b").exit_code == 0
    assert (tmp_path / "a/weights.safetensors").read_bytes() == (tmp_path / "b/weights.safetensors").read_bytes()
    assert measured(tmp_path / "a") == measured(tmp_path / "b")
    starts = json.loads((tmp_path / "a/environment.json").read_text())
    assert len(starts) == 2 and "--schedule cosine" in starts[0]["command"] and starts[0]["versions"]["gpunet"]


SLOW = """
import os, signal, sys, time
from gpunet.train import folder
from gpunet.model.model import Model
step = Model.step
def slow(self, images, labels):
    loss = step(self, images, labels)
    if self.steps == 30:
        os.kill(os.getpid(), signal.{first})
        time.sleep(0.01)
        {more}
    return loss
Model.step = slow
sys.argv[1:] = ["train", {net!r}, "--device", "cpu", "--epochs", "9", "--out", "a"]
from gpunet.cli import main
main()
"""


@pytest.mark.parametrize(("more", "code"), [("os.kill(os.getpid(), signal.SIGTERM)", 143), ("pass", 130)])
def test_a_second_signal_leaves_at_once_and_the_last_checkpoint_stays(tmp_path: Path, more: str, code: int) -> None:
    script = SLOW.format(first="SIGINT", more=more, net=TINY)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == code, done.stderr
    steps = read(tmp_path / "a" / LAST).state["trainer"]["steps"]
    assert steps == (21 if code == 143 else 30)  # that of the epoch before; that of the step it was in
    assert ("goes on after step 30" in done.stderr) == (code == 130)


def test_a_signal_in_a_test_is_heard_before_the_next_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpunet.train.stop import Stop, Stopped

    evaluate, stop = Model.evaluate, Stop()

    def hearing(self: Model, *arguments: Any) -> tuple[float, int]:
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(self, *arguments)

    monkeypatch.setattr(Model, "evaluate", hearing)
    before = signal.getsignal(signal.SIGTERM)
    with Model(NET, device="cpu", plan=planned()) as model, stop:
        trainer = Trainer(model, images(), epochs=2, watchers=[stop])
        with pytest.raises(Stopped, match="SIGTERM") as caught:
            trainer.run()
    assert caught.value.exit_code == 143 and trainer.rows == [] and (trainer.epoch, trainer.step) == (1, 15)
    assert signal.getsignal(signal.SIGTERM) is before


# -- going on --------------------------------------------------------------------------------------


def test_the_config_of_a_run_keeps_all_that_shaped_it(run: Run, tmp_path: Path) -> None:
    options = ("--without", "small-switches", "--without", "relu-masks", "--max-cost", "0.02", "--micro-batches")
    more = ("--warmup", "2 epochs", "--reserve", "70MiB", "--checkpoint-every", "10 minutes", "--budget", "100MiB")
    assert run("train", TINY, "--epochs", 3, "--device", "cpu", *options, *more, "--out", "a").exit_code == 0
    told = load_config(tmp_path / "a/config.toml").train
    assert told.without == ("small-switches", "relu-masks") and told.max_cost == 0.02 and told.micro_batches
    assert (told.warmup, told.reserve, told.checkpoint_every) == ("2 epochs", "70MiB", "10 minutes")
    assert run("train", "a/config.toml", "--device", "cpu", "--out", "b").exit_code == 0
    for name in ("config.toml", "weights.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    plans = [json.loads((tmp_path / name / "plan.json").read_text()) for name in "ab"]
    assert plans[0]["arena_bytes"] == plans[1]["arena_bytes"] and plans[0]["reserve_bytes"] == 70 * 2**20


def test_a_finished_run_has_nothing_left_to_do_and_is_left_as_it_is(run: Run, tmp_path: Path) -> None:
    assert run("train", TINY, "--epochs", 1, "--device", "cpu", "--out", "a").exit_code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    result = run("train", "--resume", "a", "--device", "cpu")
    assert result.exit_code == 0 and "a has finished its 1 epoch: nothing is left to do" in result.stdout
    assert {path: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before
    assert run("train", "--resume", "a", "--device", "cpu", "--epochs", 2).exit_code == 0
    assert len((tmp_path / "a/metrics.csv").read_text().splitlines()) == 3


def test_a_damaged_checkpoint_is_named_and_the_run_goes_on_from_the_one_before(run: Run, tmp_path: Path) -> None:
    assert run("train", TINY, "--epochs", 2, "--device", "cpu", "--out", "a").exit_code == 0
    before = (tmp_path / "a/weights.safetensors").read_bytes()
    (tmp_path / "a" / LAST).write_bytes((tmp_path / "a" / LAST).read_bytes()[:-9])
    result = run("train", "--resume", "a", "--device", "cpu")
    assert result.exit_code == 0 and "going on from a/previous.safetensors, after step 21" in result.stdout
    assert "a/last.safetensors is cut short or damaged" in result.stderr and "before it is used" in result.stderr
    assert (tmp_path / "a/weights.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--resume", "a", "--batch", "32"), "batch: 64 in the checkpoint, 32 now"),
        (("--resume", "a", "--data", "other.npz"), "data to learn from: 1,293 images"),
        (("vgg_digits", "--resume", "a"), "layer conv1: Conv(K=4"),
        (("--resume", "a", "--out", "b"), "leave out --out"),
        (("--resume", "b"), "b is no folder of a run: it holds no config.toml"),
        (("--resume", "only_config"), "only_config holds no checkpoint"),
        ((), "no net was given; give one, like vgg_digits; start from the weights of another run"),
        ((TINY, "--schedule", "step"), "the schedule step needs every = 10"),
        ((TINY, "--schedule", "cosin"), "did you mean cosine?"),
        ((TINY, "--warmup", "9 lives"), "warmup must be a length"),
        ((TINY, "--warmup", "99 epochs"), "a warm-up of 2079 steps leaves none of 210"),
        ((TINY, "--checkpoint-every", "1 epoch"), "checkpoint_every must be a length"),
    ],
)
def test_mistakes_in_going_on_are_one_message_and_change_nothing(
    run: Run, tmp_path: Path, options: tuple[str, ...], words: str, rng: np.random.Generator
) -> None:
    assert run("train", TINY, "--epochs", 1, "--device", "cpu", "--out", "a").exit_code == 0
    (tmp_path / "only_config").mkdir()
    (tmp_path / "only_config/config.toml").write_bytes((tmp_path / "a/config.toml").read_bytes())
    np.savez(tmp_path / "other.npz", images=rng.random((40, 8, 8, 1), np.float32), labels=rng.integers(0, 10, 40))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    result = run("train", "--device", "cpu", *options)
    assert result.exit_code == 2 and words in result.stderr and "Traceback" not in result.output, result.output
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_run_in_use_is_left_alone_until_its_process_has_ended(run: Run, tmp_path: Path) -> None:
    process = start(tmp_path, TINY, "--epochs", "1000", "--device", "cpu", "--batch", "5", "--out", "a")
    wait_for(process, "epoch    1/1000")
    for options in (("--resume", "a"), (TINY, "--out", "a")):
        result = run("train", "--device", "cpu", *options)
        assert result.exit_code == 2, result.output
        assert "another process trains there" in result.stderr or "already holds a run" in result.stderr
    process.kill()
    process.communicate()
    assert (tmp_path / "a/.lock").exists()
    result = run("train", "--resume", "a", "--device", "cpu", "--epochs", 1)
    assert result.exit_code == 0 and "nothing is left to do" in result.stdout, result.output
    assert not (tmp_path / "a/.lock").exists()


def test_of_two_runs_that_begin_in_one_folder_one_is_refused(tmp_path: Path) -> None:
    first = start(tmp_path, TINY, "--epochs", "3", "--device", "cpu", "--seed", "1", "--out", "a")
    second = start(tmp_path, TINY, "--epochs", "3", "--device", "cpu", "--seed", "2", "--out", "a")
    errors = [process.communicate(timeout=60)[1] for process in (first, second)]
    assert sorted(process.returncode for process in (first, second)) == [0, 2], errors
    assert len((tmp_path / "a/metrics.csv").read_text().splitlines()) == 4


def test_a_run_goes_on_from_any_folder_with_its_data_and_its_events(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    np.savez(tmp_path / "set.npz", images=rng.random((60, 8, 8, 1), np.float32), labels=rng.integers(0, 10, 60))
    begun = run("train", TINY, "--data", "set.npz", "--epochs", 1, "--device", "cpu", "--tensorboard", "--out", "a")
    assert begun.exit_code == 0, begun.output
    events = {path: path.stat().st_mtime_ns for path in (tmp_path / "a/tensorboard").iterdir()}
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = run("train", "--resume", "../a", "--epochs", 2)
    assert result.exit_code == 0 and "epoch 2/2" in result.stdout, result.output
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "a/tensorboard").iterdir()} != events


def test_a_run_goes_on_without_its_events_where_they_cannot_be_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("train", TINY, "--epochs", 1, "--device", "cpu", "--tensorboard", "--out", "a").exit_code == 0
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    result = run("train", "--resume", "a", "--epochs", 2)
    assert result.exit_code == 0 and "epoch 2/2" in result.stdout, result.output
    assert "a/tensorboard is not gone on with" in result.stderr and "pip install" in result.stderr


def test_other_data_than_pictures_leave_the_size_of_pictures_behind(run: Run, tmp_path: Path) -> None:
    Path("net.toml").write_text(
        'input = "8x8x1"\nnet = "FC-10"\n[train]\ndata = "photos"\nsize = "8x8"\nskip_broken = true\n', "utf-8"
    )
    result = run("train", "net.toml", "--data", "digits", "--epochs", 1, "--device", "cpu", "--out", "a")
    assert result.exit_code == 0, result.output


def test_more_was_done_already_than_is_asked_for(run: Run, tmp_path: Path) -> None:
    assert run("train", TINY, "--epochs", 3, "--device", "cpu", "--out", "b").exit_code == 0
    result = run("train", "--resume", "b", "--epochs", 2)
    assert result.exit_code == 0 and "has gone on beyond 2 epochs, into epoch 4: nothing is left" in result.stdout


def test_it_is_told_where_a_run_goes_on_in_other_bits(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("train", TINY, "--epochs", 1, "--device", "cpu", "--out", "a").exit_code == 0
    monkeypatch.setattr("gpunet.train.resume.cpu_blas", lambda: "abacus 1.0, 3 threads")
    result = run("train", "--resume", "a", "--epochs", 2)
    assert result.exit_code == 0, result.output
    words = r"ends in other bits than if it had not been stopped: device: cpu, .* now"
    assert re.search(words, result.stderr) and "abacus 1.0, 3 threads now" in result.stderr


@pytest.mark.parametrize("every", ["4 steps", "1 minute"])
def test_checkpoints_are_kept_within_an_epoch_too(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: str
) -> None:
    from gpunet.train import folder

    kept, steps = [], []
    checkpoint, step = folder.RunFolder.checkpoint, Model.step

    def noted(self: folder.RunFolder) -> None:
        checkpoint(self)
        kept.append(read(tmp_path / "a" / LAST).state["trainer"]["steps"])

    def counted(self: Model, pixels: np.ndarray, labels: np.ndarray) -> float:
        steps.append(len(labels))
        return step(self, pixels, labels)

    monkeypatch.setattr(folder.RunFolder, "checkpoint", noted)
    monkeypatch.setattr(Model, "step", counted)
    monkeypatch.setattr(folder, "monotonic", lambda: 10.0 * len(steps))  # ten seconds a step
    options = (TINY, "--epochs", 1, "--device", "cpu", "--batch", 100, "--checkpoint-every", every, "--out", "a")
    assert run("train", *options).exit_code == 0
    assert kept == ([4, 8, 12, 13] if every == "4 steps" else [6, 12, 13])


# -- a loss that is no number ----------------------------------------------------------------------

overflows = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the program ignores them, too


@overflows
def test_the_first_layer_that_overflows_is_named_and_nothing_is_updated(tmp_path: Path) -> None:
    net = load("INPUT[4x4x1] -> CONV3-2 -> RELU -> CONV3-2 -> RELU -> FC-3")
    with Model(net, 4, "cpu", seed=1) as model:
        model.parameters["conv2.w"] = np.full((2, 3, 3, 2), 3e38)
        before = {name: values.tobytes() for name, values in model.state.items()}
        trainer = Trainer(model, images(), epochs=1)
        with pytest.raises(
            Diverged, match=r"in epoch 1, step 1 of 11; conv2 is the first layer with .* in (conv2|relu2)\.y"
        ):
            trainer.run()
        assert {name: values.tobytes() for name, values in model.state.items()} == before and model.steps == 0


@overflows
def test_parameters_that_an_update_broke_are_named() -> None:
    with Model(NET, 4, "cpu", seed=1) as model:
        broken = model.parameters["conv1.b"]
        broken[0] = np.nan
        model.parameters["conv1.b"] = broken
        with pytest.raises(Diverged, match=r"the update before broke conv1: conv1\.b holds infinite values or NaN;"):
            Trainer(model, images(), epochs=1).run()


@overflows
def test_what_an_update_breaks_through_the_norm_of_all_gradients_is_laid_at_no_layer() -> None:
    with Model(NET, device="cpu", plan=planned(Learning(clip_norm=1)), seed=1) as model:
        for name in model.parameters:
            model.parameters[name] = np.full(model.parameters[name].shape, np.nan)
        with pytest.raises(Diverged, match=r"the update before broke all that is learnt at once: under clip_norm"):
            Trainer(model, images(), epochs=1).run()


@overflows
def test_a_run_in_rounds_names_its_layer_too() -> None:
    from gpunet.planning.planner import plan

    net = load("INPUT[4x4x1] -> CONV3-2 -> RELU -> CONV3-2 -> RELU -> FC-3")
    small = plan(net, 64, device="cpu", budget=1, max_cost=1, ways=("micro-batches",))
    assert small.ways.micro_batch
    with Model(net, device="cpu", plan=small) as model:
        model.parameters["conv2.b"] = np.array([0, 3e38])
        model.parameters["fc1.w"] = np.full((3, 32), 3e38)
        with pytest.raises(Diverged, match=r"fc1 is the first layer with .* in fc1\.y, written by fc_forward"):
            Trainer(model, images(), epochs=1).run()


@overflows
def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Model.step

    def breaking(self: Model, pixels: np.ndarray, labels: np.ndarray) -> float:
        if self.steps == 20:
            self.parameters["fc1.w"] = np.full((3, 32), np.inf)
        return step(self, pixels, labels)

    monkeypatch.setattr(Model, "step", breaking)
    with pytest.raises(Diverged, match="in epoch 2, step 6 of 15; the update before broke fc1"):
        train(tmp_path / "a", planned())
    assert read(tmp_path / "a" / LAST).state["trainer"]["steps"] == 15


def test_an_update_that_broke_parameters_is_not_kept_in_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Model.step

    def breaking(self: Model, pixels: np.ndarray, labels: np.ndarray) -> float:
        loss = step(self, pixels, labels)
        if self.steps == 20:
            self.parameters["fc1.w"] = np.full((3, 32), np.inf)
        return loss

    monkeypatch.setattr(Model, "step", breaking)
    words = r"the update of step 20 diverged: fc1\.w holds infinite values or NaN, and is not kept"
    with pytest.raises(Diverged, match=words):
        train(tmp_path / "a", planned(), stop=20)
    assert read(tmp_path / "a" / LAST).state["trainer"]["steps"] == 15
