"""Folders of pictures: what is learnt from and tested on, and what is refused in which words."""

import os
import shutil
import sys
import tomllib
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from gpunet.cli.app import app
from gpunet.data import batches, load, loader, picture
from gpunet.data.folder import FileSplit
from gpunet.data.loose import find_pictures
from gpunet.data.picture import BrokenPicture
from gpunet.data.white import with_white
from gpunet.errors import DataError
from tests.picture_files import broken_files, save


@pytest.fixture
def photos(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Seven pictures of 6x5 to learn from, three to test on, in classes named ant and bee."""
    for split, counts in (("train", (4, 3)), ("test", (2, 1))):
        for name, count in zip(("ant", "bee"), counts, strict=True):
            for number in range(count):
                values = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
                save(tmp_path / "photos" / split / name / f"{number}.png", values)
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


@pytest.mark.parametrize("name", ["val", "validation", "valid"])
def test_without_a_test_part_val_is_chosen_by_and_nothing_is_tested_on(photos: Path, name: str) -> None:
    (photos / "test").rename(photos / name)
    data = load(photos, validation="10%")
    assert data.counted == "7 images to learn from, 3 to validate with" and not data.has_test
    assert data.judged_by == (data.validation, "to validate with")
    assert data.note == f"no part to test on: the best epoch is chosen by {name}, and no other images measure it"
    data = load(photos, validation=0)
    assert data.counted == "7 images to learn from, 3 to test on" and data.has_test
    assert data.note.endswith("the 3 images to validate with are tested on, as there are no others")
    darker = with_white(replace(load(photos), white=255), 16)
    assert not darker.has_test and darker.test.take(np.arange(3))[0].max() <= 16


def test_where_test_and_val_are_both_there_each_is_what_it_says(photos: Path) -> None:
    save(photos / "val/ant/0.jpg", np.zeros((6, 5), np.uint8))
    save(photos / "valid/cow/0.jpg", np.zeros((3, 3), np.uint8))
    data = load(photos)
    assert data.counted == "7 images to learn from, 1 to validate with, 3 to test on"
    assert data.note == "valid left alone: val is used"


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),
        ("training_set", "test_set"),
        ("TRAIN", "Test"),
        ("TrainImages", "testImages"),
        ("train data", "eval"),
        ("trainset", "TEST"),
        ("training", "evaluation"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train-2019", "test-2019"),
        ("training", "test1"),
    ],
)
def test_parts_may_be_spelt_in_any_usual_way(photos: Path, train: str, test: str) -> None:
    wanted = load(photos)
    pixels = [split.take(np.arange(len(split))) for split in (wanted.train, wanted.test)]
    for before, name in (("train", train), ("test", test)):
        (photos / before).rename(photos.parent / "part")
        (photos / name).parent.mkdir(exist_ok=True)
        (photos.parent / "part").rename(photos / name)
    data = load(photos)
    assert data.classes == wanted.classes and data.note == ""
    for split, (images, labels) in zip((data.train, data.test), pixels, strict=True):
        np.testing.assert_array_equal(split.take(np.arange(len(split)))[0], images)
        np.testing.assert_array_equal(split.labels, labels)


@pytest.mark.parametrize("name", ["valImages", "dev", "Validation", "val-2019"])
def test_images_to_validate_with_may_be_spelt_in_any_usual_way(photos: Path, name: str) -> None:
    shutil.copytree(photos / "test", photos / name)
    assert load(photos).counted == "7 images to learn from, 3 to validate with, 3 to test on"


@pytest.mark.parametrize("name", ["Testing", "val_2019", "dev"])
def test_a_part_to_test_on_is_never_offered_to_be_learnt_from(photos: Path, name: str) -> None:
    shutil.rmtree(photos / "train")
    (photos / "test").rename(photos / name)
    message = refusal(photos)
    assert f"{photos} has a folder {name}, and no train to learn from; expected train/" in message
    (photos / "more/ant").mkdir(parents=True)
    save(photos / "more/ant/0.png", np.zeros((3, 3), np.uint8))
    assert "--data" not in refusal(photos) or name not in refusal(photos)


def test_two_folders_to_learn_from_are_told(photos: Path) -> None:
    save(photos / "Training/ant/0.png", np.zeros((3, 3), np.uint8))
    assert "has two folders to learn from, train and Training; move one away" in refusal(photos)


def test_a_second_folder_to_test_on_is_left_alone_and_named(photos: Path) -> None:
    save(photos / "Testing/ant/0.png", np.zeros((3, 3), np.uint8))
    data = load(photos)
    assert len(data.test) == 3 and data.note == "Testing left alone: test is used"


def test_folders_of_pictures_whose_names_say_no_part_are_left_alone_and_named(photos: Path) -> None:
    (photos / "docs").mkdir()
    save(photos / "holdout/ant/0.png", np.zeros((3, 3), np.uint8))
    data = load(photos)
    assert data.counted == "7 images to learn from, 3 to test on"
    assert data.note == "holdout left alone, as its name says no part, like train, val or test"
    save(photos / "spare\x1b[31m/0.png", np.zeros((3, 3), np.uint8))
    assert load(photos).note == f"{data.note}, and 1 folder like it"


def test_a_folder_of_data_sets_names_one_or_says_how_many(photos: Path) -> None:
    outer = photos.parent / "outer"
    outer.mkdir()
    photos.rename(outer / "birds")
    assert refusal(outer) == f"{outer} is no data set, but {outer / 'birds'} is: give --data {outer / 'birds'}"
    shutil.copytree(outer / "birds", outer / "fish")
    assert f"{outer} is no data set, but holds 2, like {outer / 'birds'}" in refusal(outer)


def test_pictures_to_test_on_without_classes_are_left_alone_and_told(photos: Path) -> None:
    (photos / "test").rename(photos / "val")
    for number in range(4):
        save(photos / f"test/{number}.jpg", np.zeros((3, 3), np.uint8))
    data = load(photos)
    told, more = data.note.splitlines()
    assert len(data.test) == 3 and told == "test left alone: 4 pictures without classes"
    assert more.startswith("no part to test on: the best epoch is chosen by val,")
    shutil.rmtree(photos / "val")
    for number in range(4, 6):
        save(photos / f"train/ant/{number}.png", np.zeros((6, 5, 3), np.uint8))
    note = load(photos).note
    assert note.startswith("test left alone: 4 pictures without classes\nno folder test or val with classes: a fifth")
    (photos / "test/images").mkdir()
    for number in range(4):
        (photos / f"test/{number}.jpg").rename(photos / f"test/images/{number}.jpg")
    assert load(photos).note == note


def test_tiny_imagenet_is_read_as_it_comes(tmp_path: Path) -> None:
    """Each picture has the number of its class as its grey."""
    for label, name in enumerate(("n01", "n02")):
        for number in range(3):
            grey = np.full((4, 4), 100 + label, np.uint8)
            save(tmp_path / f"train/{name}/images/{name}_{number}.JPEG", grey, quality=100)
        (tmp_path / f"train/{name}/{name}_boxes.txt").write_text("n01_0.JPEG\t0\t0\t3\t3\n")
    lines = []
    for number, label in enumerate((1, 0, 1, 1)):
        save(tmp_path / f"val/images/val_{number}.JPEG", np.full((4, 4), 100 + label, np.uint8), quality=100)
        lines.append(f"val_{number}.JPEG\tn0{label + 1}\t0\t0\t3\t3\n")
    save(tmp_path / "test/images/test_0.JPEG", np.zeros((4, 4), np.uint8))
    (tmp_path / "val/val_annotations.txt").write_text("".join(lines))
    (tmp_path / "wnids.txt").write_text("n02\nn01\n")
    data = load(tmp_path)
    assert data.classes == ("n01", "n02") and (len(data.train), len(data.test)) == (6, 4)
    assert data.test.labels.tolist() == [0, 1, 1, 1]
    for split in (data.train, data.test):
        images, labels = split.take(np.arange(len(split)))
        assert (images[:, 0, 0, 0] == 100 + labels).all()
    assert data.note.splitlines()[0] == "test left alone: 1 picture without classes" and not data.has_test
    save(tmp_path / "val/images/more.JPEG", np.zeros((4, 4), np.uint8))
    assert "left alone outside of classes: 1 picture" in load(tmp_path).note
    for text, words in (
        ("gone.JPEG\tn01\n", "tells the class of gone.JPEG, which is not in"),
        ("val_0.JPEG\tn03\n", "n03 is a class that nothing is learnt from; the classes are n01, n02"),
        ("../x.JPEG\tn01\n", "line 1, is no name of a file, a tab and a class"),
        ("val_0.JPEG n01\n", "line 1, is no name of a file, a tab and a class"),
    ):
        (tmp_path / "val/val_annotations.txt").write_text(text)
        assert words in refusal(tmp_path)


def test_a_class_is_one_however_its_accents_are_stored(photos: Path) -> None:
    composed, apart = "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"
    (photos / "train/bee").rename(photos / "train" / composed)
    (photos / "test/bee").rename(photos / "test" / apart)
    data = load(photos)
    assert data.classes == ("ant", composed) and data.test.labels.tolist() == [0, 0, 1]
    save(photos / "train" / apart / "9.png", np.zeros((6, 5, 3), np.uint8))
    assert load(photos).train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_pictures_are_known_by_what_is_in_them_in_training_and_in_predict(photos: Path) -> None:
    values = np.zeros((6, 5, 3), np.uint8)
    for name, format in (
        ("a.JFIF", "JPEG"),
        ("b", "PNG"),
        ("c.img", "WEBP"),
        ("d.TIF", "TIFF"),
        ("e.JPG_large", "JPEG"),
    ):
        save(photos / "train/ant" / name, values, format=format)
    for name in ("f.heic", "g.heic", "h.gif", "i"):
        (photos / "train/ant" / name).write_bytes(b"some other kind")
    data = load(photos)
    assert len(data.train) == 12
    assert data.note == "left alone within classes: 2 .heic, 1 .gif, 1 without an ending"
    found, others = find_pictures([str(photos / "train/ant")])
    assert len(found) == 9 and found == [path for path in data.train.paths if path.parent.name == "ant"]
    assert others == {".heic": 2, ".gif": 1, "without an ending": 1}


def test_litter_is_no_class(photos: Path) -> None:
    for part in ("", "train", "test"):
        save(photos / part / "__MACOSX/ant/0.png", np.zeros((6, 5, 3), np.uint8))
        save(photos / part / "@eaDir/0.png", np.zeros((6, 5, 3), np.uint8))
    data = load(photos)
    assert data.classes == ("ant", "bee") and data.note == ""
    assert len(find_pictures([str(photos)])[0]) == 10


@pytest.mark.parametrize("names", [("Test", "valid"), ("bus", "train"), ("test_tubes", "train_stations")])
@pytest.mark.parametrize("inner", ["", "images"])
def test_classes_may_be_called_as_a_part_of_a_data_set(tmp_path: Path, names: tuple[str, str], inner: str) -> None:
    for number in range(10):
        save(tmp_path / names[number % 2] / inner / f"{number}.png", np.zeros((2, 2), np.uint8))
    assert load(tmp_path).classes == names


def test_classes_too_small_to_test_on_are_told(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / "ab"[number % 2] / f"{number}.png", np.zeros((2, 2), np.uint8))
    message = refusal(tmp_path)
    assert "no folder test or val with classes; a fifth of each class" in message
    assert "no class has two pictures" in message


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
    save(photos / "train/ant/more/1.png", np.zeros((6, 5), np.uint8))
    data = load(photos)
    assert len(data.train) == 7 and "left alone within classes: 1 .txt" in data.note
    assert "2 folders within classes not looked into" in data.note


def make_unreadable(path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "dangling":
        path.symlink_to("nowhere")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.touch()
        reading = Path.open

        def refuse(self: Path, *arguments: Any, **options: Any) -> Any:  # root may read whatever chmod says
            if self == path:
                raise PermissionError(13, "Permission denied")
            return reading(self, *arguments, **options)

        monkeypatch.setattr(Path, "open", refuse)


@pytest.mark.parametrize("size", [None, "4x4"])
@pytest.mark.parametrize("kind", ["dangling", "loop", "pipe", "forbidden"])
def test_files_that_cannot_be_read_are_skipped_like_broken_ones(
    photos: Path, kind: str, size: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = photos / "train/bee/9.png"
    make_unreadable(path, kind, monkeypatch)
    message = refusal(photos, size=size)
    assert str(path) in message and message.endswith("; remove it, or leave out all such files with --skip-broken")
    data = load(photos, size=size, skip_broken=True)
    assert len(data.train) == 7 and data.note == "1 broken file skipped, like train/bee/9.png"


def test_what_is_no_picture_is_told_before_a_run_and_what_breaks_within_when_it_is_decoded(photos: Path) -> None:
    path = photos / "train/bee/1.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(BrokenPicture) as caught:
        load(photos, size="4x4").train.take(np.array([5]))
    assert str(path) in str(caught.value) and str(caught.value).endswith("with --skip-broken")
    path.write_bytes(b"no picture")
    assert f"{path} cannot be read as a picture" in refusal(photos, size="4x4")


def test_without_pillow_no_file_is_called_broken(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture._pillow.cache_clear()
    monkeypatch.setitem(sys.modules, "PIL", None)
    message = refusal(photos, skip_broken=True)
    picture._pillow.cache_clear()
    assert "pip install pillow" in message and "--skip-broken" not in message


def test_names_that_are_no_text_are_read_and_printed_without_harm(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent)
    odd = photos / "train/ant" / os.fsdecode(b"\xff\x1b[31m.png")
    save(odd, np.zeros((6, 5), np.uint8))
    assert len(load(photos).train) == 8
    odd.write_bytes(b"broken")
    command = ["train", "INPUT[6x5x3] -> FC-2", "--data", "photos", "--epochs", "1", "--device", "cpu"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2 and r"photos/train/ant/\udcff\x1b[31m.png cannot be read" in result.stderr
    result = CliRunner().invoke(app, [*command, "--skip-broken"])
    assert result.exit_code == 0 and r"like train/ant/\udcff\x1b[31m.png" in result.stdout


def test_a_broken_picture_ends_a_run_unless_it_is_skipped(photos: Path, rng: np.random.Generator) -> None:
    for name, content in broken_files(rng).items():
        (photos / "train/ant" / name).write_bytes(content)
    assert str(photos / "train/ant/") in refusal(photos)
    data = load(photos, skip_broken=True)
    assert "8 broken files skipped, like train/ant/bomb.png" in data.note
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
    assert result.exit_code == 0 and "1 broken file skipped, like train/bee/1.png" in result.stdout
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


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "BMP", "PPM", "PGM", "PBM", "TIFF", "TIFF big-endian"])
def test_a_picture_of_any_format_that_is_read_is_known_without_an_ending(photos: Path, name: str) -> None:
    values = np.full((6, 5, 3), 200, np.uint8)
    made = Image.fromarray(values if name not in ("PGM", "PBM") else values[..., 0])
    content = BytesIO()
    kind = {"PGM": "PPM", "PBM": "PPM", "TIFF big-endian": "TIFF"}.get(name, name)
    if name == "TIFF big-endian":
        made = Image.fromarray(np.full((6, 5), 200, ">u2"))
    (made.convert("1") if name == "PBM" else made).save(content, format=kind)
    assert name != "TIFF big-endian" or content.getvalue()[:2] == b"MM"
    (photos / "train/ant/plain").write_bytes(content.getvalue())
    (photos / "train/ant/plain.bak").write_bytes(content.getvalue())
    data = load(photos)
    assert (
        len(data.train) == 9
        and data.note == ""
        and [path.name for path in data.train.paths[4:6]] == ["plain", "plain.bak"]
    )  # type: ignore[attr-defined]
    assert data.train.take(np.array([4]))[0].shape == (1, 6, 5, 3)
    assert find_pictures([str(photos / "train/ant")])[0][-2:] == [
        photos / "train/ant/plain",
        photos / "train/ant/plain.bak",
    ]


@pytest.mark.parametrize(
    "content",
    [b"BMs are notes of the sixth month", b"P5 is a class", b"P3\tis", b"II. Results", b"MM", b"RIFF....WAVE", b""],
)
def test_a_text_that_begins_almost_like_a_picture_is_none(photos: Path, content: bytes) -> None:
    (photos / "train/ant/notes").write_bytes(content)
    assert len(load(photos).train) == 7 and load(photos).note == "left alone within classes: 1 without an ending"


def test_nothing_is_said_of_broken_files_where_there_are_none(photos: Path) -> None:
    assert load(photos, skip_broken=True).note == ""
    (photos / "train/ant/bad.png").write_bytes(b"no picture")
    assert load(photos, skip_broken=True).note == "1 broken file skipped, like train/ant/bad.png"
