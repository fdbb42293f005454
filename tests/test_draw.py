"""Images set aside: of each class its share, by the seed; which data sets have such parts of their own."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpunet.data import Dataset, Split, digits, load
from gpunet.data.dataset import in_memory
from gpunet.data.draw import TESTED, VALIDATED, drawn, with_validation
from gpunet.data.share import Share, parse_share
from gpunet.errors import DataError

SORTED = np.repeat(np.arange(5), 20)
"""100 images sorted by class."""


def numbered(labels: np.ndarray) -> Split:
    """An image for each label, which holds its number."""
    return Split(np.arange(len(labels), dtype=np.float64).reshape(-1, 1, 1, 1), labels)


def numbers(split: object) -> list[int]:
    images, _ = split.take(np.arange(len(split)))  # type: ignore[attr-defined]
    return images.ravel().astype(int).tolist()


# -- how many ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "n", "count"),
    [
        ("10%", 100, 10),
        ("10%", 1437, 144),
        ("2.5 %", 1000, 25),
        ("1%", 5, 1),
        ("0%", 100, 0),
        (0, 100, 0),
        ("200", 1000, 200),
        (7, 10, 7),
        ("none", 100, 0),
        (" 12 ", 50, 12),
    ],
)
def test_a_share_is_so_many_images(text: object, n: int, count: int) -> None:
    assert parse_share(text).of(n) == count


@pytest.mark.parametrize("text", ["", "ten", "-1", -1, "10.5", "100%", "120%", "nan%", True, 0.1, None, [1], "1" * 10])
def test_what_is_no_share_is_refused_with_examples(text: object) -> None:
    with pytest.raises(DataError, match=r'write it like "10%" \(below 100%\), 200 \(images\) or 0 \(none\)'):
        parse_share(text)


# -- which ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_of_each_class_its_share_is_drawn_wherever_it_lies(seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat([0, 1, 2, 7], [40, 25, 10, 5]))
    found = drawn(labels, Share(20, percent=True), seed, TESTED)
    assert found.tolist() == sorted(set(found.tolist())) and len(found) == 16
    assert Counter(labels[found].tolist()) == {0: 8, 1: 5, 2: 2, 7: 1}


def test_shares_that_do_not_come_out_go_to_the_largest_rests(rng: np.random.Generator) -> None:
    sizes = np.array([33, 33, 33, 1])
    found = drawn(np.repeat(np.arange(4), sizes), Share(10), 0, TESTED)
    assert sorted(Counter(np.repeat(np.arange(4), sizes)[found].tolist()).values()) == [3, 3, 4]  # and none of the last
    for _ in range(50):
        sizes = rng.integers(1, 12, rng.integers(2, 6))
        labels, wanted = np.repeat(np.arange(len(sizes)), sizes), int(rng.integers(1, sizes.sum()))
        counts = np.bincount(labels[drawn(labels, Share(wanted), 1, TESTED)], minlength=len(sizes))
        assert (counts < sizes).all() and counts.sum() == min(wanted, (sizes - 1).sum())
        full = counts == sizes - 1
        assert (np.abs(counts - wanted * sizes / sizes.sum()) < 1)[~full].all() or full.any()


def test_the_seed_the_purpose_and_the_class_alone_say_which() -> None:
    def of_class_2(labels: np.ndarray, seed: int = 3, which: int = TESTED) -> list[int]:
        found = drawn(labels, Share(20, percent=True), seed, which)
        places = np.flatnonzero(labels == 2).tolist()
        return [places.index(index) for index in found.tolist() if labels[index] == 2]

    assert of_class_2(SORTED) == of_class_2(SORTED[::-1]) == of_class_2(np.repeat([0, 2], 20))
    assert of_class_2(SORTED) != of_class_2(SORTED, seed=4)
    assert of_class_2(SORTED) != of_class_2(SORTED, which=VALIDATED)


def test_labels_may_be_as_large_as_they_can_be() -> None:
    assert len(drawn(np.array([0, 2**31 - 1] * 5), Share(2), 0, TESTED)) == 2


# -- data sets -----------------------------------------------------------------------------------------------------


def test_what_is_set_aside_is_not_learnt_from() -> None:
    data = with_validation(Dataset("n", numbered(SORTED), numbered(SORTED)), "10%", seed=1)
    assert data.validation is not None and in_memory(data.train)
    chosen, learnt = numbers(data.validation), numbers(data.train)
    assert sorted(chosen + learnt) == list(range(100)) and len(chosen) == 10
    assert np.bincount(data.validation.labels).tolist() == [2] * 5
    assert data.counted == "90 images to learn from, 10 to validate with, 100 to test on"
    assert with_validation(Dataset("n", numbered(SORTED), numbered(SORTED)), 0, seed=1).validation is None


def test_more_than_there_is_and_classes_of_one_image_are_told() -> None:
    data = Dataset("few", numbered(np.array([0, 0, 1])), numbered(np.array([0])))
    with pytest.raises(DataError, match=r"few: 2 images cannot be set aside to validate with; there are 3.* 1 at most"):
        with_validation(data, 2, seed=0)
    lonely = with_validation(Dataset("few", numbered(np.array([0, 1])), numbered(np.array([0]))), "10%", seed=0)
    assert lonely.validation is None and "no class has two images" in lonely.note


def test_a_data_set_with_images_to_validate_with_keeps_them_or_leaves_them_alone() -> None:
    own = Dataset("own", numbered(SORTED), numbered(SORTED), validation=numbered(SORTED[:7]))
    assert with_validation(own, "10%", seed=0) is own
    left = with_validation(own, 0, seed=0)
    assert left.validation is None and "the 7 images to validate with are left alone" in left.note


def test_arrays_sorted_by_class_are_split_by_class(tmp_path: Path) -> None:
    images = np.arange(100, dtype=np.uint8).reshape(-1, 1, 1, 1)
    np.savez(tmp_path / "sorted.npz", images=images, labels=SORTED)
    folder = tmp_path / "folder"
    folder.mkdir()
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", SORTED)
    for path in (tmp_path / "sorted.npz", folder):
        data = load(path, seed=5)
        assert np.bincount(data.test.labels).tolist() == [4] * 5 and np.bincount(data.train.labels).tolist() == [16] * 5
        assert "a fifth of each class, 20 of 100 images drawn by the seed 5, is tested on" in data.note
        assert sorted(numbers(data.train) + numbers(data.test)) == list(range(100))
        assert numbers(load(path, seed=6).test) != numbers(data.test) == numbers(load(path, seed=5).test)
    np.savez(tmp_path / "one.npz", images=images[:3], labels=[0, 1, 2])
    assert (len(load(tmp_path / "one.npz").train), len(load(tmp_path / "one.npz").test)) == (2, 1)


def test_arrays_may_bring_images_to_validate_with(tmp_path: Path) -> None:
    images = np.arange(20, dtype=np.uint8).reshape(-1, 1, 1, 1)
    path = tmp_path / "own.npz"
    np.savez(path, images=images, labels=np.arange(20) % 2, val_images=images[:3], val_labels=[0, 1, 0])
    data = load(path)
    assert data.validation is not None and numbers(data.validation) == [0, 1, 2] and not data.has_test
    np.savez(path, images=images, labels=np.arange(20) % 2, val_images=images[:3])
    with pytest.raises(DataError, match="has no array 'val_labels'"):
        load(path)


def test_a_folder_val_beside_test_is_to_validate_with(tmp_path: Path) -> None:
    for part, count in (("train", 4), ("val", 2), ("test", 3)):
        for name in ("ant", "bee"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(np.full((2, 2, 3), number, np.uint8)).save(tmp_path / part / name / f"{number}.png")
    data = load(tmp_path, validation="10%")
    assert data.counted == "8 images to learn from, 4 to validate with, 6 to test on" and data.note == ""
    assert load(tmp_path).counted == data.counted and load(tmp_path, validation=0).validation is None


def test_pictures_without_a_test_folder_are_split_by_class(tmp_path: Path) -> None:
    for name, count in (("ant", 11), ("bee", 5)):
        (tmp_path / name).mkdir()
        for number in range(count):
            Image.fromarray(np.full((2, 2, 3), number, np.uint8)).save(tmp_path / name / f"{number:02}.png")
    data = load(tmp_path, seed=1, validation="10%")
    assert np.bincount(data.test.labels).tolist() == [2, 1] and len(data.train) == 12 and data.validation is not None
    assert "a fifth of each class, 3 pictures drawn by the seed 1, is tested on" in data.note


def test_bundled_and_synthetic_images_can_be_cut() -> None:
    for what in ("digits", "synthetic"):
        data = load(what, shape=(4, 4, 1), validation=100, seed=2)
        assert data.validation is not None and len(data.validation) == 100
        assert set(np.bincount(data.validation.labels)) <= {9, 10, 11}
    assert len(load("digits").train) == 1437 and digits().validation is None
