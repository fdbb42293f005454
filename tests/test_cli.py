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
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner, Result

import gpunet
from gpunet.cli.app import app
from gpunet.data import digits
from gpunet.errors import DeviceError
from gpunet.memory.size import format_bytes
from gpunet.net.config import load_config
from gpunet.optimizers import OPTIMIZERS
from gpunet.train.folder import RunFolder

ROOT = Path(__file__).parent.parent
TINY = "INPUT[8x8x1] -> CONV3-4 -> RELU -> POOL2 -> FC-10"
GIB = 2**30

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the program inside this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


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
    assert result.stdout.splitlines()[0] == "vgg16, training with momentum, batch 64, float32, on cuda"
    assert re.search(r"^fc1 +1x1x4096 +102,764,544 ", result.stdout, re.MULTILINE)
    assert re.search(r"^budget +12 GiB +12,884,901,888 B", result.stdout, re.MULTILINE)
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
    assert found["budget_bytes"] == 12 * GIB and found["device"] == "cuda" and found["mode"] == "train"
    found = json.loads(run("plan", TINY, "--device", "cpu", "--json").stdout)
    assert (found["batch"], found["optimizer"], found["budget_bytes"]) == (64, "momentum", None)


def test_plan_for_inference(run: Run) -> None:
    result = run("plan", "vgg_digits", "--mode", "infer", "--batch", 5)
    assert result.exit_code == 0 and result.stdout.startswith("vgg_digits, inference, batch 5,")


def test_a_plan_that_does_not_fit_names_the_largest_batch_that_does(run: Run) -> None:
    result = run("plan", "vgg_digits", "--batch", 2000000, "--budget", "600MiB")
    assert result.exit_code == 1
    words = re.fullmatch(r"does not fit by (.*); the largest batch that fits is (\d+)", result.stdout.splitlines()[-1])
    assert words
    largest = int(words[2])
    assert run("plan", "vgg_digits", "--batch", largest, "--budget", "600MiB").exit_code == 0
    assert run("plan", "vgg_digits", "--batch", largest + 1, "--budget", "600MiB").exit_code == 1
    found = run("plan", "vgg_digits", "--batch", 2000000, "--budget", "600MiB", "--json")
    assert found.exit_code == 1
    assert json.loads(found.stdout)["largest_batch"] == largest and json.loads(found.stdout)["fits"] is False


def test_a_plan_of_which_no_image_fits_names_the_budget_that_would_do(run: Run) -> None:
    result = run("plan", "vgg_digits", "--budget", "1MiB")
    words = re.search(r"does not fit by .*one image takes .*a budget of (\d+) bytes would hold it", result.stdout)
    assert result.exit_code == 1 and words
    assert json.loads(run("plan", "vgg_digits", "--budget", "1MiB", "--json").stdout)["largest_batch"] == 0
    assert run("plan", "vgg_digits", "--batch", 1, "--budget", words[1]).exit_code == 0


# -- fit -------------------------------------------------------------------------------------------


def test_fit_json_is_exact(run: Run) -> None:
    result = run("fit", "vgg_digits", "--budget", "530MiB", "--budget", "1GB", "--optimizer", "sgd", "--json")
    assert result.exit_code == 0
    first, second = json.loads(result.stdout)
    assert first["budget_bytes"] == 530 * 2**20 and second["budget_bytes"] == 10**9
    for found in (first, second):
        assert found["total_bytes"] <= found["budget_bytes"] < found["next_total_bytes"]
        options = ("--optimizer", "sgd", "--json", "--budget", found["budget_bytes"])
        assert json.loads(run("plan", "vgg_digits", "--batch", found["batch"], *options).stdout)["fits"]
        assert not json.loads(run("plan", "vgg_digits", "--batch", found["batch"] + 1, *options).stdout)["fits"]


def test_fit_shows_a_row_for_each_budget_and_has_budgets_of_its_own(run: Run) -> None:
    result = run("fit", "vgg_digits")
    rows = result.stdout.splitlines()[2:]
    assert result.exit_code == 0
    assert [" ".join(row.split()[:2]) for row in rows] == ["3 GiB", "4 GiB", "6 GiB", "8 GiB", "11 GiB", "12 GiB"]
    batches = [int(row.split()[2].replace(",", "")) for row in rows]
    assert batches == sorted(set(batches))


def test_fit_gives_the_other_budgets_where_one_holds_nothing(run: Run) -> None:
    result = run("fit", "vgg_digits", "--budget", "1MiB", "--budget", "1GiB")
    said(result, 1, "vgg_digits does not fit 1 MiB", "bytes would hold it")
    assert [line.split()[2] for line in result.stdout.splitlines()[2:]][:1] == ["none"]
    nothing, something = json.loads(run("fit", "vgg_digits", "--budget", "1MiB", "--budget", "1GiB", "--json").stdout)
    assert nothing["batch"] == 0 and nothing["total_bytes"] is None and nothing["next_total_bytes"] > 512 * 2**20
    assert something["batch"] > 0


# -- train -----------------------------------------------------------------------------------------


def test_train_says_what_it_costs_learns_and_leaves_a_run(run: Run, tmp_path: Path) -> None:
    options = ("--epochs", 2, "--batch", 50, "--device", "cpu", "--seed", 3, "--learning-rate", "0.03")
    result = run("train", "vgg_digits", *options)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("vgg_digits, training with momentum, batch 50, float32, on cpu: ")
    assert lines[1] == "digits: 1,437 images to learn from, 360 to test on"
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == ["1/2", "2/2"]
    folder = tmp_path / "runs" / "vgg_digits-1"
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.toml",
        "metrics.csv",
        "plan.json",
        "weights.safetensors",
    ]
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert lines[-1].startswith(f"test accuracy {float(rows[1]['test_accuracy']):.2%} after epoch 2; ")
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
    assert run("train", TINY, "--epochs", 1, "--device", "cpu", "--out", "a").exit_code == 0
    test = digits().test
    with gpunet.Model(gpunet.load(TINY), 360, "cpu", mode="infer") as model:
        for name, values in load_file(tmp_path / "a/weights.safetensors").items():
            model.parameters[name] = values
        right = (model.forward(test.images).argmax(1) == test.labels).mean()
    row = (tmp_path / "a/metrics.csv").read_text().splitlines()[1].split(",")
    assert float(row[4]) == right


def test_train_learns_from_arrays_in_a_file(run: Run, tmp_path: Path, rng: np.random.Generator) -> None:
    np.savez(tmp_path / "mine.npz", images=rng.random((40, 3, 5, 2), np.float32), labels=rng.integers(0, 4, 40))
    result = run("train", "INPUT[3x5x2] -> FC-4", "--data", "mine.npz", "--epochs", 1, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "mine.npz: 32 images to learn from, 8 to test on" in result.stdout
    assert "last fifth, 8 of 40" in result.stdout


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
    error = said(run("train", "vgg_digits", "--device", "cpu", "--batch", 999, "--budget", "80MiB"), 1, "at batch 999")
    largest = int(error.split()[-1])
    options = ("--device", "cpu", "--epochs", 1, "--budget", "80MiB")
    said(run("train", "vgg_digits", *options, "--batch", largest + 1), 1)
    assert not (tmp_path / "runs").exists()
    assert run("train", "vgg_digits", *options, "--batch", largest).exit_code == 0


def test_train_refuses_what_the_machine_has_no_memory_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    free = gpunet.plan(gpunet.load("vgg_digits"), 1, device="cpu", budget=1).total_bytes + 1000
    monkeypatch.setattr("gpunet.devices.cpu.probe.free_bytes", lambda: free)
    result = run("train", "vgg_digits", "--device", "cpu", "--batch", 999)
    said(result, 1, "the largest batch that fits is ")
    assert f"of {format_bytes(free)} free" in result.stdout


def test_a_loss_that_is_no_number_ends_the_run_with_advice(run: Run, tmp_path: Path) -> None:
    result = run("train", "vgg_digits", "--device", "cpu", "--learning-rate", "1000", "--out", "a")
    said(result, 2, "the loss became", "in epoch 1, step ", "try a smaller learning rate", "a holds no weights")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["config.toml", "plan.json"]


def test_a_disk_that_fills_up_is_named_and_the_epochs_before_are_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, fsync = [], os.fsync

    def filling(handle: int) -> None:
        synced.append(handle)
        if len(synced) > 8:  # two files at the start, two an epoch; each with its folder
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", filling)
    result = run("train", TINY, "--device", "cpu", "--epochs", 3, "--out", "a")
    said(result, 2, "cannot write a/weights.safetensors: No space left on device", "holds the weights after epoch 1")
    assert len((tmp_path / "a/metrics.csv").read_text().splitlines()) == 2
    assert set(load_file(tmp_path / "a/weights.safetensors")) == {"conv1.w", "conv1.b", "fc1.w", "fc1.b"}
    assert len(list((tmp_path / "a").iterdir())) == 4


def test_a_run_folder_is_never_overwritten(run: Run, tmp_path: Path) -> None:
    assert run("train", TINY, "--device", "cpu", "--epochs", 1, "--out", "a").exit_code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    said(run("train", TINY, "--device", "cpu", "--epochs", 1, "--out", "a"), 2, "already holds a run", "another --out")
    assert {path: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("plan", "Missing argument"),
        ("plan vgg17", "did you mean vgg16?"),
        ("plan nowhere.toml", "nowhere.toml"),
        ("plan .", "directory"),
        ("plan ''", "no net was given"),
        ("plan vgg16 more", "unexpected extra argument"),
        ("plann vgg16", "Did you mean 'plan'?"),
        ("plan vgg16 --bach 3", "--batch"),
        ("plan vgg16 --batch x", "--batch"),
        ("plan vgg16 --batch 0", "from 1 to 16,777,216; got 0"),
        ("plan vgg16 --batch -3", "got -3"),
        ("plan vgg16 --batch 1000000000000", "got 1000000000000"),
        ("plan vgg16 --budget '12 apples'", "cannot read '12 apples' as an amount of memory; write it like 12GiB"),
        ("plan vgg16 --budget 0", "at least one byte"),
        ("plan vgg16 --budget -5GiB", "cannot read '-5GiB'"),
        ("plan vgg16 --scratch lots", "cannot read 'lots'"),
        ("plan vgg16 --device tpu", "'cuda', 'cpu'"),
        ("plan vgg16 --mode both", "--mode"),
        ("plan vgg16 --dtype float16", "--dtype"),
        ("plan vgg16 --optimizer adamm", "there are sgd, momentum"),
        ("plan 'INPUT[8x8x1] -> CNV3-4'", "did you mean CONV?"),
        ("plan 'INPUT[10x10x3] -> CONV3-4(S=2, P=0) -> FC-2'", "conv1: F=3, S=2, P=0 does not fit 10x10 (gives 4.5)"),
        ("fit vgg16 --budget '12 apples'", "cannot read '12 apples'"),
        ("fit vgg17", "did you mean vgg16?"),
        ("train vgg_digits --epochs 0", "epochs must be an integer from 1"),
        ("train vgg_digits --batch 0", "batch must be"),
        ("train vgg_digits --batch 1000000000000", "batch must be"),
        ("train vgg_digits --seed -1", "seed must be"),
        ("train vgg_digits --learning-rate 0", "learning_rate must be"),
        ("train vgg_digits --learning-rate nan", "learning_rate must be"),
        ("train vgg_digits --optimizer adamm", "optimizer"),
        ("train vgg_digits --budget '12 apples'", "cannot read '12 apples'"),
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

    monkeypatch.setattr("gpunet.model.open_device", missing)
    said(run("train", "vgg_digits", "--device", "cuda", "--epochs", 1), 2, "no cuda here: use --device cpu")


# -- the process -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("process")


@pytest.mark.parametrize(
    ("arguments", "most_s", "without"),
    [
        (["--help"], 0.5, ["numpy", "tomllib", "safetensors", "gpunet.model"]),
        (["plan", "vgg16"], 1.5, ["numpy", "safetensors", "gpunet.model", "cupy"]),
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
    for option in ("batch", "optimizer", "mode", "dtype", "budget", "device", "scratch", "json"):
        assert f"--{option}" in run("plan", "--help").stdout
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


def test_ctrl_c_in_the_middle_of_training_keeps_the_epochs_before(folder: Path) -> None:
    process = start("train", TINY, "--epochs", "5000", "--device", "cpu", "--out", "stopped", folder=folder)
    assert process.stdout and process.stderr
    for line in process.stdout:
        if line.startswith("epoch    2/5000"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    words = re.fullmatch(r"gpunet: stopped; stopped/weights.safetensors holds the weights after epoch (\d+)\n", errors)
    assert process.returncode == 130 and words, errors
    rows = (folder / "stopped/metrics.csv").read_text().splitlines()[1:]
    assert len(rows) in (int(words[1]) - 1, int(words[1])) and len(rows) >= 2
    assert load_file(folder / "stopped/weights.safetensors")["conv1.w"].shape == (4, 3, 3, 1)
    assert len(list((folder / "stopped").iterdir())) == 4


def test_ctrl_c_before_the_first_epoch_says_that_nothing_is_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: RunFolder, trainer: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "started", stop)
    said(
        run("train", TINY, "--device", "cpu", "--out", "a"),
        130,
        "stopped; no epoch was finished, so a holds no weights",
    )
