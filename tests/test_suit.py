"""What is looked at before a run: scores for the classes that are there, ends of nets, values that cannot be right."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from gpunet import Augment, ConfigError, DataError, Net, load
from gpunet.data import Dataset, Split, digits
from gpunet.net.config import load_config
from gpunet.net.net import depth_last
from gpunet.program.volume import Volume
from gpunet.train.entering import Entering, entering, from_plain, odd_values
from gpunet.train.suit import require_suited, slip
from tests.conftest import Run

CPU = ("--device", "cpu", "--epochs", 1)


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2 and "Traceback" not in result.output, result.output
    for part in words:
        assert part in result.stderr, result.stderr


def few(path: Path, classes: int = 4, n: int = 200) -> Path:
    """Digits of the first classes."""
    images, labels = digits().train.take(np.arange(n))
    chosen = labels < classes
    np.savez(path, images=images[chosen], labels=labels[chosen], white=16)
    return path


# -- outputs against classes ---------------------------------------------------------------------------------------


def test_more_outputs_than_classes_are_told_with_the_way_out(run: Run, tmp_path: Path) -> None:
    few(tmp_path / "four.npz")
    command = ("train", "vgg_digits", "--data", "four.npz", *CPU)
    refused(run(*command), "vgg_digits has 10 outputs, four.npz 4 classes: --classes 4 gives it so many")
    refused(run("lr-find", "vgg_digits", "--data", "four.npz", "--device", "cpu"), "--classes 4")
    assert run(*command, "--classes", 4, "--out", "a").exit_code == 0
    assert run(*command, "--spare-outputs", "--out", "b").exit_code == 0
    assert load_config(tmp_path / "b/config.toml").train.spare_outputs
    assert (
        run("train", "--resume", "b", "--epochs", 2, "--schedule", "cosine").exit_code == 2
    )  # another wave, no outputs
    assert "outputs" not in run("train", "--resume", "b").stderr


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("INPUT[8x8x1] -> CONV1-10", "net ends in 8x8x10 of conv1, 640 scores for an image; to tell 10 classes apart"),
        ("INPUT[8x8x1] -> CONV3-8 -> RELU -> CONV1-10 -> POOL2", "in FC-10, or in CONV1-10 -> GAP"),
        ("INPUT[8x8x1] -> FC-11", "net has 11 outputs, digits 10 classes: --classes 10"),
    ],
)
def test_nets_that_score_too_much_are_refused(run: Run, pattern: str, words: str) -> None:
    refused(run("train", pattern, *CPU), words)
    with pytest.raises(ConfigError, match="10 classes"):
        require_suited(load(pattern), digits())


def test_volumes_of_as_many_scores_as_classes_are_nets_of_their_own_right() -> None:
    split = Split(np.zeros((32, 4, 4, 1), np.uint8), np.arange(32) % 16)
    require_suited(load("INPUT[4x4x1] -> CONV1-1"), Dataset("places", split, split))
    named = Dataset("named", split, split, classes=tuple(map(str, range(20))))
    require_suited(load("INPUT[4x4x1] -> FC-20"), named)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("FC-10 -> RELU", "net ends in relu1, RELU: no score can be below 0"),
        ("FC-10 -> SIGMOID", "between 0 and 1"),
        ("FC-10 -> TANH", "between -1 and 1"),
        ("FC-10 -> DROPOUT", "are 0 in training"),
        ("FC-10", None),
        ("RELU -> FC-10 -> BN", None),
        ("CONV1-10 -> RELU -> GAP", None),
    ],
)
def test_an_end_that_takes_from_the_scores_is_told(end: str, words: str | None) -> None:
    found = slip(load(f"INPUT[8x8x1] -> {end}"))
    assert found is None if words is None else words in str(found)


def test_the_end_is_told_and_the_net_trained_all_the_same(run: Run) -> None:
    done = run("train", "INPUT[8x8x1] -> FC-10 -> RELU", *CPU)
    assert done.exit_code == 0 and "no score can be below 0" in done.stderr and "leave it out" in done.stderr


@pytest.mark.parametrize(
    ("input", "meant"),
    [
        *[("3x32x32", "32x32x3"), ("1x28x28", "28x28x1"), ("3x48x64", "48x64x3")],
        *[(input, None) for input in ("32x32x3", "1x128x16", "3x3x64", "8x8x8", "1x1x512")],
    ],
)
def test_a_depth_that_stands_first_is_asked_about(input: str, meant: str | None) -> None:
    found = depth_last(Volume.parse(input))
    assert found is None if meant is None else str(found) == meant


def test_a_depth_that_stands_first_is_told_by_whoever_stumbles_over_it(run: Run, rng: np.random.Generator) -> None:
    refused(run("plan", "INPUT[3x32x32] -> CONV3-8 -> POOL2 -> FC-10"), "did you mean the input 32x32x3?")
    told = run("plan", "INPUT[3x32x32] -> CONV3-8 -> FC-10")
    assert told.exit_code == 0 and "the input 3x32x32 would be 32 maps deep; did you mean 32x32x3?" in told.stderr
    pixels = Split(rng.integers(0, 256, (20, 9, 8, 3), np.uint8), np.arange(20) % 2)
    with pytest.raises(DataError, match=r"9x8x3; the net takes 3x9x8; did you mean 9x8x3\? The depth comes last"):
        Dataset("rgb", pixels, pixels).require((3, 9, 8), 2)
    first = Split(rng.integers(0, 256, (20, 3, 9, 8), np.uint8), np.arange(20) % 2)
    with pytest.raises(DataError, match=r"so move it: images.transpose\(0, 2, 3, 1\) are of 9x8x3"):
        Dataset("rgb", first, first).require((9, 8, 3), 2)


# -- values that cannot be right -----------------------------------------------------------------------------------


def test_what_enters_is_pixels_scaled_and_floats_as_they_are() -> None:
    pixels = np.array([[0, 16], [8, 4]], np.uint8)
    net = load("INPUT[8x8x1] -> FC-10").entered(scale=0.125, shift=-1)
    assert entering(net, pixels) == Entering("uint8", -1.0, 1.0)
    assert entering(net, pixels.astype(np.float32)) == Entering("float32", 0.0, 16.0)
    normal = Net("8x8x3", net.nodes, augment=Augment(mean=(0.5, 0.4, 0.3), std=(0.5, 0.1, 0.25)))
    found = entering(normal, np.array([0, 255], np.uint8))
    assert (found.least, found.most) == (pytest.approx(-4), pytest.approx(6))


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.array([0, 255], np.float32), "x holds float32 images with values from 0 to 255, which .* far too large"),
        (np.array([-1e30, 1e30], np.float32), r"values from -1e.30 to 1e.30"),
        (np.array([0.5, 0.51]), "hardly differ"),
        (np.array([0, 16], np.uint8), r"pixels of x, 0 to 16, .*hardly differ: say another scale, like --scale 0.0625"),
        (np.array([0, 255], np.uint8), None),
        (np.array([-2.2, 2.7]), None),
        (np.array([0, 1.0]), None),
    ],
)
def test_values_that_nothing_can_be_learnt_from_are_told(images: np.ndarray, words: str | None) -> None:
    found = odd_values(load("INPUT[8x8x1] -> FC-10"), images, "x")
    assert found is None if words is None else re.search(words, str(found))


def test_a_net_that_normalizes_takes_all_but_what_no_square_holds() -> None:
    net = load("INPUT[8x8x1] -> BN -> FC-10")
    assert odd_values(net, np.array([0, 255.0]), "x") is None and odd_values(net, np.array([0, 1e30]), "x") is not None


def test_a_typed_net_takes_the_white_of_its_data(run: Run, tmp_path: Path) -> None:
    pattern = "INPUT[8x8x1] -> FC-32 -> RELU -> FC-10"
    done = run("train", pattern, *CPU, "--out", "a")
    assert "white is 16 there, so a pixel p enters the net as p/16" in done.stdout and not done.stderr
    assert load_config(tmp_path / "a/config.toml").net.scale == 1 / 16
    few(tmp_path / "ten.npz", classes=10)
    assert run("train", pattern, *CPU, "--data", "ten.npz", "--out", "b").exit_code == 0
    assert load_config(tmp_path / "b/config.toml").net.scale == 1 / 16
    said = run("train", pattern, *CPU, "--scale", 0.5, "--shift", -3, "--out", "c")
    net = load_config(tmp_path / "c/config.toml").net
    assert said.exit_code == 0 and "p/16" not in said.output and (net.scale, net.shift) == (0.5, -3)
    (tmp_path / "said.toml").write_text(f'net = "{pattern}"\nscale = 0.25\n')
    assert "p/16" not in run("train", "said.toml", *CPU, "--out", "d").output
    assert load_config(tmp_path / "d/config.toml").net.scale == 0.25
    assert "p/16" in run("lr-find", pattern, "--device", "cpu", "--steps", 20, "--repeats", 1).stdout
    refused(run("train", pattern, *CPU, "--scale", 0), "--scale 0 all pixels would be the same")
    refused(run("train", pattern, *CPU, "--shift", "nan"), "--shift is a number; got nan")
    refused(run("train", "--resume", "a", "--scale", 1), "leave out --scale")


def test_a_typed_net_learns_the_digits_beyond_chance(run: Run, tmp_path: Path) -> None:
    done = run("train", "INPUT[8x8x1] -> CONV3-8 -> RELU -> POOL2 -> FC-10", "--epochs", 3, "--device", "cpu")
    accuracy = json.loads(next(tmp_path.glob("runs/*/test.json")).read_text())["test_accuracy"]
    assert done.exit_code == 0 and accuracy > 0.6


def floats(path: Path, low: float, high: float) -> None:
    images, labels = digits().train.take(np.arange(300))
    np.savez(path, images=(low + images * ((high - low) / 16)).astype(np.float32), labels=labels)


def test_floats_that_are_far_too_large_are_blamed_rather_than_the_rate(run: Run, tmp_path: Path) -> None:
    floats(tmp_path / "bytes.npz", 0, 255)
    done = run("train", "INPUT[8x8x1] -> FC-32 -> RELU -> FC-10", *CPU, "--data", "bytes.npz", "--out", "a")
    assert "bytes.npz holds float32 images with values from 0 to 255" in done.stderr
    floats(tmp_path / "huge.npz", 0, 1e30)
    lost = run("train", "INPUT[8x8x1] -> FC-32 -> RELU -> FC-10", *CPU, "--data", "huge.npz", "--out", "b")
    refused(lost, "the loss became", "the batch holds float32 images with values from 0 to 1e+30")
    assert "smaller learning rate" not in lost.stderr


def test_who_asks_about_other_values_than_were_learnt_is_told(run: Run, tmp_path: Path) -> None:
    floats(tmp_path / "centred.npz", -2, 2)
    floats(tmp_path / "zero_one.npz", 0, 1)
    net = "INPUT[8x8x1] -> FC-10"
    for name in ("centred", "zero_one"):
        assert not run("train", net, *CPU, "--data", f"{name}.npz", "--out", name).stderr
    Image.fromarray(np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "p.png")
    words = "centred/weights.safetensors learnt from float32 images with values from -2 to 2; "
    commands = {
        "predict": ("predict", "centred", "p.png", "--device", "cpu"),
        "slide": ("slide", "centred", "p.png", "--device", "cpu"),
        "show": ("show", "activations", "centred", "p.png", "--device", "cpu"),
        "eval": ("eval", "centred", "--data", "digits", "--device", "cpu"),
        "train": ("train", "--weights", "centred", "--data", "digits", *CPU, "--out", "on"),
        "floats": ("eval", "centred", "--data", "zero_one.npz", "--device", "cpu"),
    }
    for name, command in commands.items():
        told = run(*command)
        assert told.exit_code == 0 and (words in told.stderr) is (name != "floats"), (name, told.output)
    assert not run("predict", "zero_one", "p.png", "--device", "cpu").stderr
    recorded = run("train", net, *CPU, "--data", "centred.npz", "--scale", 4 / 255, "--shift", -2, "--out", "said")
    assert recorded.exit_code == 0 and not run("predict", "said", "p.png", "--device", "cpu").stderr


@pytest.mark.parametrize(
    "about",
    [
        *[{}, {"entered": 1}, {"entered": {"dtype": "uint8", "least": 0}}],
        *[{"entered": {"dtype": 1, "least": 0, "most": 1}}],
        *[{"entered": {"dtype": "uint8", "least": float("nan"), "most": 1}}],
    ],
)
def test_metadata_of_strangers_do_no_harm(about: dict[str, object]) -> None:
    assert from_plain(about) is None
