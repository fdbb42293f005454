"""Data sets: what is accepted, what is refused and in which words, and the order of batches."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from gpunet.data import Dataset, Split, batches, digits, load, load_npz
from gpunet.errors import DataError


@pytest.fixture
def arrays(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Eleven images of odd sizes."""
    return {
        "images": rng.integers(0, 256, (11, 5, 7, 3), dtype=np.uint8),
        "labels": rng.integers(0, 4, 11),
    }


def write(folder: Path, **arrays: np.ndarray) -> Path:
    path = folder / "set.npz"
    np.savez(path, **arrays)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_npz(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


# -- digits ----------------------------------------------------------------------------------------


def test_the_digits_are_the_uci_test_set_in_its_order() -> None:
    data = digits()
    images = np.concatenate([data.train.images, data.test.images])
    labels = np.concatenate([data.train.labels, data.test.labels])
    assert images.shape == (1797, 8, 8, 1) and images.dtype == np.uint8
    # the first line of optdigits.tes: a nought
    assert images[0, 1].ravel().tolist() == [0, 0, 13, 15, 10, 15, 5, 0] and labels[0] == 0
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert int(images.max()) == 16


def test_the_last_360_digits_are_tested_on() -> None:
    data = digits()
    assert (len(data.train), len(data.test)) == (1437, 360)
    whole = np.load(Path(load.__code__.co_filename).with_name("digits.npz"))
    np.testing.assert_array_equal(data.test.images[..., 0], whole["images"][1437:])
    np.testing.assert_array_equal(data.train.labels, whole["labels"][:1437])


def test_digits_are_found_by_name_and_other_names_are_told_apart_from_files(tmp_path: Path) -> None:
    assert load("digits").name == "digits"
    with pytest.raises(DataError, match=r"no data set called 'cifar11'.*digits.*\.npz"):
        load("cifar11")
    with pytest.raises(DataError, match="there is no file"):
        load(str(tmp_path / "cifar11.npz"))


def test_a_picture_is_told_from_a_data_set(tmp_path: Path) -> None:
    for name in ("photo.jpg", "photo.PNG"):
        (tmp_path / name).touch()
        with pytest.raises(DataError, match=rf"{name} is one picture; a data set is a folder of them: train/<class>"):
            load(tmp_path / name)


# -- npz files -------------------------------------------------------------------------------------


def test_an_npz_comes_back_as_written_with_its_test_split(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    test = {"test_images": arrays["images"][:4], "test_labels": arrays["labels"][:4].astype(np.uint8)}
    data = load_npz(write(tmp_path, **arrays, **test))
    np.testing.assert_array_equal(data.train.images, arrays["images"])
    np.testing.assert_array_equal(data.train.labels, arrays["labels"])
    np.testing.assert_array_equal(data.test.images, arrays["images"][:4])
    assert data.test.labels.dtype == np.int32 and data.note == "" and data.train.shape == (5, 7, 3)


def test_without_a_test_split_a_fifth_of_the_images_is_tested_on_and_the_note_says_so(
    tmp_path: Path, arrays: dict[str, np.ndarray]
) -> None:
    data = load_npz(write(tmp_path, **arrays))
    assert (len(data.train), len(data.test)) == (9, 2) and "a fifth of each class, 2 of 11 images" in data.note
    found = np.concatenate([split.take(np.arange(len(split)))[0] for split in (data.train, data.test)])
    assert sorted(image.tobytes() for image in found) == sorted(image.tobytes() for image in arrays["images"])


def test_images_without_a_depth_have_one_map(tmp_path: Path, rng: np.random.Generator) -> None:
    images = rng.standard_normal((6, 3, 5))
    data = load_npz(write(tmp_path, images=images, labels=np.zeros(6, int)))
    assert data.train.shape == (3, 5, 1) and data.train.take(np.arange(1))[0].dtype == np.float64


def test_a_missing_file_a_folder_and_an_empty_file_are_named(tmp_path: Path) -> None:
    assert "there is no file" in refusal(tmp_path / "no.npz")
    assert "cannot read" in refusal(tmp_path)
    (tmp_path / "empty.npz").touch()
    assert "is empty" in refusal(tmp_path / "empty.npz")


def test_what_is_no_npz_is_told_from_a_single_array(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    (tmp_path / "text.npz").write_text("images, labels\n")
    assert "is no .npz file" in refusal(tmp_path / "text.npz")
    np.save(tmp_path / "one.npy", arrays["images"])
    assert "single array; write one with numpy.savez" in refusal(tmp_path / "one.npy")


@pytest.mark.parametrize("fraction", [0.001, 0.3, 0.9, 0.999])
def test_a_truncated_npz_is_refused_wherever_it_is_cut(
    tmp_path: Path, arrays: dict[str, np.ndarray], fraction: float
) -> None:
    path = write(tmp_path, **arrays)
    whole = path.read_bytes()
    path.write_bytes(whole[: max(2, int(len(whole) * fraction))])
    assert "cut short, damaged" in refusal(path)


def test_a_flipped_byte_in_an_array_is_seen(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    path = write(tmp_path, **arrays)
    whole = bytearray(path.read_bytes())
    whole[whole.index(arrays["images"].tobytes()) + 100] ^= 1
    path.write_bytes(whole)
    assert "damaged" in refusal(path)


def test_an_array_that_claims_more_than_it_holds_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    import io

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**50, 5, 7, 3)})
    with zipfile.ZipFile(tmp_path / "claims.npz", "w") as file:
        file.writestr("images.npy", header.getvalue())
    assert "which its 128 bytes are not" in refusal(tmp_path / "claims.npz")


def test_nothing_is_unpickled(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "harmed",))  # type: ignore[return-value]

    path = write(tmp_path, images=arrays["images"], labels=np.array([Harm()] * 11, object))
    assert f"{path}: labels.npy is no array of plain numbers" in refusal(path)
    assert not (tmp_path / "harmed").exists()


def test_missing_arrays_are_named_beside_those_there_are(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    assert "no array 'labels'; it holds images" in refusal(write(tmp_path, images=arrays["images"]))
    assert "no array 'images'; it holds nothing" in refusal(write(tmp_path))
    message = refusal(write(tmp_path, **arrays, test_images=arrays["images"]))
    assert "no array 'test_labels'; it holds images, labels, test_images" in message


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"labels": np.zeros(10, int)}, r"11 images need labels of shape \(11,\); got \(10,\)"),
        ({"labels": np.zeros((11, 1), int)}, r"got \(11, 1\)"),
        ({"labels": np.zeros(11)}, "labels must be integers from 0; got float64"),
        ({"labels": np.array([0] * 7 + [-2] + [0] * 3)}, "label -2 of image 7 is out of range"),
        ({"labels": np.array([0] * 7 + [2**40] + [0] * 3)}, "label 1099511627776 of image 7 is out of range"),
        ({"images": np.zeros((11, 5), np.uint8)}, r"must have the shape \(n, H, W, D\).*got \(11, 5\)"),
        ({"images": np.zeros((0, 5, 7, 3), np.uint8)}, "none of them 0"),
        ({"images": np.zeros((11, 5, 7, 3), np.int64)}, "uint8 .*float32 or float64; got int64"),
        (
            {"images": np.where(np.arange(11)[:, None, None, None] == 6, np.nan, np.ones((5, 7, 3)))},
            "image 6 holds NaN",
        ),
        ({"images": np.where(np.arange(11)[:, None, None, None] == 6, -np.inf, np.ones((5, 7, 3)))}, "image 6"),
        ({"images": np.zeros((1, 5, 7, 3), np.uint8), "labels": np.zeros(1, int)}, "holds one image"),
        (
            {"test_images": np.zeros((2, 7, 5, 3), np.uint8), "test_labels": np.zeros(2, int)},
            "5x7x3, those to test on 7x5x3",
        ),
        (
            {"test_images": np.zeros((2, 5, 7, 3), np.uint8), "test_labels": np.zeros(3, int)},
            "test_images, test_labels: 2 images need",
        ),
    ],
)
def test_unusable_arrays_are_refused_with_the_file_the_place_and_the_numbers(
    tmp_path: Path, arrays: dict[str, np.ndarray], changed: dict[str, np.ndarray], words: str
) -> None:
    path = write(tmp_path, **(arrays | changed))
    with pytest.raises(DataError, match=words):
        load_npz(path)
    refusal(path)


# -- a net's wishes --------------------------------------------------------------------------------


def test_a_net_with_another_input_or_fewer_classes_refuses_a_data_set(arrays: dict[str, np.ndarray]) -> None:
    labels = np.array([0, 1, 2, 3, 1, 0, 2, 1, 0, 2, 3])
    split = Split(arrays["images"], labels)
    data = Dataset("odd", split, split)
    data.require((5, 7, 3), 4)
    with pytest.raises(DataError, match=r"odd holds images of 5x7x3; the net takes 7x5x3.*--data"):
        data.require((7, 5, 3), 4)
    with pytest.raises(
        DataError, match=r"label 3 of image 3 to learn from is out of range; the net's 3 classes .* 0 to 2"
    ):
        data.require((5, 7, 3), 3)
    with pytest.raises(DataError, match="to test on"):
        Dataset("odd", Split(arrays["images"], labels % 3), split).require((5, 7, 3), 3)


def test_one_class_alone_is_refused(arrays: dict[str, np.ndarray]) -> None:
    split = Split(arrays["images"], np.full(11, 3))
    with pytest.raises(DataError, match="all images to learn from have label 3; there must be two classes or more"):
        Dataset("odd", split, split).require((5, 7, 3), 4)


def test_a_split_gives_the_images_asked_for_in_that_order_as_copies(arrays: dict[str, np.ndarray]) -> None:
    split = Split(**arrays)
    images, labels = split.take(np.array([9, 0, 4]))
    np.testing.assert_array_equal(images, arrays["images"][[9, 0, 4]])
    np.testing.assert_array_equal(labels, arrays["labels"][[9, 0, 4]])
    images[:] = 0
    assert split.images[9].any()


# -- batches ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "batch"), [(1, 1), (1, 5), (10, 3), (12, 4), (13, 20), (101, 7)])
def test_an_epoch_has_every_image_once_in_batches_of_the_size_asked_for(n: int, batch: int) -> None:
    parts = list(batches(n, batch, seed=3, epoch=5))
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))
    assert [len(part) for part in parts] == [batch] * (n // batch) + [n % batch] * (n % batch > 0)


def test_the_order_depends_on_seed_and_epoch_and_on_nothing_else() -> None:
    def order(seed: int, epoch: int, batch: int = 9) -> list[int]:
        return np.concatenate(list(batches(100, batch, seed, epoch))).tolist()

    first = order(1, 2)
    np.random.default_rng(0).permutation(100)  # what others draw does not matter
    assert order(1, 2) == first == order(1, 2, batch=100)
    others = [order(1, 3), order(2, 2), order(2, 1), sorted(first)]
    assert all(other != first for other in others)
