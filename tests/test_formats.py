"""Each format of a data set: files written from its description come back as the images that they hold."""

import gzip
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from gpunet.data import Dataset, load
from gpunet.data.find import KNOWN
from gpunet.data.sources import SOURCES
from gpunet.errors import DataError
from tests import data_files


def same(data: Dataset, images: np.ndarray, labels: list[int], tested: int) -> None:
    """All but the last `tested` are learnt from, in their order."""
    found = [split.take(np.arange(len(split))) for split in (data.train, data.test)]
    np.testing.assert_array_equal(found[0][0], images[:-tested])
    np.testing.assert_array_equal(found[1][0], images[-tested:])
    assert [*found[0][1].tolist(), *found[1][1].tolist()] == labels
    assert found[0][0].dtype == np.uint8 and found[0][1].dtype == np.int32


def refusal(what: object, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        load(str(what), **options)
    return str(caught.value)


# -- CIFAR -----------------------------------------------------------------------------------------


def test_cifar10_binary(tmp_path: Path, rng: np.random.Generator) -> None:
    images, labels = data_files.some(rng, 6, 32, 32, 10)
    data_files.write_cifar10(tmp_path, images, labels)
    data = load(tmp_path)
    same(data, images, labels, 1)
    assert data.name == "CIFAR-10" and data.classes == tuple(data_files.TEN)


def test_cifar100_binary_learns_the_fine_labels(tmp_path: Path, rng: np.random.Generator) -> None:
    images, labels = data_files.some(rng, 5, 32, 32, 100)
    data_files.write_cifar100(tmp_path, images, labels)
    data = load(tmp_path)
    same(data, images, labels, 1)
    assert data.classes == tuple(data_files.HUNDRED)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_cifar10_python_of_every_protocol_that_numpy_arrays_are_written_in(
    tmp_path: Path, rng: np.random.Generator, protocol: int
) -> None:
    images, labels = data_files.some(rng, 6, 32, 32, 10)
    data_files.write_cifar10_python(tmp_path, images, labels, protocol)
    data = load(tmp_path)
    same(data, images, labels, 1)
    assert data.classes == tuple(data_files.TEN)


def test_cifar10_as_python_2_wrote_it(tmp_path: Path, rng: np.random.Generator) -> None:
    images, labels = data_files.some(rng, 12, 32, 32, 10)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for name, at in zip(names, range(0, 12, 2), strict=True):
        pixels = b"".join(map(data_files.planes, images[at : at + 2]))
        (tmp_path / name).write_bytes(data_files.python_2_pickle(pixels, labels[at : at + 2]))
    data = load(tmp_path)
    same(data, images, labels, 2)
    assert data.classes == ()


def test_cifar100_python(tmp_path: Path, rng: np.random.Generator) -> None:
    images, labels = data_files.some(rng, 4, 32, 32, 100)
    data_files.write_cifar100_python(tmp_path, images, labels)
    data = load(tmp_path)
    same(data, images, labels, 1)
    assert data.classes == tuple(data_files.HUNDRED)


def test_a_cifar_that_lacks_a_file_is_cut_short_or_has_strange_labels_is_told(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    data_files.write_cifar10(tmp_path, *data_files.some(rng, 6, 32, 32, 10))
    third = tmp_path / "data_batch_3.bin"
    whole = third.read_bytes()
    third.write_bytes(whole[:-1])
    assert f"{third} has 3,072 bytes" in refusal(tmp_path)
    third.write_bytes(b"\x0a" + whole[1:])
    assert f"{third}: label 10 of image 0 is out of range" in refusal(tmp_path)
    third.write_bytes(b"")
    assert "has 0 bytes" in refusal(tmp_path)
    third.unlink()
    assert "has no file data_batch_3.bin" in refusal(tmp_path)
    third.mkdir()
    assert "has no file data_batch_3.bin" in refusal(tmp_path)


def test_names_that_are_not_as_many_as_the_classes_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    data_files.write_cifar10(tmp_path, *data_files.some(rng, 6, 32, 32, 10))
    (tmp_path / "batches.meta.txt").write_text("cat\ndog\x1b[2J\n")
    assert "names 2 classes instead of 10" in refusal(tmp_path)
    (tmp_path / "batches.meta.txt").write_text("cat\ndog\x1b[2J\n" + "x\n" * 8)
    assert load(tmp_path).classes[:2] == ("cat", r"dog\x1b[2J")


@pytest.mark.parametrize("name", ["x" * 101, b"x" * 101, 3, None, [["a", "b"]] * 2, {"a": "b"}])
def test_names_in_a_pickle_that_are_no_short_texts_are_refused(
    tmp_path: Path, rng: np.random.Generator, name: object
) -> None:
    data_files.write_cifar10_python(tmp_path, *data_files.some(rng, 6, 32, 32, 10))
    meta = tmp_path / "batches.meta"
    meta.write_bytes(pickle.dumps({"label_names": ["x" * 100, b"y", *"abcdefg", name]}, 2))
    assert f"{meta}: 'label_names' must be a list of 10 names of at most 100 letters" in refusal(tmp_path)


def test_names_in_a_pickle_of_more_than_a_mebibyte_are_not_read(tmp_path: Path, rng: np.random.Generator) -> None:
    data_files.write_cifar10_python(tmp_path, *data_files.some(rng, 6, 32, 32, 10))
    meta = tmp_path / "batches.meta"
    meta.write_bytes(meta.read_bytes() + bytes(1 << 20))
    assert f"{meta} has " in refusal(tmp_path) and "more than the 1,048,576" in refusal(tmp_path)


# -- STL-10 ----------------------------------------------------------------------------------------


def test_stl10_binary(tmp_path: Path, rng: np.random.Generator) -> None:
    images, labels = data_files.some(rng, 5, 96, 96, 10)
    data_files.write_stl10(tmp_path, images, labels, 2)
    data = load(tmp_path)
    same(data, images, labels, 2)
    assert data.classes == tuple(data_files.TEN)


def test_stl10_labels_from_1_to_10_as_many_as_images(tmp_path: Path, rng: np.random.Generator) -> None:
    data_files.write_stl10(tmp_path, *data_files.some(rng, 3, 96, 96, 10), 1)
    (tmp_path / "train_y.bin").write_bytes(b"\x01\x00")
    assert "label 0 of image 1 is out of range" in refusal(tmp_path)
    (tmp_path / "train_y.bin").write_bytes(b"\x01")
    assert "train_X.bin has 2 images, train_y.bin 1 labels" in refusal(tmp_path)


# -- idx -------------------------------------------------------------------------------------------


def write_idx(folder: Path, images: np.ndarray, labels: list[int], dot: str = "-", packed: bool = False) -> None:
    for which, part in (("train", slice(None, -2)), ("t10k", slice(-2, None))):
        for what, values in (("images", images[part]), ("labels", np.array(labels[part], np.uint8))):
            content = data_files.idx(values)
            name = f"{which}-{what}{dot}idx{values.ndim}-ubyte"
            (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("packed", [False, True])
def test_idx_gzipped_or_not(tmp_path: Path, rng: np.random.Generator, dot: str, packed: bool) -> None:
    images, labels = rng.integers(0, 256, (7, 3, 5), dtype=np.uint8), rng.integers(0, 10, 7).tolist()
    write_idx(tmp_path, images, labels, dot, packed)
    data = load(tmp_path)
    same(data, images[..., None], labels, 2)
    assert data.classes == ()


def test_idx_with_names_for_its_labels_and_for_more(tmp_path: Path) -> None:
    write_idx(tmp_path, np.ones((7, 3, 5), np.uint8), [0, 1, 1, 0, 0, 1, 2])
    names = tmp_path / "class_names.txt"
    for given in (["shirt", "shoe", "bag"], ["shirt", "shoe", "bag", "boot"]):
        names.write_text("\n".join(given))
        assert load(tmp_path).classes == tuple(given)
    for text, count in (("shirt\nshoe\n\n", 2), ("", 0)):
        names.write_text(text)
        assert f"{names} names {count} classes; the labels go up to 2, which takes 3 names" in refusal(tmp_path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "begins with nothing"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x00", "not 00 00 08 03"),
        (b"\x00\x00\x0d\x03" + bytes(12), "begins with 00 00 0d 03"),
        (b"\x00\x00\x08\x03\x00\x00", "ends within its header"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12 + b"abc", "more than the file can hold"),
        (data_files.idx(np.zeros((2, 3, 5), np.uint8)) + b"x", "30 values; there are more"),
        (data_files.idx(np.zeros((0, 3, 5), np.uint8)), "none of them 0"),
    ],
)
def test_a_damaged_idx_is_refused(tmp_path: Path, packed: bool, content: bytes, words: str) -> None:
    write_idx(tmp_path, np.zeros((7, 3, 5), np.uint8), [0] * 7)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(gzip.compress(content) if packed else content)
    message = refusal(tmp_path)
    assert words in message and str(path) in message


def test_a_gzip_that_is_cut_or_damaged_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    write_idx(tmp_path, rng.integers(0, 256, (7, 3, 5), dtype=np.uint8), [0] * 7, packed=True)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    for wrong in (whole[:-9], whole[:12], whole[:-8] + bytes(8), b"\x1f\x8b\x08"):
        path.write_bytes(wrong)
        assert f"{path} is cut short, damaged" in refusal(tmp_path)
    path.unlink()
    assert "has no file t10k-images-idx3-ubyte" in refusal(tmp_path)


# -- NumPy arrays ----------------------------------------------------------------------------------


def test_arrays_in_a_folder(tmp_path: Path, rng: np.random.Generator) -> None:
    images, labels = data_files.some(rng, 5, 7, 3, 4)
    parts = {"images": images[:3], "labels": labels[:3], "test_images": images[3:], "test_labels": labels[3:]}
    for name, values in parts.items():
        np.save(tmp_path / f"{name}.npy", values)
    same(load(tmp_path), images, labels, 2)
    np.save(tmp_path / "images.npy", np.asfortranarray(images[:3]))
    same(load(tmp_path), images, labels, 2)
    (tmp_path / "test_labels.npy").unlink()
    assert "no array 'test_labels'; it holds images, labels, test_images" in refusal(tmp_path)
    (tmp_path / "labels.npy").write_bytes((tmp_path / "labels.npy").read_bytes()[:-1])
    assert f"{tmp_path / 'labels.npy'} is cut short" in refusal(tmp_path)


def test_arrays_in_a_folder_with_names(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.ones((5, 3, 4), np.uint8))
    np.save(tmp_path / "labels.npy", [0, 0, 0, 0, 2])
    names = tmp_path / "class_names.txt"
    names.write_text("cat\ndog\nfox\n")
    assert load(tmp_path).classes == ("cat", "dog", "fox")
    names.write_text("cat\ndog\n")
    assert f"{names} names 2 classes; the labels go up to 2, which takes 3 names" in refusal(tmp_path)


@pytest.mark.parametrize("dtype", [">f4", ">f8"])
def test_arrays_of_the_other_byte_order_come_back_in_the_order_of_this_machine(
    tmp_path: Path, rng: np.random.Generator, dtype: str
) -> None:
    images = rng.standard_normal((5, 3, 4, 2)).astype(dtype)
    test = {"test_images": images[:1], "test_labels": np.array([1])}
    np.savez(tmp_path / "set.npz", images=images, labels=np.array([1, 0, 2, 0, 1], ">i8"), **test)
    data = load(tmp_path / "set.npz")
    np.testing.assert_array_equal(data.train.take(np.arange(5))[0], images)
    assert data.train.take(np.arange(4))[0].dtype == images.dtype.newbyteorder("=")
    assert data.train.labels.tolist() == [1, 0, 2, 0, 1]


def test_an_npz_of_other_names_is_told_with_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, x=np.ones(3), y=np.ones(3))
    assert f"{path} has no array 'images'; it holds x, y; write one with" in refusal(path)
    np.savez(path, **{f"a{number}": np.ones(1) for number in range(9)})
    assert "it holds a0, a1, a2, a3, a4 and 4 more" in refusal(path)


@pytest.mark.parametrize("labels", [["cat", "dog"], [None, {}], [b"cat", b"dog"], np.zeros(2, [("a", "<f4")])])
def test_labels_that_are_no_numbers_are_told(tmp_path: Path, labels: object) -> None:
    arrays = {"images": np.ones((2, 3, 4), np.uint8), "labels": np.array(labels)}
    path = tmp_path / "set.npz"
    np.savez(path, **arrays)
    assert f"{path}: labels.npy is no array of plain numbers; its header says" in refusal(path)
    assert repr(np.lib.format.dtype_to_descr(arrays["labels"].dtype)) in refusal(path).replace('"', "'")
    for name, values in arrays.items():
        np.save(tmp_path / f"{name}.npy", values)
    assert f"{tmp_path / 'labels.npy'} is no array of plain numbers" in refusal(tmp_path)


def test_a_white_beside_the_arrays_is_that_of_the_data_set(tmp_path: Path) -> None:
    arrays = {"images": np.ones((5, 3, 4), np.uint8), "labels": np.arange(5)}
    np.savez(tmp_path / "set.npz", **arrays)
    assert load(tmp_path / "set.npz").white == 255
    np.savez(tmp_path / "set.npz", **arrays, white=16)
    assert load(tmp_path / "set.npz").white == 16
    for name, values in (arrays | {"white": np.array([16], np.uint8)}).items():
        np.save(tmp_path / f"{name}.npy", values)
    assert load(tmp_path).white == 16


@pytest.mark.parametrize(("white", "shown"), [(0, "0"), (256, "256"), (16.0, "16.0"), ([1, 2], "int64 of shape (2,)")])
def test_a_white_that_is_no_value_of_a_pixel_is_refused(tmp_path: Path, white: object, shown: str) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, images=np.ones((5, 3, 4), np.uint8), labels=np.arange(5), white=white)
    assert f"{path}: white must be one integer from 1 to 255; got {shown}" in refusal(path)


def test_a_white_that_pixels_are_above_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=np.full((5, 3, 4), 140, np.uint8), labels=np.arange(5), white=16)
    assert "white is 16, but images have values up to 140" in refusal(tmp_path / "set.npz")


@pytest.mark.parametrize("value", [1e300, -1e39])
def test_values_that_are_infinite_in_float32_are_told_with_the_image(tmp_path: Path, value: float) -> None:
    images = np.ones((5, 3, 4))
    images[3, 2, 1] = value
    np.savez(tmp_path / "set.npz", images=images, labels=np.arange(5))
    message = refusal(tmp_path / "set.npz")
    assert "image 3 holds NaN, infinite values or values too large for float32" in message and "set.npz" in message


# -- synthetic -------------------------------------------------------------------------------------


def test_synthetic_images_depend_on_seed_and_index_alone() -> None:
    data = load("synthetic", shape=(9, 7, 2), classes=3, seed=4)
    images, labels = data.train.take(np.array([5, 900, 5]))
    assert images.shape == (3, 9, 7, 2) and images.dtype == np.uint8 and data.train.shape == (9, 7, 2)
    np.testing.assert_array_equal(images[0], images[2])
    again = load("synthetic", shape=(9, 7, 2), classes=3, seed=4).train.take(np.array([900]))
    np.testing.assert_array_equal(images[1], again[0][0])
    assert labels[1] == again[1][0]
    other = load("synthetic", shape=(9, 7, 2), classes=3, seed=5).train.take(np.array([900]))[0]
    assert (other != again[0]).any()
    assert (data.test.take(np.array([5]))[0] != images[:1]).any()


def test_synthetic_classes_are_equally_many_and_can_be_told_apart() -> None:
    data = load("synthetic", shape=(8, 8, 1), classes=7)
    assert np.ptp(np.bincount(data.train.labels, minlength=7)) <= 1
    images, labels = (part.astype(float) for part in data.train.take(np.arange(1000)))
    means = np.array([images[labels == k].mean(0) for k in range(7)])
    tested, wanted = data.test.take(np.arange(200))
    distances = ((tested[:, None] - means) ** 2).sum((2, 3, 4))
    assert (distances.argmin(1) == wanted).mean() > 0.95
    data.require((8, 8, 1), 7)


# -- what is found ---------------------------------------------------------------------------------


def test_what_cannot_be_recognized_is_told_with_what_is_known(tmp_path: Path) -> None:
    message = refusal(tmp_path)
    assert "it holds nothing" in message and KNOWN in message
    for name in "abcdefg":
        (tmp_path / name).touch()
    assert "it holds a, b, c, d, e and 2 more" in refusal(tmp_path)
    assert "is no .npz file" in refusal(tmp_path / "a") or "is empty" in refusal(tmp_path / "a")


def test_a_data_set_one_level_down_and_one_that_is_to_be_fetched_are_pointed_at(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "cifar-10-batches-bin"
    inner.mkdir()
    data_files.write_cifar10(inner, *data_files.some(rng, 6, 32, 32, 10))
    assert f"but {inner} is: give --data {inner}" in refusal(tmp_path)
    assert f"give the folder that it lies in: --data {inner}" in refusal(inner / "data_batch_1.bin")
    monkeypatch.chdir(tmp_path)
    for name in SOURCES:
        assert f"gpunet data {name} --to data" in refusal(name)


def test_options_for_pictures_are_refused_elsewhere(tmp_path: Path) -> None:
    assert "--size is for pictures in folders" in refusal("digits", size="8x8")
    np.savez(tmp_path / "x.npz", images=np.zeros((2, 3, 3), np.uint8), labels=[0, 1])
    assert "--skip-broken is for pictures in folders" in refusal(tmp_path / "x.npz", skip_broken=True)
    assert "there is no file" in refusal(tmp_path / "gone.npz", size="8x8")
    assert "no such file" in refusal("gone", size="8x8")
    with pytest.raises(DataError, match="no such file"):
        load("a\0b")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
def test_a_pipe_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.npz")
    assert "no regular file" in refusal(tmp_path / "x.npz")


def test_more_classes_than_the_net_tells_apart(tmp_path: Path, rng: np.random.Generator) -> None:
    data_files.write_cifar10(tmp_path, *data_files.some(rng, 6, 32, 32, 3))
    with pytest.raises(DataError, match=r"has 10 classes \(thing 0, .* 4, \.\.\.\); .* 5 apart; end the net in FC-10"):
        load(tmp_path).require((32, 32, 3), 5)
