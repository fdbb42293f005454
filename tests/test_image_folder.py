"""Folders of pictures: what is learnt from and tested on, and what is refused in which words."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from gpunet.cli.app import app
from gpunet.data import batches, load, loader
from gpunet.data.folder import FileSplit
from gpunet.data.picture import BrokenPicture
from gpunet.errors import DataError
from tests.picture_files import broken_files, save


@pytest.fixture
def photos(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Seven pictures of 6x5 to learn from, three to test on, in classes named ant and bee."""
    for split, counts in (("train", (4, 3)), ("test", (2, 1))):
        for name, count in zip(("ant", "bee"), counts, strict=True):
            for number in range(count):
                picture = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
                save(tmp_path / "photos" / split / name / f"{number}.png", picture)
    return tmp_path / "photos"


def refusal(what: Path, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        load(what, **options)
    return str(caught.value)


def test_classes_are_folders_in_the_order_of_their_names(photos: Path) -> None:
    data = load(photos)
    assert data.classes == ("ant", "bee") and data.name == "photos" and data.note == ""
    assert data.train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1] and data.train.labels.dtype == np.int32
    assert data.test.labels.tolist() == [0, 0, 1]
    assert data.train.shape == (6, 5, 3)
    images, labels = data.train.take(np.array([5, 0]))
    assert labels.tolist() == [1, 0]
    np.testing.assert_array_equal(images[0], np.asarray(Image.open(photos / "train/bee/1.png")))
    np.testing.assert_array_equal(images[1], np.asarray(Image.open(photos / "train/ant/0.png")))


def test_val_is_as_good_as_test_but_not_both(photos: Path) -> None:
    (photos / "test").rename(photos / "val")
    assert len(load(photos).test) == 3
    (photos / "test").mkdir()
    assert "has both test and val" in refusal(photos)


def test_without_a_test_folder_each_fifth_of_a_class_is_tested_on(tmp_path: Path) -> None:
    for name, count in (("ant", 11), ("bee", 5)):
        for number in range(count):
            save(tmp_path / name / f"{number:02}.png", np.full((2, 2, 3), number, np.uint8))
    data = load(tmp_path)
    assert data.test.take(np.arange(3))[0][:, 0, 0, 0].tolist() == [4, 9, 4] and len(data.train) == 13
    assert "each fifth picture of a class, 3 in all" in data.note


def test_pictures_of_other_sizes_need_a_size(photos: Path) -> None:
    odd = save(photos / "train/bee/odd.png", np.zeros((5, 6, 3), np.uint8))
    message = refusal(photos)
    assert f"{odd} is 5x6 pixels" in message and "is 6x5; bring all to one size with --size HxW" in message
    data = load(photos, size="3x4")
    assert data.train.shape == (3, 4, 3)
    assert data.train.take(np.arange(8))[0].shape == (8, 3, 4, 3)
    with pytest.raises(DataError, match=r"images of 3x4x3; the net takes 8x8x3; bring them to its size \(--size 8x8\)"):
        data.require((8, 8, 3), 2)
    with pytest.raises(DataError, match=r"the net takes 8x8x1; use other data"):
        data.require((8, 8, 1), 2)


def test_folders_that_are_no_data_set_are_told(photos: Path) -> None:
    (photos / "test/cow").mkdir()
    assert f"{photos / 'test/cow'} is a class that nothing is learnt from; the classes are ant, bee" in refusal(photos)
    (photos / "test/cow").rmdir()
    (photos / "train/cow").mkdir()
    assert f"{photos / 'train/cow'} holds no picture" in refusal(photos)
    (photos / "train/cow").rmdir()
    for path in (photos / "train/bee").iterdir():
        path.unlink()
    (photos / "train/bee").rmdir()
    assert "a class that nothing is learnt from" in refusal(photos)
    for path in (photos / "test/bee").iterdir():
        path.unlink()
    (photos / "test/bee").rmdir()
    assert "holds one class, ant" in refusal(photos)
    for path in (photos / "test/ant").iterdir():
        path.unlink()
    (photos / "train/bee").mkdir()
    save(photos / "train/bee/0.png", np.zeros((6, 5, 3), np.uint8))
    assert "holds no picture to test on" in refusal(photos)
    empty = photos.with_name("empty")
    (empty / "train").mkdir(parents=True)
    assert f"{empty / 'train'} holds no folders; expected train/<class>/*.jpg" in refusal(empty)


def test_other_files_are_counted_and_hidden_ones_are_not(photos: Path) -> None:
    (photos / "train/ant/notes.txt").touch()
    (photos / "train/ant/.DS_Store").touch()
    (photos / "test/bee/inner.png").mkdir()
    data = load(photos)
    assert len(data.train) == 7 and "2 files without the name of a picture left alone" in data.note


def test_a_broken_picture_ends_a_run_unless_it_is_skipped(photos: Path, rng: np.random.Generator) -> None:
    for name, content in broken_files(rng).items():
        (photos / "train/ant" / name).write_bytes(content)
    assert str(photos / "train/ant/") in refusal(photos)
    with pytest.raises(BrokenPicture, match=r"bomb\.png"):
        load(photos, size="6x5").train.take(np.arange(14))
    data = load(photos, skip_broken=True)
    assert f"8 broken files skipped, like {photos / 'train/ant/bomb.png'}" in data.note
    assert data.train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]


def test_a_class_of_broken_pictures_alone_is_refused_even_if_they_may_be_skipped(photos: Path) -> None:
    for path in (photos / "train/bee").iterdir():
        path.write_bytes(b"")
    assert f"{photos / 'train/bee'} holds no picture that can be used" in refusal(photos, skip_broken=True)


def test_the_program_trains_on_a_folder_and_names_a_broken_picture(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent)
    net = "INPUT[4x4x3] -> FC-2"
    command = ["train", net, "--data", "photos", "--size", "4x4", "--epochs", "1", "--batch", "2", "--device", "cpu"]
    assert CliRunner().invoke(app, [*command, "--out", "first"]).exit_code == 0
    (photos / "train/bee/1.png").write_bytes(b"broken")
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2 and "photos/train/bee/1.png cannot be read as a picture" in result.stderr
    result = CliRunner().invoke(app, [*command, "--skip-broken", "--out", "second"])
    assert result.exit_code == 0 and "1 broken file skipped, like photos/train/bee/1.png" in result.stdout
    settings = tomllib.loads(Path("second/config.toml").read_text())["train"]
    assert settings["size"] == "4x4" and settings["skip_broken"] is True
    again = CliRunner().invoke(app, ["train", "second/config.toml", "--device", "cpu", "--out", "third"])
    assert again.exit_code == 0
    assert Path("third/weights.safetensors").read_bytes() == Path("second/weights.safetensors").read_bytes()


def test_pictures_come_the_same_with_any_number_of_workers(photos: Path) -> None:
    split = load(photos, size="4x4").train
    assert isinstance(split, FileSplit)
    order = list(batches(7, 3, seed=0, epoch=1))
    runs = [list(loader(split, order, workers)) for workers in (0, 1, 4)]
    for run in runs[1:]:
        for (images, labels), (other, others) in zip(runs[0], run, strict=True):
            np.testing.assert_array_equal(images, other)
            np.testing.assert_array_equal(labels, others)
