"""Terminals that cannot show every character: what does not encode is escaped, and nothing ends in a traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from gpunet.cli.app import app

ROOT = Path(__file__).parent.parent
NAMES = "caf\u00e9", "\u732b \u2192 \U0001f408"
"""Of two classes, together in none of the encodings tried here."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of two classes with such names, and a run that has learnt from them."""
    folder = tmp_path_factory.mktemp("streams") / "photos \u2192"
    for label, name in enumerate(NAMES):
        for number in range(6):
            path = folder / ("train", "test")[number > 3] / name / f"{number} \U0001f408.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((4, 4, 3), 200 * label + number, np.uint8)).save(path)
    (folder / "train" / NAMES[0] / "broken.\u732b").write_bytes(b"")
    command = ["train", "INPUT[4x4x3] -> FC-2", "--data", folder, "--epochs", 1, "--device", "cpu"]
    started(CliRunner(), *command, "--out", folder / "run \u2192 \u00e9")
    return folder


def started(runner: CliRunner, *arguments: object, code: int = 0) -> Result:
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "gbk", "latin-1"])
def test_what_does_not_encode_is_escaped(photos: Path, tmp_path: Path, encoding: str) -> None:
    def shown(text: str) -> str:
        return text.encode(encoding, "backslashreplace").decode(encoding)

    run, runner = photos / "run \u2192 \u00e9", CliRunner(charset=encoding)
    out = tmp_path / "\u2192 \u00e9 \U0001f408"
    trained = started(runner, "train", run / "config.toml", "--device", "cpu", "--out", out)
    assert f"the run is kept in {shown(str(out))}" in trained.stdout
    assert shown("left alone within classes: 1 .\u732b") in trained.stdout
    evaluated = started(runner, "eval", run)
    assert all(shown(name) in evaluated.stdout for name in NAMES)
    picture = photos / "test" / NAMES[1] / "5 \U0001f408.png"
    predicted = started(runner, "predict", run, picture)
    assert f"{shown(str(picture))}: " in predicted.stdout and shown(NAMES[1]) in predicted.stdout
    told = json.loads(started(runner, "predict", run, picture, "--json").stdout)
    assert told["images"][0]["file"] == str(picture)
    mistakes = started(runner, "show", "mistakes", run, "--count", 1, "--out", f"{out}.png")
    assert f"{shown(str(out))}.png shows" in mistakes.stdout
    refused = started(runner, "plan", "n\u00e9\u2192t", code=2)
    assert shown("no net called 'n\u00e9\u2192t'") in refused.stderr
    assert shown("caf\u00e9 \u2192") in started(runner, "train", "cifar10", "--data", "caf\u00e9 \u2192", code=2).stderr
    started(runner, "describe", "vgg_digits")
    started(runner, "--help")


def test_a_path_that_is_no_text_is_escaped_in_utf_8(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / os.fsdecode(b"\xff run")
    result = started(CliRunner(), "train", photos / "run \u2192 \u00e9/config.toml", "--device", "cpu", "--out", out)
    assert "\\udcff run" in result.stdout


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_the_program_itself_escapes(encoding: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "gpunet", "data", "cifar\u2192", "--to", str(tmp_path)]
    ended = subprocess.run(command, env=environment, capture_output=True, timeout=60)
    assert ended.returncode == 2 and b"Traceback" not in ended.stderr
    assert b"'cifar\\u2192'" in ended.stderr
