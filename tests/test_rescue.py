"""Runs that meet trouble: what is kept when one fails, and what is said where it cannot go on as it was."""

import json
import os
import re
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from gpunet import DataError, DeviceError
from gpunet.cli.app import app
from gpunet.devices.cpu import probe
from gpunet.model.model import Model
from gpunet.system import cache, files
from gpunet.train.checkpoint import BEST, LAST, read
from gpunet.train.folder import RunFolder
from gpunet.train.history import read_history, steps_fault
from gpunet.train.resume import circumstances, resume
from gpunet.train.stop import Stop, Stopped
from gpunet.train.trainer import Trainer
from gpunet.train.weights import WEIGHTS, load_weights
from tests.runs import NET, images, last, planned, train

COLOUR = "INPUT[6x6x3] -> CONV3-2 -> RELU -> FC-2"
OPTIONS = ("--data", "photos", "--batch", 4, "--device", "cpu", "--seed", 3, "--validation", 0)

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the program inside this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def photos(tmp_path: Path, rng: np.random.Generator) -> Path:
    """22 pictures of two classes to learn from, which are six steps an epoch, also where one or two are lost."""
    for split, count in (("train", 11), ("test", 2)):
        for name in ("ant", "bee"):
            for number in range(count):
                path = tmp_path / "photos" / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).save(path)
    return tmp_path / "photos"


def breaks_at(step: int, monkeypatch: pytest.MonkeyPatch, error: Exception, *, within: bool = False) -> None:
    """Let what comes before that step of the next run, or the end of it, fail."""
    real = Model.step

    def breaking(self: Model, *batch: np.ndarray) -> float:
        if self.steps + 1 == step and not within:
            raise error
        loss = real(self, *batch)
        if self.steps == step and within:
            raise error
        return loss

    monkeypatch.setattr(Model, "step", breaking)


# -- what fails keeps a checkpoint -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("ant/3.png is cut short"), 2),
        (OSError(5, "Input/output error", "x"), 2),
        (ZeroDivisionError("bug"), 1),
    ],
)
def test_a_run_that_fails_between_two_steps_keeps_a_checkpoint_and_goes_on_from_there(
    run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    with monkeypatch.context() as patch:
        breaks_at(9, patch, error)
        failed = run("train", COLOUR, *OPTIONS, "--epochs", 3, "--out", "a")
    assert failed.exit_code == code and "gpunet train --resume a goes on after step 8" in failed.stderr, failed.output
    assert read(Path("a") / LAST).state["trainer"]["steps"] == 8
    assert run("train", "--resume", "a").exit_code == 0
    assert run("train", COLOUR, *OPTIONS, "--epochs", 3, "--out", "b").exit_code == 0
    for name, values in load_weights("a").items():
        assert np.array_equal(values, load_weights("b")[name])


def test_a_step_that_is_not_counted_yet_is_not_kept(run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks_at(9, monkeypatch, DeviceError("the GPU has fallen off the bus"), within=True)
    failed = run("train", COLOUR, *OPTIONS, "--epochs", 3, "--out", "a")
    assert failed.exit_code == 2 and "goes on after step 6" in failed.stderr
    assert read(Path("a") / LAST).state["trainer"]["steps"] == 6


def test_a_torn_model_is_never_kept(tmp_path: Path) -> None:
    with Model(NET, device="cpu", plan=planned()) as model:
        keep = RunFolder(tmp_path, "", "{}")
        trainer = Trainer(model, images(), epochs=1, watchers=[keep])
        keep.started(trainer)
        batch = images().train.take(np.arange(3))
        model.step(*batch)
        trainer.step = 1
        assert trainer.between_steps
        for op, _ in model.calls(*batch):
            if op.phase == "update":
                break
        assert not trainer.between_steps and not model.whole
        keep.rescue()
        assert not (tmp_path / LAST).exists() and keep.how_to_go_on() == f"{tmp_path} holds no checkpoint to go on from"


def test_a_disk_that_is_full_is_told_first_and_no_checkpoint_is_promised(
    run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: Any, **__: Any) -> None:
        raise DataError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr("gpunet.train.checkpoint.write_whole", full)
    failed = run("train", COLOUR, *OPTIONS, "--epochs", 1, "--out", "a")
    assert failed.exit_code == 2 and failed.stderr.startswith("gpunet: cannot write a/last.safetensors: No space left")
    assert "a holds no checkpoint to go on from" in failed.stderr and "in the last checkpoint" not in failed.stderr


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1", "SIGXCPU"])
def test_signals_of_terminals_and_schedulers_are_heard_as_sigterm_is(name: str) -> None:
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with Stop() as stop:
            os.kill(os.getpid(), number)
            with pytest.raises(Stopped) as caught:
                stop.paused()
        assert caught.value.exit_code == 128 + number and signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_nohup_is_believed() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            stop.paused()
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


# -- what cannot go on as it was names what works --------------------------------------------------


def ways_out(result: Result) -> Iterator[list[str]]:
    """The commands that a refusal names, as words after `gpunet`."""
    assert result.exit_code == 2, result.output
    for found in re.findall(r"gpunet (train [^;\n]*)", result.stderr):
        yield shlex.split(found)


def test_another_rate_and_a_longer_cosine_name_the_weights_and_that_works(run: Run, photos: Path) -> None:
    assert run("train", COLOUR, *OPTIONS, "--epochs", 2, "--schedule", "cosine", "--out", "a b").exit_code == 0
    for more in (("--learning-rate", 0.5), ("--epochs", 3)):
        (way,) = ways_out(run("train", "--resume", "a b", *more))
        assert way == ["train", "--weights", "a b"]
        begun = run(*way, *more, "--out", f"new{more[0]}")
        assert begun.exit_code == 0 and "kept from a b/weights.safetensors: conv1, fc1" in begun.stdout, begun.output


def test_where_no_epoch_was_finished_the_checkpoint_is_what_a_new_run_starts_from(
    run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        breaks_at(3, patch, DataError("a picture is gone"))
        assert run("train", COLOUR, *OPTIONS, "--epochs", 2, "--out", "a").exit_code == 2
    (way,) = ways_out(run("train", "--resume", "a", "--learning-rate", 0.5))
    assert way == ["train", "--weights", "a/last.safetensors"]
    assert run(*way, "--learning-rate", 0.5, "--out", "b").exit_code == 0


def test_data_that_moved_are_named_with_the_way_to_say_where(run: Run, photos: Path) -> None:
    assert run("train", COLOUR, *OPTIONS, "--epochs", 1, "--out", "a").exit_code == 0
    photos.rename(photos.with_name("moved"))
    refusal = run("train", "--resume", "a", "--epochs", 2)
    assert f"a learnt from {photos}, and there is nothing any more; say where the data are now" in refusal.stderr
    (way,) = ways_out(refusal)
    assert way == ["train", "--resume", "a", "--data", "NEW"]
    assert run(*way[:-1], "moved", "--epochs", 2).exit_code == 0
    assert f"learnt from {photos.with_name('moved')}, and" not in run("eval", "a").stderr  # which the run knows now
    photos.with_name("moved").rename(photos)
    assert f"learnt from {photos.with_name('moved')}, and" in run("eval", "a").stderr
    assert run("eval", "a", "--data", "photos").exit_code == 0


@pytest.mark.parametrize("broken", [True, False])
def test_a_run_that_loses_a_picture_goes_on_without_it_in_other_bits(run: Run, photos: Path, broken: bool) -> None:
    assert run("train", COLOUR, *OPTIONS, "--epochs", 2, "--out", "a").exit_code == 0
    if broken:
        (photos / "train/ant/7.png").write_text("not any more")
        assert "leave out all such files with --skip-broken" in run("train", "--resume", "a", "--epochs", 3).stderr
    else:
        (photos / "train/ant/7.png").unlink()
        refusal = run("train", "--resume", "a", "--epochs", 3)
        assert "go on without what is lost by --skip-broken; or start a new run from its weights" in refusal.stderr
    result = run("train", "--resume", "a", "--epochs", 3, "--skip-broken")
    assert result.exit_code == 0 and "epoch 3/3" in result.stdout, result.output
    assert "in other bits than if it had not been stopped: data to learn from: 22 images" in result.stderr
    assert run("train", "--resume", "a", "--epochs", 4).exit_code == 0  # these are its data now


def test_images_to_validate_with_that_are_drawn_anew_are_told(run: Run, photos: Path) -> None:
    drawn = (*OPTIONS[:-1], 4)
    assert run("train", COLOUR, *drawn, "--epochs", 2, "--out", "a").exit_code == 0
    (photos / "train/ant/7.png").unlink()
    result = run("train", "--resume", "a", "--epochs", 3, "--skip-broken")
    assert result.exit_code == 0 and "some of the images to validate with were learnt from" in result.stderr, (
        result.output
    )


def test_a_run_whose_epochs_have_other_steps_without_what_is_lost_names_its_weights_alone(
    run: Run, photos: Path
) -> None:
    assert run("train", COLOUR, *OPTIONS, "--epochs", 2, "--out", "a").exit_code == 0
    for number in range(3):
        (photos / f"train/ant/{number}.png").unlink()
    refusal = run("train", "--resume", "a", "--epochs", 3, "--skip-broken")
    assert "bring back the data that it learnt from; or start" in refusal.stderr
    (way,) = ways_out(refusal)
    assert way == ["train", "--weights", "a", "--data", "NEW"]
    assert run(*way[:-1], "photos", "--out", "b", "--epochs", 1).exit_code == 0


def test_other_kernels_of_blas_are_told_at_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path / "a", planned(), stop=4)
    about: dict[str, Any] = {
        "user_api": "blas",
        "internal_api": "openblas",
        "version": "0.3",
        "filepath": "numpy.libs/x",
    }
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: [about | {"architecture": "Z80"}])
    with Model(NET, device="cpu", plan=planned(), seed=3, learning_rate=0.02) as model:
        assert f"openblas 0.3 for Z80, {probe.thread_count()} threads" in circumstances(model)["device"]
        trainer = Trainer(model, images(), epochs=4, seed=3, schedule="cosine", warmup=7)
        (line,) = resume(trainer, last(tmp_path / "a"))
    assert line.startswith("device: cpu, ") and line.endswith("for Z80, " + line.rpartition("for Z80, ")[2])


# -- files of a run --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs on the digits."""
    folder = tmp_path_factory.mktemp("runs") / "a"
    options = ["--epochs", "2", "--batch", "300", "--device", "cpu", "--out", str(folder)]
    assert CliRunner().invoke(app, ["train", "INPUT[8x8x1] -> FC-10", *options]).exit_code == 0
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "a")
    return tmp_path / "a"


def goes_on(run: Run, copy: Path) -> Result:
    result = run("train", "--resume", copy, "--epochs", 3)
    assert result.exit_code == 0 and "epoch 3/3" in result.stdout, result.output
    return result


@pytest.mark.parametrize("name", ["plan.json", "environment.json"])
def test_a_file_of_a_hundred_thousand_brackets_is_no_traceback(run: Run, copy: Path, name: str) -> None:
    (copy / name).write_text("[" * 100_000)
    goes_on(run, copy)
    assert isinstance(json.loads((copy / name).read_text()), dict | list)


@pytest.mark.parametrize("name", ["steps.csv", "environment.json", "plan.json", "metrics.csv"])
def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(run: Run, copy: Path, name: str) -> None:
    (copy / name).unlink()
    os.mkfifo(copy / name)
    if name.endswith("csv"):
        with pytest.raises(DataError, match="it is no regular file"):
            read_history(copy)
    said = goes_on(run, copy).stderr
    assert ("steps.csv: it is no regular file; the run itself goes on" in said) == (name == "steps.csv")


def test_pipes_in_the_places_of_checkpoints_weights_and_measurements_are_refused(copy: Path) -> None:
    for name, reading in ((LAST, read), (WEIGHTS, load_weights)):
        (copy / name).unlink()
        os.mkfifo(copy / name)
        with pytest.raises(DataError, match="it is no regular file"):
            reading(copy / name)
    cache.folder().mkdir(parents=True)
    os.mkfifo(cache.folder() / "x.json")
    assert cache.read("x.json") == {}
    for path in (copy, Path("/dev/null")):
        with pytest.raises(OSError, match="it is no regular file"):
            files.read_regular(path)


def test_steps_that_are_gone_or_another_runs_are_told(run: Run, copy: Path, tmp_path: Path) -> None:
    own = (copy / "steps.csv").read_text()
    assert steps_fault(copy, read(copy / LAST).state) == "" and goes_on(run, copy).stderr == ""
    shutil.copytree(copy, tmp_path / "other")
    options = ("--epochs", 3, "--batch", 300, "--device", "cpu", "--seed", 9, "--out", "seeded")
    assert run("train", "INPUT[8x8x1] -> FC-10", *options).exit_code == 0
    other, state = (tmp_path / "seeded/steps.csv").read_text(), read(copy / LAST).state
    for text, words in (
        (None, "steps.csv is gone, and with it the rows of the first 15 steps"),
        (other, "steps.csv holds the rows of another run"),
        (own, "steps.csv does not hold the rows of the 15 steps that were done"),
        ("what is this", "steps.csv does not hold the rows of the 15 steps"),
        ("x,y\n1,2\n", "steps.csv has no column step"),
    ):
        (copy / "steps.csv").unlink(missing_ok=True)
        if text is not None:
            (copy / "steps.csv").write_text(text)
        assert words in steps_fault(copy, state)
    result = run("train", "--resume", copy, "--epochs", 4)
    assert result.exit_code == 0 and "has no column step; it is not the steps.csv" in result.stderr


def test_a_run_that_is_up_to_date_rewrites_nothing_learnt_when_it_goes_on(copy: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", planned(), epochs=2)
    kept = [tmp_path / "run" / name for name in (WEIGHTS, BEST, LAST)]
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in kept]
    with Model(NET, device="cpu", plan=planned(), seed=3, learning_rate=0.02) as model:
        trainer = Trainer(model, images(), epochs=2, seed=3, schedule="cosine", warmup=7)
        resume(trainer, last(tmp_path / "run"))
        RunFolder(tmp_path / "run", "", "{}").started(trainer)
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in kept] == before
