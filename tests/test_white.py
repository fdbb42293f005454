"""White is 16 in the bundled digits and 255 in pictures: a net is shown what it learnt to see, or someone is warned."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from gpunet import Model, load, slide
from gpunet.cli.app import app
from gpunet.data import Dataset, Split, digits
from gpunet.data.white import to_white, with_white
from gpunet.net.config import dump_net
from gpunet.train.weights import save_weights

NET = load("INPUT[8x8x1] -> CONV3-4(P=0) -> RELU -> POOL2 -> FC-10")

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the program inside this process, in an empty folder; it must go well."""
    monkeypatch.chdir(tmp_path)

    def ran(*arguments: object) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        return result

    return ran


def saved(path: Path, white: int) -> dict[str, np.ndarray]:
    """Random weights that learnt from images of that white."""
    with Model(NET, 1, "cpu", seed=4) as model:
        weights = dict(model.parameters)
    save_weights(path, weights, {"config": dump_net(NET), "white": white})
    return weights


def scans(folder: Path, count: int = 60) -> None:
    """The first digits to test on as pictures of white 255, in a folder for each class; some to learn from, too."""
    for split, (images, labels) in (
        ("test", digits().test.take(np.arange(count))),
        ("train", digits().train.take(np.arange(count))),
    ):
        for number, (image, label) in enumerate(zip(images[..., 0], labels, strict=True)):
            path = folder / split / str(label) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.rint(image * (255 / 16)).astype(np.uint8)).save(path)


def test_images_are_brought_to_a_white_one_by_one() -> None:
    images = np.zeros((3, 1, 2, 1), np.uint8)
    images[0, 0, :, 0], images[1, 0, :, 0] = (255, 128), (16, 3)
    assert to_white(images, 16)[..., 0].tolist() == [[[16, 8]], [[16, 3]], [[0, 0]]]
    assert to_white(images[0], 16).dtype == np.uint8 and to_white(images[0], 255).tolist() == images[0].tolist()


def test_a_data_set_takes_a_lower_white_and_says_so() -> None:
    split = Split(np.full((3, 2, 2, 1), 255, np.uint8), np.arange(3))
    floats = Split(np.full((3, 2, 2, 1), 99.0), np.arange(3))
    data = with_white(Dataset("pictures", split, split), 16)
    images, labels = data.test.take(np.array([2, 1]))
    assert (images == 16).all() and labels.tolist() == [2, 1] and data.white == 16
    assert len(data.train) == 3 and data.train.shape == (2, 2, 1) and "white, 255 here, becomes 16" in data.note
    assert (with_white(Dataset("x", floats, floats), 16).train.take(np.arange(3))[0] == 99).all()
    known = digits()
    assert with_white(known, 255) is known and with_white(known, 16) is known


def test_eval_of_pictures_is_that_of_the_digits_that_they_show(run: Run, tmp_path: Path) -> None:
    saved(tmp_path / "w", 16)
    scans(tmp_path / "scans")
    images, labels = digits().test.take(np.arange(60))
    np.savez("same.npz", images=images, labels=labels, test_images=images, test_labels=labels)
    options = ("--device", "cpu", "--json")
    told, same = (json.loads(run("eval", "w", "--data", data, *options).stdout) for data in ("scans", "same.npz"))
    assert told["loss"] == pytest.approx(same["loss"], rel=1e-6) and told["accuracy"] == same["accuracy"]
    words = run("eval", "w", "--data", "scans", "--device", "cpu")
    assert "white, 255 here, becomes 16 as in the images that were learnt from" in words.stdout and not words.stderr


def test_slide_scales_a_picture_as_predict_does(run: Run, tmp_path: Path) -> None:
    weights = saved(tmp_path / "w", 16)
    page = digits().test.take(np.array([0]))[0][0].repeat(2, axis=0)
    Image.fromarray(np.rint(page[..., 0] * (255 / 16)).astype(np.uint8)).save("page.png")
    told = json.loads(run("slide", "w", "page.png", "--device", "cpu", "--top", 10, "--json").stdout)
    wanted = slide(NET, weights, page, device="cpu").mean
    for entry in told["classes"]:
        assert entry["mean_probability"] == pytest.approx(wanted[entry["label"]], rel=1e-5)


def test_activations_of_a_picture_are_those_of_the_digit(run: Run, tmp_path: Path) -> None:
    saved(tmp_path / "w", 16)
    digit = digits().test.take(np.array([0]))[0][0, :, :, 0]
    drawn = []
    for name, values in (("digit", digit), ("picture", np.rint(digit * (255 / 16)).astype(np.uint8))):
        (tmp_path / name).mkdir()
        Image.fromarray(values).save(f"{name}/0.png")
        run("show", "activations", "w", f"{name}/0.png", "--device", "cpu", "--out", f"{name}.png")
        drawn.append(Path(f"{name}.png").read_bytes())
    assert drawn[0] == drawn[1]


def test_who_trains_or_tests_on_another_white_is_warned(run: Run, tmp_path: Path) -> None:
    saved(tmp_path / "w", 16)
    saved(tmp_path / "bright", 255)
    scans(tmp_path / "scans", 30)
    options = ("--device", "cpu", "--epochs", 1)
    said = run("train", "--weights", "w", "--data", "scans", *options, "--out", "a").stderr
    assert "white is 255 in scans and 16 in the images that w learnt from" in said and "brighter than" in said
    images, labels = digits().train.take(np.arange(30))
    np.savez("dark.npz", images=images, labels=labels)  # arrays do not say their white, but none of these is above 16
    assert "learnt from" not in run("train", "--weights", "w", "--data", "dark.npz", *options, "--out", "b").stderr
    said = run("eval", "bright", "--data", "digits", "--device", "cpu").stderr
    assert "white is 16 in digits and 255 in the images that bright learnt from" in said and "darker than" in said


def test_nothing_is_made_where_white_is_as_it_was(rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (3, 4, 5, 3)).astype(np.uint8)
    assert to_white(images, 255) is images
