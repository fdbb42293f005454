"""Garbage in place of each text file that is read: one sentence, or what would be there without the file."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from gpunet.cli.app import app
from gpunet.errors import ConfigError, DataError
from gpunet.net.config import load
from gpunet.train.history import read_rows
from gpunet.train.metrics import StepMetrics
from tests.conftest import Run

GARBAGE = {
    "random": random.Random(0).randbytes(3000),
    "zeros": bytes(300),
    "utf-16": "epoch,loss\nnet = 3\n".encode("utf-16"),
    "brackets": b"[" * 100_000,
    "line ends": b"\r\n\x0b\x0c\x1c" * 40,
    "nothing": b"",
    "a quote": b'epoch,step,"\n' + b"x" * 200_000,
}
GARBAGES = pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)

PYTHONS_WORDS = ("codec", "Traceback", "decode byte", "Expecting value", "Error", "invalid continuation")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train = ["train", "INPUT[8x8x1] -> FC-10", "--epochs", "1", "--batch", "500", "--device", "cpu", "--out", str(out)]
    assert CliRunner().invoke(app, train).exit_code == 0
    return out


def in_one_sentence(result: object) -> None:
    """Whatever came of a command, it says so itself."""
    exit_code, error, output = (getattr(result, name) for name in ("exit_code", "exception", "output"))
    assert exit_code in (0, 2) and (error is None or isinstance(error, SystemExit)), output
    assert [word for word in PYTHONS_WORDS if word in output] == []


@GARBAGES
@pytest.mark.parametrize(
    "name", ["metrics.csv", "steps.csv", "plan.json", "config.toml", "environment.json", "test.json"]
)
def test_in_the_folder_of_a_run(trained: Path, run: Run, tmp_path: Path, name: str, garbage: bytes) -> None:
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(garbage)
    if name.endswith(".csv"):
        in_one_sentence(run("show", "curves", "run"))
    elif name == "config.toml":
        in_one_sentence(run("eval", "run", "--device", "cpu"))
    in_one_sentence(run("train", "--resume", "run"))


@GARBAGES
def test_as_a_config(tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / "net.toml").write_bytes(garbage)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "net.toml")
    assert [word for word in PYTHONS_WORDS if word in str(caught.value)] == []


@GARBAGES
def test_as_the_names_of_classes_and_as_a_list_of_them(tmp_path: Path, run: Run, garbage: bytes) -> None:
    np.save(tmp_path / "images.npy", np.zeros((4, 4, 4, 1), np.uint8))
    np.save(tmp_path / "labels.npy", np.arange(4) % 2)
    (tmp_path / "class_names.txt").write_bytes(garbage)
    net = "INPUT[4x4x1] -> FC-2"
    in_one_sentence(run("train", net, "--data", tmp_path, "--epochs", "1", "--device", "cpu", "--spare-outputs"))
    for label in "ab":
        (tmp_path / "photos/train" / label).mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "photos/train" / label / "1.png")
    (tmp_path / "photos/val/images").mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "photos/val/images/1.png")
    (tmp_path / "photos/val/val_annotations.txt").write_bytes(garbage)
    in_one_sentence(run("train", net, "--data", tmp_path / "photos", "--epochs", "1", "--device", "cpu"))


@pytest.mark.parametrize("garbage", ["random", "zeros", "utf-16"])
def test_rows_that_are_no_text_are_told_in_our_words(tmp_path: Path, garbage: str) -> None:
    path = tmp_path / "steps.csv"
    path.write_bytes(GARBAGE[garbage])
    with pytest.raises(DataError, match=r"steps\.csv is no text, and not the steps\.csv of a run"):
        read_rows(path, StepMetrics)


def test_a_list_of_pictures_that_is_none(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for garbage in GARBAGE.values():
        result = CliRunner().invoke(app, ["predict", str(trained), "-", "--device", "cpu"], input=garbage)
        assert result.exit_code == 2 and isinstance(result.exception, SystemExit), result.output
        assert not set(result.output) - {"\n"} & {chr(code) for code in range(32)}
