"""`gpunet show` and `gpunet lr-find` as people use them: what they print and leave, right and wrong."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from gpunet.cli.app import app
from gpunet.data import digits
from gpunet.train.judge import Judged

ROOT = Path(__file__).parent.parent
TINY = "INPUT[8x8x1] -> CONV3-4 -> RELU -> POOL2 -> DROPOUT -> FC-10"

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run on the digits."""
    path = tmp_path_factory.mktemp("runs") / "first"
    options = ["--epochs", "2", "--device", "cpu", "--out", str(path), "--learning-rate", "0.1"]
    result = CliRunner().invoke(app, ["train", TINY, *options])
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the program inside this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def drew(result: Result, path: str | Path) -> str:
    """What was printed, once a PNG is at `path` and nothing beside it."""
    assert result.exit_code == 0, result.output
    with Image.open(path) as picture:
        assert picture.format == "PNG" and picture.width > 300 and picture.height > 200
    assert len(list(Path(path).absolute().parent.iterdir())) == 1
    return result.stdout


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.stderr, result.stderr
    assert not list(Path().glob("*.png"))


def test_curves_of_one_run_and_of_two(run: Run, trained: Path, tmp_path: Path) -> None:
    assert "curves.png shows" in drew(run("show", "curves", trained), "curves.png")
    one = Path("curves.png").read_bytes()
    drew(run("show", "curves", trained, trained, "--out", "curves.png"), "curves.png")
    assert Path("curves.png").read_bytes() != one


def test_confusion_says_what_the_run_measured(run: Run, trained: Path) -> None:
    said = drew(run("show", "confusion", trained, "--device", "cpu"), "confusion.png").splitlines()
    accuracy = json.loads((trained / "test.json").read_text())["test_accuracy"]
    assert said[0] == f"{round(accuracy * 360)} of 360 test images right, {accuracy:.2%}"
    counts = [int(line.rpartition(": ")[2]) for line in said[1:-1]]
    assert len(counts) == 5 and counts == sorted(counts, reverse=True)


def test_mistakes_are_listed_from_the_highest_loss_down(run: Run, trained: Path) -> None:
    said = drew(run("show", "mistakes", trained, "--count", 4, "--device", "cpu"), "mistakes.png").splitlines()
    listed = said[1:-1]
    losses = [float(line.rpartition(" ")[2]) for line in listed]
    assert len(losses) == 4 and losses == sorted(losses, reverse=True)
    index, label = int(listed[0].split()[1].rstrip(":")), listed[0].split(" is ")[1].split()[0]
    assert digits().test.labels[index] == int(label)


def test_mistakes_are_mistakes_alone_with_their_files_also_as_json(run: Run, others: Path) -> None:
    command = ("show", "mistakes", others / "colour", "--count", 60, "--device", "cpu", "--out", "x.png")
    said = drew(run(*command), "x.png").splitlines()
    told = json.loads(drew(run(*command, "--json"), "x.png"))
    wrong = told["images"] - told["correct"]
    assert len(told["mistakes"]) == len(said) - 2 == wrong > 0
    for line, entry in zip(said[1:-1], told["mistakes"], strict=True):
        assert entry["label"] != entry["said"] and entry["name"] == Path(entry["file"]).parent.name
        assert line.startswith(f"image {entry['image']}, {entry['file']}: said {entry['said_name']} ")
        assert Path(entry["file"]).is_file()
    counts = json.loads(drew(run("show", "confusion", *command[2:3], *command[5:], "--json"), "x.png"))["counts"]
    assert sum(map(sum, counts)) == told["images"] and sum(counts[k][k] for k in range(2)) == told["correct"]


def test_where_nothing_is_mistaken_nothing_is_drawn(run: Run, trained: Path) -> None:
    judged = Judged(np.zeros(3, int), np.zeros(3, int), np.ones(3), np.ones(3), np.ones(3), 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gpunet.train.judge.judge", lambda *_: judged)
        result = run("show", "mistakes", trained, "--device", "cpu", "--out", "none.png")
    assert result.exit_code == 0 and "no image is taken for another class: nothing is drawn" in result.stdout
    assert not Path("none.png").exists()


def test_filters_of_the_first_layer_or_another(run: Run, trained: Path) -> None:
    said = drew(run("show", "filters", trained), "filters.png")
    assert said == "filters.png shows conv1: 4 filters of 3x3x1\n"
    said = drew(run("show", "filters", trained / "weights.safetensors", "--layer", "fc1"), "filters.png")
    assert said == "filters.png shows fc1: 10 filters of 4x4x4\n"


def test_activations_of_a_test_image_of_a_picture_and_of_one_layer(run: Run, trained: Path) -> None:
    said = drew(run("show", "activations", trained, 7, "--device", "cpu"), "activations.png")
    assert said == "activations.png shows 4 layers\n"
    picture = Path("../seven.png").resolve()
    Image.fromarray(np.uint8(15) * digits().test.images[7, :, :, 0]).resize((30, 20)).save(picture)
    drew(run("show", "activations", trained, picture, "--size", "8x8", "--device", "cpu"), "activations.png")
    drew(run("show", "activations", trained, 7, "--layer", "pool1", "--device", "cpu"), "activations.png")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run on pictures of 7x9, one of them broken, and a run on an .npz file of 8x8x1."""
    folder = tmp_path_factory.mktemp("others")
    rng = np.random.default_rng(3)
    for split, count in (("train", 4), ("test", 3)):
        for name in ("ant", "bee"):
            (folder / "photos" / split / name).mkdir(parents=True)
            for number in range(count):
                picture = Image.fromarray(rng.integers(0, 256, (7, 9, 3), np.uint8))
                picture.save(folder / "photos" / split / name / f"{number}.png")
    (folder / "photos" / "test" / "bee" / "3.png").write_bytes(b"no picture")
    images, labels = rng.integers(0, 256, (40, 8, 8, 1), np.uint8), rng.integers(0, 3, 40)
    np.savez(folder / "three.npz", images=images, labels=labels)
    for out, net, *options in (
        ("colour", "INPUT[6x6x3] -> CONV3-2 -> FC-2", "photos", "--size", "6x6", "--skip-broken", "--batch", "2"),
        ("three", "INPUT[8x8x1] -> CONV3-2 -> FC-3", "three.npz"),
    ):
        data = str(folder / options[0])
        arguments = ["train", net, "--epochs", "1", "--device", "cpu", "--data", data, *options[1:]]
        result = CliRunner().invoke(app, [*arguments, "--out", str(folder / out)])
        assert result.exit_code == 0, result.output
    return folder


@pytest.mark.parametrize(("name", "tested"), [("colour", 6), ("three", 8)])
def test_data_and_settings_are_those_of_the_run(run: Run, others: Path, name: str, tested: int) -> None:
    accuracy = json.loads((others / name / "test.json").read_text())["test_accuracy"]
    right = f"{round(accuracy * tested)} of {tested} test images right"
    for command in ("confusion", "mistakes"):
        said = drew(run("show", command, others / name, "--device", "cpu", "--out", "x.png"), "x.png")
        assert said.startswith(right)
    assert ("ant" in said) == (name == "colour")
    said = drew(run("show", "activations", others / name, tested - 1, "--device", "cpu", "--out", "x.png"), "x.png")
    assert said == "x.png shows 2 layers\n"
    Path("x.png").unlink()
    refused(run("show", "activations", others / name, tested), f"numbered from 0 to {tested - 1}")


def test_other_data_need_a_size_and_the_same_classes(run: Run, others: Path, trained: Path) -> None:
    photos, lone = others / "photos", Path("../lone").resolve()
    lone.write_bytes((trained / "weights.safetensors").read_bytes())
    for command, *more in (("confusion",), ("mistakes",), ("activations", 1)):
        refused(run("show", command, others / "colour", *more, "--data", photos), "3.png cannot be read as a picture")
        refused(run("show", command, lone, *more), "no config.toml beside the weights", "give --data")
    options = ("--data", photos, "--size", "6x6", "--skip-broken", "--device", "cpu", "--out", "x.png")
    drew(run("show", "activations", others / "colour", 1, *options), "x.png")
    drew(run("show", "confusion", lone, "--data", "digits", "--device", "cpu", "--out", "x.png"), "x.png")
    Path("x.png").unlink()
    (other := Path("../other").resolve()).mkdir()
    for split in ("train", "test"):
        (other / split).mkdir()
        for old, new in (("ant", "cat"), ("bee", "dog")):
            (other / split / new).symlink_to(photos / split / old)
    options = ("--data", other, "--size", "6x6", "--skip-broken")
    refused(run("show", "confusion", others / "colour", *options), "class 0 is cat; net learnt that it is ant")


def test_what_is_not_there_is_named(run: Run, trained: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(run("show", "curves", "nowhere"), "there is no folder nowhere")
    refused(run("show", "curves", empty), "is no folder of a run: it holds no metrics.csv")
    refused(run("show", "curves", *[trained] * 8), "at most 7 runs", "got 8")
    refused(run("show", "confusion", empty), "holds no weights.safetensors")
    refused(run("show", "confusion", trained, "--data", "nowhere"), "nowhere")
    refused(run("show", "mistakes", trained, "--count", 0), "from 1 to 60 images; got 0")
    refused(run("show", "filters", "nowhere.safetensors"), "there is no file nowhere.safetensors")
    refused(run("show", "filters", trained, "--layer", "conv2"), "no layer 'conv2'; did you mean conv1?")
    refused(run("show", "activations", trained, 360), "no test image 360; they are numbered from 0 to 359")
    refused(run("show", "activations", trained, 1, "--layer", "rellu1"), "no layer 'rellu1'; did you mean relu1?")
    refused(run("show", "activations", trained, 1, "--layer", "dropout1"), "dropout1 hands on what it gets")
    refused(run("show", "activations", trained, "nowhere.jpg"), "nowhere.jpg")
    refused(run("show", "filters", trained, "--out", "filters.jpg"), "a plot is a .png file")
    refused(run("show", "filters", trained, "--out", "no/filters.png"), "there is no folder no")


def test_a_picture_of_another_size_is_refused_with_the_way_out(run: Run, trained: Path) -> None:
    Image.new("RGB", (30, 20)).save("wide.bmp")
    refused(run("show", "activations", trained, "wide.bmp"), "has 20x30 pixels", "takes 8x8: add --size 8x8")


def test_empty_metrics_are_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("")
    refused(run("show", "curves", "."), "holds no measurements yet")


def test_without_matplotlib_the_message_says_how_to_get_it(trained: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None; from gpunet.cli.app import app\n"
        f"app(['show', 'curves', {str(trained)!r}])"
    )
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert result.returncode == 2
    assert 'gpunet show needs matplotlib, which is not installed: pip install "gpunet[plot]"' in result.stderr


# -- lr-find ---------------------------------------------------------------------------------------


def test_lr_find_prints_a_suggestion_and_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    arguments = ("lr-find", "vgg_digits", "--steps", 60, "--repeats", 2, "--device", "cpu")
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[-2].startswith("a learning rate to begin with: 0.0") and ", the middle one of " in lines[-2]
    assert lines[-1].startswith("diverges at ")
    assert not list(tmp_path.iterdir())
    assert run(*arguments).stdout == result.stdout
    assert run(*arguments, "--seed", 7).stdout != result.stdout


def test_lr_find_draws_and_prints_json(run: Run) -> None:
    result = run("lr-find", TINY, "--steps", 30, "--most", "1e-3", "--device", "cpu", "--plot", "rates.png", "--json")
    found = json.loads(drew(result, "rates.png"))
    assert found["diverged"] is None and found["net"] == "net"
    assert [len(test[key]) for test in found["tests"] for key in ("rates", "losses", "smoothed")] == [40] * 9


def test_lr_find_refuses_what_makes_no_sense(run: Run) -> None:
    refused(run("lr-find", TINY, "--least", 1, "--most", 0.1), "got 1 to 0.1")
    refused(run("lr-find", TINY, "--steps", 3), "from 20 to 100,000 steps; got 3")
    refused(run("lr-find", "vgg_digit"), "did you mean vgg_digits?")
    refused(run("lr-find", TINY, "--plot", "x.jpg"), "a plot is a .png file")
    refused(run("lr-find", "INPUT[8x8x3] -> FC-10", "--device", "cpu"), "digits holds images of 8x8x1")
