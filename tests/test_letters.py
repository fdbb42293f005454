"""Words that may be written in whatever letters, Adam and ADAM for adam: in configs, patterns, Python and commands."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gpunet import LRN, Augment, ConfigError, MaxPool, Net, load
from gpunet.cli.app import app
from gpunet.net.config import TrainConfig, load_config
from gpunet.optimize.optimizers import Nesterov, optimizer
from gpunet.optimize.schedules import Cosine, schedule

PATTERN = "INPUT[8x8x1] -> FC-10"
SAID = {"optimizer": "adam", "schedule": "plateau", "metric": "train_loss", "decay": "weights"}
TRAIN = TrainConfig(optimizer="adam", schedule="plateau", metric="train_loss", decay="weights", eps=1e-6, wait=3)

Spelling = Callable[[str], str]


def written(folder: Path, text: str) -> Path:
    path = folder / "my.toml"
    path.write_text(text)
    return path


SPELLINGS = pytest.mark.parametrize("spelling", [str.lower, str.upper, str.title])


@SPELLINGS
def test_the_words_of_train(tmp_path: Path, spelling: Spelling) -> None:
    lines = [f'{key} = "{spelling(word)}"' for key, word in SAID.items()]
    path = written(tmp_path, "\n".join([f'net = "{PATTERN}"', "[train]", *lines, "eps = 1e-6", "wait = 3"]))
    assert load_config(path).train == TRAIN
    said = {key: spelling(word) for key, word in SAID.items()}
    assert TrainConfig(**said, eps=1e-6, wait=3) == TRAIN  # type: ignore[arg-type]
    changed = TrainConfig(momentum=0.5).changed(optimizer=spelling("adam"), schedule=spelling("cosine"))
    assert changed == TrainConfig(optimizer="adam", schedule="cosine")  # adam has no momentum


@SPELLINGS
def test_the_words_of_nets(tmp_path: Path, spelling: Spelling) -> None:
    pattern = f"INPUT[5x5x3] -> LRN(over={spelling('map')}) -> POOL2(fit={spelling('pad')})"
    text = f'fit = "{spelling("crop")}"\nnet = "{pattern}"\naugment.normalize = "{spelling("imagenet")}"'
    augment = Augment(normalize="imagenet")
    assert load(written(tmp_path, text)) == Net(
        "5x5x3", [LRN(over="map"), MaxPool(fit="pad")], fit="crop", augment=augment
    )
    assert Augment(normalize=spelling("imagenet")) == augment  # type: ignore[arg-type]


@SPELLINGS
def test_the_words_of_functions_and_commands(spelling: Spelling) -> None:
    assert (optimizer(spelling("nesterov")), schedule(spelling("cosine"))) == (Nesterov(), Cosine())
    options = {"--optimizer": "adamw", "--mode": "train", "--dtype": "float64", "--device": "cpu"}
    words = [word for option, value in options.items() for word in (option, spelling(value))]
    shown = CliRunner().invoke(app, ["plan", PATTERN, *words])
    assert shown.exit_code == 0 and "training with adamw" in shown.output and "float64" in shown.output


def test_what_is_another_word_is_still_refused(tmp_path: Path) -> None:
    path = written(tmp_path, f'net = "{PATTERN}"\ntrain.optimizer = "ADAMM"')
    with pytest.raises(ConfigError, match=r"optimizer must be one of .*; got 'ADAMM'; did you mean adam\?"):
        load_config(path)
    with pytest.raises(ConfigError, match="there is no schedule 'cos'; there are constant"):
        schedule("cos")
