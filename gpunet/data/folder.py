"""A folder of pictures, `train/<class>/*.jpg` and `test/<class>/*.jpg`: decoded when they are asked for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from gpunet.data.classes import ClassReader, Entry, class_folder, class_names
from gpunet.data.dataset import Dataset, nothing_to_test_on, split_line
from gpunet.data.draw import FIFTH, TESTED, drawn, rest_of
from gpunet.data.listing import folders, holds_pictures
from gpunet.data.loader import in_order
from gpunet.data.parts import LAYOUT, TEST, VALIDATION, Parts, find_parts
from gpunet.data.picture import SUFFIXES, BrokenPicture, Size, picture_size, read_picture, with_maps
from gpunet.data.raw import clean_name
from gpunet.errors import DataError

T = TypeVar("T")
CHECKERS, AT_ONCE = 4, 64
"""Threads that look at all files before a run, and how many files they are given at a time."""


@dataclass(frozen=True, repr=False)
class FileSplit:
    """Pictures in files, and their labels: (len, H, W, maps) uint8 as `picture` says."""

    paths: tuple[Path, ...]
    of: tuple[int, ...]
    """The label of each."""
    size: Size
    """What each is brought to; most often they have it."""
    maps: int = 3
    """1: grey."""
    resizes = True

    def __repr__(self) -> str:
        return split_line(self)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> tuple[int, int, int]:
        """H, W, maps."""
        return *self.size, self.maps

    @cached_property
    def labels(self) -> np.ndarray:
        """(n,) int32."""
        return np.array(self.of, np.int32)

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (len(indices), H, W, maps) and labels. Raises BrokenPicture, naming a file that cannot be decoded."""
        images = np.empty((len(indices), *self.shape), np.uint8)
        for image, index in zip(images, indices, strict=True):
            try:
                image[:] = with_maps(read_picture(self.paths[index], self.size), self.maps)
            except BrokenPicture as error:
                raise _with_way_out(error) from None
        return images, self.labels[indices]


def is_image_folder(folder: Path) -> bool:
    """Whether there is a folder to learn from in it, or pictures one level down."""
    return find_parts(folder).train is not None or any(holds_pictures(class_folder(inner)) for inner in folders(folder))


def load_folder(
    folder: Path, *, size: Size | None = None, skip_broken: bool = False, maps: int = 3, seed: int = 0
) -> Dataset:
    """The data set in a folder of pictures.

    Its parts are those that `find_parts` finds, and the classes the folders in the one to learn from, in the order of
    their names; without one, those in `folder` itself. Where no part to test on has pictures with classes, but one to
    validate with, nothing is tested on; where there is neither, a fifth of each class, drawn by `seed`.
    With one of `maps` pictures become grey. Without a `size` all must have the same. The beginning of every file is
    read beforehand; with `skip_broken` each is decoded, and those that cannot be are left out; the note says how many.
    Raises DataError, naming folder or file, for whatever cannot be used.
    """
    parts = find_parts(folder)
    root = parts.train or folder
    classes = class_names(root)
    train, validation, test, notes = _listed_splits(folder, parts, classes, seed)
    _require_classes(root, classes, train)
    paths = [path for path, _ in train + validation + test]
    sizes = dict(zip(paths, _looked_at(paths, size, skip_broken), strict=True))
    if broken := [path for path in paths if sizes[path] is None]:
        train, validation, test = ([entry for entry in split if sizes[entry[0]]] for split in (train, validation, test))
        notes.append(
            f"{_counted(len(broken), 'broken file')} skipped, like {clean_name(str(min(broken).relative_to(folder)))}"
        )
        _require_classes(root, classes, train)
    if not test + validation:
        raise DataError(f"{folder} holds no picture to test on; expected {LAYOUT}")
    common = size or _common_size({path: found for path, found in sizes.items() if found})
    learnt, validated, tested = (
        FileSplit(tuple(p for p, _ in split), tuple(k for _, k in split), common, maps) if split else None
        for split in (train, validation, test)
    )
    assert learnt is not None  # every class has some
    judged = tested or validated
    assert judged is not None
    name, names = clean_name(folder.resolve().name), tuple(map(clean_name, classes))
    return Dataset(name, learnt, judged, "\n".join(notes), names, validation=validated)


def _listed_splits(
    folder: Path, parts: Parts, classes: Sequence[str], seed: int
) -> tuple[list[Entry], list[Entry], list[Entry], list[str]]:
    """The files to learn from, to validate with and to test on, and what is to be said of them."""
    reader, notes, found = ClassReader(classes), [], dict[str, list[Entry]]()
    train = reader.entries(parts.train or folder, others=parts.train is None)
    for role, part in ((TEST, parts.test), (VALIDATION, parts.validation)):
        if part is None:
            continue
        if (without := reader.without_classes(part)) is None:
            found[role] = reader.entries(part)
        else:
            notes.append(f"{clean_name(part.name)} left alone: {_counted(without, 'picture')} without classes")
    notes += _left_alone(parts)
    if not found:
        train, test = _fifth(train, seed)
        if train and not test:
            raise DataError(
                f"{folder} has no {NO_TEST}; a fifth of each class would be tested on, but no class has two pictures"
            )
        found[TEST] = test
        notes.append(
            f"no {NO_TEST}: a fifth of each class, {len(test):,} pictures drawn by the seed {seed}, is tested on"
        )
    elif TEST not in found and parts.validation is not None:
        notes.append(nothing_to_test_on(clean_name(parts.validation.name)))
    return train, found.get(VALIDATION, []), found.get(TEST, []), notes + reader.notes()


def _left_alone(parts: Parts) -> list[str]:
    """What there is to say of folders beside the parts."""
    notes = [f"{clean_name(name)} left alone: {clean_name(used)} is used" for name, used in parts.spare]
    if parts.others:
        first, more = clean_name(parts.others[0]), len(parts.others) - 1
        like = f", and {_counted(more, 'folder')} like it" if more else ""
        notes.append(f"{first} left alone, as its name says no part, like train, val or test{like}")
    return notes


NO_TEST = "folder test or val with classes"


def _fifth(entries: list[Entry], seed: int) -> tuple[list[Entry], list[Entry]]:
    """To learn from, and to test on: a fifth of each class."""
    tested = drawn(np.array([label for _, label in entries], np.int64), FIFTH, seed, TESTED)
    rest = rest_of(len(entries), tested)
    return [entries[index] for index in rest], [entries[index] for index in tested]


def _require_classes(root: Path, classes: Sequence[str], train: list[Entry]) -> None:
    if not classes:
        raise DataError(f"{root} holds no folders; expected {LAYOUT}")
    labels = {label for _, label in train}
    empty = [name for label, name in enumerate(classes) if label not in labels]
    if empty:
        endings = ", ".join(sorted(SUFFIXES))
        raise DataError(f"{root / empty[0]} holds no picture that can be used ({endings}); every class needs some")
    if len(classes) == 1:
        raise DataError(f"{root} holds one class, {clean_name(classes[0])}; there must be two or more to tell apart")


def _looked_at(paths: list[Path], size: Size | None, skip_broken: bool) -> Iterator[Size | None]:
    """The size of each picture, from the beginning of its file; or, to skip broken ones, once it is decoded.

    Those that cannot be are None, or raise BrokenPicture.
    """

    def look(path: Path) -> Size | None:
        try:
            if not skip_broken:
                return picture_size(path)
            H, W, _ = read_picture(path, size).shape
            return H, W
        except BrokenPicture as error:
            if skip_broken:
                return None
            raise _with_way_out(error) from None

    return _each(look, paths)


def _with_way_out(error: BrokenPicture) -> BrokenPicture:
    return BrokenPicture(f"{error}; remove it, or leave out all such files with --skip-broken")


def _common_size(sizes: Mapping[Path, Size]) -> Size:
    """The size of all pictures. Raises DataError naming two that differ."""
    first, common = next(iter(sizes.items()))
    for path, size in sizes.items():
        if size != common:
            raise DataError(
                f"{path} is {_by(size)} pixels, {first} is {_by(common)}; bring all to one size with --size HxW, "
                f"like --size {_by(common)}: the short side is brought to it and the middle cut out"
            )
    return common


def _each(function: Callable[[Path], T], paths: list[Path]) -> Iterator[T]:
    """What `function` makes of each path, in their order; threads look ahead."""
    groups = (paths[first : first + AT_ONCE] for first in range(0, len(paths), AT_ONCE))
    for results in in_order(function, groups, CHECKERS, 1):
        yield from results


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _by(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
