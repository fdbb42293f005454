"""A folder of pictures, `train/<class>/*.jpg` and `test/<class>/*.jpg`: decoded when they are asked for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from gpunet.data.dataset import Dataset
from gpunet.data.draw import FIFTH, TESTED, drawn, rest_of
from gpunet.data.loader import in_order
from gpunet.data.picture import SUFFIXES, BrokenPicture, Size, picture_size, read_picture, with_maps
from gpunet.data.raw import clean_name
from gpunet.errors import DataError

TEST_FOLDERS = ("test", "val", "validation", "valid")
"""The first of them that is there is tested on."""
T = TypeVar("T")
LAYOUT = "train/<class>/*.jpg and test/<class>/*.jpg"
CHECKERS, AT_ONCE = 4, 64
"""Threads that look at all files before a run, and how many files they are given at a time."""


@dataclass(frozen=True)
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
    """Whether there is a folder train, or pictures one level down."""
    return (folder / "train").is_dir() or any(_pictures(inner) for inner in _folders(folder))


def load_folder(
    folder: Path, *, size: Size | None = None, skip_broken: bool = False, maps: int = 3, seed: int = 0
) -> Dataset:
    """The data set in a folder of pictures.

    Classes are the folders in train/, in the order of their names; without train/, those in `folder` itself. What is in
    test/ is tested on, and what is in val/ (else validation/ or valid/) is to validate with; without test/ that is
    tested on, and where there is neither, a fifth of each class, drawn by `seed`.
    With one of `maps` pictures become grey. Without a `size` all must have the same. The beginning of every file is
    read beforehand; with `skip_broken` each is decoded, and those that cannot be are left out; the note says how many.
    Raises DataError, naming folder or file, for whatever cannot be used.
    """
    root = folder / "train" if (folder / "train").is_dir() else folder
    classes = [inner.name for inner in _folders(root)]
    train, validation, test, notes = _listed_splits(folder, root, classes, seed)
    _require_classes(root, classes, train)
    paths = [path for path, _ in train + validation + test]
    sizes = dict(zip(paths, _looked_at(paths, size, skip_broken), strict=True))
    if skip_broken:
        broken = [path for path in paths if sizes[path] is None]
        train, validation, test = ([entry for entry in split if sizes[entry[0]]] for split in (train, validation, test))
        like = f", like {clean_name(str(min(broken).relative_to(folder)))}" if broken else ""
        notes.append(f"{_counted(len(broken), 'broken file')} skipped{like}")
        _require_classes(root, classes, train)
    if not test:
        raise DataError(f"{folder} holds no picture to test on; expected {LAYOUT}")
    common = size or _common_size({path: found for path, found in sizes.items() if found})
    learnt, validated, tested = (
        FileSplit(tuple(p for p, _ in split), tuple(k for _, k in split), common, maps)
        for split in (train, validation, test)
    )
    name, names = clean_name(folder.resolve().name), tuple(map(clean_name, classes))
    return Dataset(name, learnt, tested, "\n".join(notes), names, validation=validated if validation else None)


def require_train(folder: Path) -> None:
    """Raise DataError where a folder holds the parts of a data set and nothing else, but none is called train."""
    names = [inner.name for inner in _folders(folder)]
    if names and {name.lower() for name in names} <= {"train", *TEST_FOLDERS}:
        _require_case(folder)
        raise DataError(f"{folder} has a folder {names[0]}, and no train to learn from; expected {LAYOUT}")


def _require_case(folder: Path) -> None:
    """Raise DataError where a folder of known name is written otherwise, like Train."""
    for inner in _folders(folder):
        known = inner.name.lower()
        if known in ("train", *TEST_FOLDERS) and not (folder / known).is_dir():
            raise DataError(f"{inner} must be called {known}, in small letters; rename it")


def _listed_splits(
    folder: Path, root: Path, classes: list[str], seed: int
) -> tuple[list["Entry"], list["Entry"], list["Entry"], list[str]]:
    """The files to learn from, to validate with and to test on, and what is to be said of them."""
    tests: list[str] = []
    if root != folder:
        _require_case(folder)
        tests = [name for name in TEST_FOLDERS if (folder / name).is_dir()]
    files, notes = _Files(), []
    train, validation = files.of_classes(root, classes), []
    if tests:
        used = tests[:2] if tests[0] == "test" else tests[:1]
        test, *others = (files.of_classes(folder / name, classes) for name in used)
        validation = others[0] if others else []
        notes += [f"{other} left alone: {used[-1]} is used" for other in tests[len(used) :]]
    else:
        train, test = _fifth(train, seed)
        if train and not test:
            raise DataError(
                f"{folder} has no folder {_either(TEST_FOLDERS)}; a fifth of each class would be tested on, but no "
                "class has two pictures"
            )
        notes.append(
            f"no folder {_either(TEST_FOLDERS)}: a fifth of each class, {len(test):,} pictures drawn by the seed "
            f"{seed}, is tested on"
        )
    if files.others:
        notes.append(f"{_counted(files.others, 'file')} without the name of a picture left alone")
    if files.folders:
        notes.append(f"{_counted(files.folders, 'folder')} within classes not looked into")
    return train, validation, test, notes


Entry = tuple[Path, int]
"""A file and its label."""


class _Files:
    """Looks for pictures, and counts what else there is."""

    def __init__(self) -> None:
        self.others = self.folders = 0

    def of_classes(self, root: Path, classes: Sequence[str]) -> list[Entry]:
        """The pictures of each class below `root`. Raises DataError for a folder that is no class."""
        strange = [inner.name for inner in _folders(root) if inner.name not in classes]
        if strange:
            raise DataError(
                f"{root / strange[0]} is a class that nothing is learnt from; the classes are {_listed(classes)}"
            )
        return [
            (path, label)
            for label, name in enumerate(classes)
            if (root / name).is_dir()
            for path in self._in_class(root / name)
        ]

    def _in_class(self, folder: Path) -> Iterator[Path]:
        for path in _listing(folder):
            if path.is_dir():
                self.folders += 1
            elif path.suffix.lower() in SUFFIXES:
                yield path
            else:
                self.others += 1


def _listing(folder: Path) -> list[Path]:
    """What a folder holds, in the order of its names, but for hidden files."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror or error}") from None


def _folders(folder: Path) -> list[Path]:
    return [path for path in _listing(folder) if path.is_dir()]


def _pictures(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in _listing(folder))


def _fifth(entries: list[Entry], seed: int) -> tuple[list[Entry], list[Entry]]:
    """To learn from, and to test on: a fifth of each class."""
    tested = drawn(np.array([label for _, label in entries], np.int64), FIFTH, seed, TESTED)
    rest = rest_of(len(entries), tested)
    return [entries[index] for index in rest], [entries[index] for index in tested]


def _require_classes(root: Path, classes: list[str], train: list[Entry]) -> None:
    if not classes:
        raise DataError(f"{root} holds no folders; expected {LAYOUT}")
    labels = {label for _, label in train}
    empty = [name for label, name in enumerate(classes) if label not in labels]
    if empty:
        endings = ", ".join(sorted(SUFFIXES))
        raise DataError(f"{root / empty[0]} holds no picture that can be used ({endings}); every class needs some")
    if len(classes) == 1:
        raise DataError(f"{root} holds one class, {classes[0]}; there must be two or more to tell apart")


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


def _either(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
