"""Pictures of no data set: which files are meant, and what a net is given of them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpunet.data import digits, load
from gpunet.data.loose import find_pictures, read_in_batches, read_loose
from gpunet.data.picture import BrokenPicture, grey, read_picture
from gpunet.data.synthetic import synthetic
from gpunet.errors import DataError


def save(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def test_a_folder_means_all_pictures_below_it_in_order(tmp_path: Path) -> None:
    dot = np.zeros((1, 1), np.uint8)
    wanted = [save(tmp_path / name, dot) for name in ("in/b.png", "in/Z/a.PNG", "in/z/2/c.bmp")]
    for name in ("in/.hidden.png", "in/.git/d.png"):
        save(tmp_path / name, dot)
    (tmp_path / "in" / "notes.txt").write_text("")
    alone = tmp_path / "in" / "notes.txt"  # a file that is named is meant, whatever it is called
    assert find_pictures([str(tmp_path / "in"), str(alone)]) == ([*wanted, alone], {".txt": 1})


def test_nothing_to_find_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.heic").touch()
    for paths, words in (
        ([], "no picture was given"),
        ([str(tmp_path)], f"{tmp_path} holds no picture .*, but 1 .heic"),
        (["a\0b"], "a path with a NUL"),
        ([""], "an empty path"),
    ):
        with pytest.raises(DataError, match=words):
            find_pictures(paths)


def test_a_picture_takes_size_and_depth_of_the_net(tmp_path: Path, rng: np.random.Generator) -> None:
    path = save(tmp_path / "a.png", rng.integers(0, 256, (9, 14, 3), np.uint8))
    see_through = save(tmp_path / "b.png", rng.integers(0, 256, (9, 14, 4), np.uint8))
    one = save(tmp_path / "c.png", rng.integers(0, 256, (4, 5), np.uint8))
    np.testing.assert_array_equal(read_loose(path, (6, 5, 3)), read_picture(path, (6, 5)))
    np.testing.assert_array_equal(read_loose(see_through, (6, 5, 1)), grey(read_picture(see_through, (6, 5))))
    np.testing.assert_array_equal(read_loose(one, (4, 5, 1))[..., 0], np.asarray(Image.open(one)))
    assert read_loose(one, (4, 5, 3)).shape == (4, 5, 3)
    with pytest.raises(DataError, match="the net takes 4"):
        read_loose(path, (6, 5, 4))


def test_pictures_of_digits_are_the_digits_whether_stretched_or_not(tmp_path: Path) -> None:
    images = digits().test.take(np.arange(20))[0]
    for number, image in enumerate(images[..., 0]):
        raw = save(tmp_path / f"{number}.png", image)
        stretched = save(tmp_path / f"{number}w.png", np.rint(image * (255 / 16)).astype(np.uint8))
        for path in (raw, stretched):
            np.testing.assert_array_equal(read_loose(path, (8, 8, 1), 16)[..., 0], image)


def test_batches_hold_each_picture_or_what_is_wrong_with_it(tmp_path: Path, rng: np.random.Generator) -> None:
    paths = [save(tmp_path / f"{n}.png", rng.integers(0, 256, (3, 3), np.uint8)) for n in range(5)]
    paths[1].write_bytes(paths[1].read_bytes()[:40])
    paths.insert(3, tmp_path / "missing.png")
    groups = list(read_in_batches(paths, (3, 3, 1), 4))
    assert [len(group) for group in groups] == [4, 2]
    found = [entry for group in groups for entry in group]
    assert [path for path, _ in found] == paths
    for at, (path, read) in enumerate(found):
        if at in (1, 3):
            assert isinstance(read, BrokenPicture if at == 1 else DataError) and str(path) in str(read)
        else:
            np.testing.assert_array_equal(read, read_loose(path, (3, 3, 1)))


def test_folders_of_pictures_become_grey_for_a_net_of_one_map(tmp_path: Path, rng: np.random.Generator) -> None:
    for number in range(12):
        values = rng.integers(0, 256, (4, 4, 3), np.uint8)
        save(tmp_path / "photos" / ("train", "test")[number % 3 == 0] / "ab"[number % 2] / f"{number}.png", values)
    data = load(tmp_path / "photos", shape=(4, 4, 1))
    assert data.train.shape == data.test.shape == (4, 4, 1)
    images, _ = data.test.take(np.array([0]))
    np.testing.assert_array_equal(images[0], grey(read_picture(tmp_path / "photos" / "test" / "a" / "0.png")))
    assert load(tmp_path / "photos").train.shape == (4, 4, 3)


def test_data_sets_say_what_is_white() -> None:
    assert digits().white == digits().train.take(np.arange(1437))[0].max() == 16
    assert synthetic((2, 2, 1), 2, 0).white == 255
