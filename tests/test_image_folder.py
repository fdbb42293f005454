"""Folders of pictures: what becomes of each, what is refused in which words, and batches made ahead in threads."""

import io
import random
import struct
import threading
import time
import tomllib
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from gpunet.cli.app import app
from gpunet.data import Split, batches, load, loader
from gpunet.data.folder import FileSplit
from gpunet.data.picture import BrokenPicture, parse_size, picture_size, read_picture
from gpunet.errors import DataError


def save(path: Path, values: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)
    return path


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


# -- one picture -----------------------------------------------------------------------------------


def test_rgb_comes_as_it_is(tmp_path: Path, rng: np.random.Generator) -> None:
    values = rng.integers(0, 256, (7, 5, 3), dtype=np.uint8)
    for name in ("a.png", "a.bmp", "a.ppm", "A.PNG"):
        np.testing.assert_array_equal(read_picture(save(tmp_path / name, values)), values)
    lossless = save(tmp_path / "a.webp", values, lossless=True)
    np.testing.assert_array_equal(read_picture(lossless), values)


def test_grey_is_three_equal_maps_and_of_16_bits_the_upper_8(tmp_path: Path) -> None:
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3) * 50
    wanted = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_picture(save(tmp_path / "a.png", grey)), wanted)
    deep = grey.astype(np.uint16) * 256 + 200
    np.testing.assert_array_equal(read_picture(save(tmp_path / "b.png", deep)), wanted)
    bits = read_picture(save(tmp_path / "c.png", grey > 100))
    np.testing.assert_array_equal(bits, np.where(wanted > 100, 255, 0))


def test_what_is_transparent_is_laid_over_white(tmp_path: Path) -> None:
    values = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], np.uint8)
    found = read_picture(save(tmp_path / "a.png", values))
    assert found.tolist() == [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]]
    image = Image.new("P", (2, 1))
    image.putpalette([9, 8, 7, 200, 100, 50])
    image.putdata([0, 1])
    image.save(tmp_path / "b.png", transparency=0)
    assert read_picture(tmp_path / "b.png").tolist() == [[[255, 255, 255], [200, 100, 50]]]


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, lambda a: a.swapaxes(0, 1)[:, ::-1]),
        (7, lambda a: a[::-1, ::-1].swapaxes(0, 1)),
        (8, lambda a: a.swapaxes(0, 1)[::-1]),
        (99, lambda a: a),
    ],
)
def test_pictures_are_turned_as_exif_says(
    tmp_path: Path, rng: np.random.Generator, orientation: int, turn: Callable[[np.ndarray], np.ndarray]
) -> None:
    """From the EXIF standard: which side of the scene the first row and the first column of the file are."""
    values = rng.integers(0, 256, (4, 7, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", values, exif=exif)
    np.testing.assert_array_equal(read_picture(path), turn(values))
    assert picture_size(path) == turn(values).shape[:2]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_an_exif_that_cannot_be_read_is_none(tmp_path: Path, rng: np.random.Generator) -> None:
    values = rng.integers(0, 256, (4, 7, 3), dtype=np.uint8)
    path = save(tmp_path / "a.jpg", values, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert read_picture(path).shape == (4, 7, 3) and picture_size(path) == (4, 7)


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (50, 50), (11, 90), (7, 7)])
def test_the_short_side_is_brought_to_a_size_and_the_middle_cut_out(tmp_path: Path, shape: tuple[int, int]) -> None:
    """A ramp from the top left: after resizing still a ramp, whose middle is that of the picture."""
    H, W = shape
    rows, columns = np.mgrid[:H, :W]
    values = np.stack([rows * 255 / (H - 1), columns * 255 / (W - 1), rows * 0], axis=-1).round().astype(np.uint8)
    found = read_picture(save(tmp_path / "a.png", values), (20, 10)).astype(float)
    assert found.shape == (20, 10, 3)
    scale = max(20 / H, 10 / W)
    for map_, (extent, kept, axis) in enumerate(((H, 20 / scale, 1), (W, 10 / scale, 0))):
        line = found[..., map_].mean(axis)
        wanted = 255 * kept / (extent - 1) * (1 - 1 / len(line))  # from the middle of the first to that of the last
        assert line.mean() == pytest.approx(127.5, abs=1.5)
        assert line[-1] - line[0] == pytest.approx(wanted, abs=0.12 * wanted)


def test_a_picture_that_has_the_size_is_left_as_it_is(tmp_path: Path, rng: np.random.Generator) -> None:
    values = rng.integers(0, 256, (4, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(read_picture(save(tmp_path / "a.png", values), (4, 7)), values)


def test_a_long_strip_takes_no_more_room_than_its_middle(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.zeros((1, 60_000, 3), np.uint8))
    assert read_picture(path, (2000, 10)).shape == (2000, 10, 3)


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims a size; its pixels are missing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def broken_files(rng: np.random.Generator) -> dict[str, bytes]:
    whole = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(whole, "JPEG")
    gif = io.BytesIO()
    Image.new("RGB", (5, 5)).save(gif, "GIF")
    return {
        "cut.jpg": whole.getvalue()[:-60],
        "empty.jpg": b"",
        "text.png": b"not a picture",
        "gif.png": gif.getvalue(),
        "hollow.png": png_of(30, 30),
        "warned.png": png_of(10_000, 10_000),
        "bomb.png": png_of(60_000, 60_000),
    }


def test_what_is_no_picture_is_named(tmp_path: Path, rng: np.random.Generator) -> None:
    for name, content in broken_files(rng).items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(BrokenPicture) as caught:
            read_picture(path)
        assert str(path) in str(caught.value)
        if name in ("warned.png", "bomb.png"):
            assert "pixels" in str(caught.value)
        if name == "gif.png":
            assert "it is none of JPEG, PNG" in str(caught.value)


def test_without_pillow_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from gpunet.data import picture

    path = save(tmp_path / "a.png", np.zeros((2, 2), np.uint8))
    picture._pillow.cache_clear()
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match="pip install pillow"):
        read_picture(path)
    picture._pillow.cache_clear()


@pytest.mark.parametrize("text", ["", "224", "x", "0x5", "5x0", "-3x5", "2.5x3", "70000x3", "224x224x3", "²x3"])
def test_a_size_is_height_x_width(text: str) -> None:
    with pytest.raises(DataError, match="like 224x224"):
        parse_size(text)
    assert parse_size("224x192") == (224, 192)


# -- a folder --------------------------------------------------------------------------------------


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
    assert f"7 broken files skipped, like {photos / 'train/ant/bomb.png'}" in data.note
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


# -- batches ahead ---------------------------------------------------------------------------------


class Slow:
    """A split whose images are their indices; it counts what is asked for and takes its time, out of order."""

    resizes = False
    shape = (1, 1, 1)

    def __init__(self, n: int, bad: int = -1) -> None:
        self.labels = np.arange(n, dtype=np.int32)
        self.bad = bad
        self.taken: list[int] = []
        self.lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with self.lock:
            self.taken += indices.tolist()
        time.sleep(random.random() * 0.004)
        if self.bad in indices:
            raise DataError(f"picture {self.bad} is broken")
        return indices.astype(np.float32).reshape(-1, 1, 1, 1), self.labels[indices]


@pytest.mark.parametrize(("workers", "ahead", "batch"), [(0, 2, 7), (1, 1, 7), (2, 3, 1), (5, 2, 13), (3, 1, 64)])
def test_batches_come_in_the_order_asked_for_whatever_the_threads_do(workers: int, ahead: int, batch: int) -> None:
    split = Slow(50)
    order = list(batches(50, batch, seed=1, epoch=2))
    found = list(loader(split, iter(order), workers, ahead))
    assert [labels.tolist() for _, labels in found] == [indices.tolist() for indices in order]
    assert all((images[:, 0, 0, 0] == labels).all() for images, labels in found)
    assert sorted(split.taken) == list(range(50))


def test_no_more_batches_are_begun_than_are_asked_for_ahead() -> None:
    split = Slow(1000)
    order = (np.arange(first, first + 10) for first in range(0, 1000, 10))
    source = loader(split, order, workers=4, ahead=2)
    for done in range(1, 6):
        next(source)
        time.sleep(0.02)
        assert len(split.taken) <= (done + 2) * 10
    source.close()
    taken = len(split.taken)
    time.sleep(0.02)
    assert len(split.taken) == taken and not [t for t in threading.enumerate() if t.name.startswith("gpunet-data")]


def test_an_error_arrives_where_its_batch_would_have() -> None:
    source = loader(Slow(40, bad=25), (np.arange(first, first + 10) for first in range(0, 40, 10)), 3, 2)
    assert next(source)[1][0] == 0 and next(source)[1][0] == 10
    with pytest.raises(DataError, match="picture 25"):
        next(source)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gpunet-data")]


def test_ctrl_c_leaves_no_thread_behind() -> None:
    def order():  # type: ignore[no-untyped-def]
        yield np.arange(10)
        yield np.arange(10)
        raise KeyboardInterrupt

    source = loader(Slow(40), order(), 3, 1)
    next(source)
    with pytest.raises(KeyboardInterrupt):
        next(source)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gpunet-data")]


def test_images_in_memory_need_no_threads(rng: np.random.Generator) -> None:
    split = Split(rng.integers(0, 256, (9, 2, 2, 1), dtype=np.uint8), np.arange(9))
    source = loader(split, [np.array([3, 1])], workers=4)
    np.testing.assert_array_equal(next(source)[0], split.images[[3, 1]])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gpunet-data")]


def test_pictures_come_the_same_with_any_number_of_workers(photos: Path) -> None:
    split = load(photos, size="4x4").train
    assert isinstance(split, FileSplit)
    order = list(batches(7, 3, seed=0, epoch=1))
    runs = [list(loader(split, order, workers)) for workers in (0, 1, 4)]
    for run in runs[1:]:
        for (images, labels), (other, others) in zip(runs[0], run, strict=True):
            np.testing.assert_array_equal(images, other)
            np.testing.assert_array_equal(labels, others)
