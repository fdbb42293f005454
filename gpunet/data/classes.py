"""The classes in a part of a data set of pictures: a folder each, or a list of files beside them.

`<class>/*.jpg` is the common way; Tiny ImageNet, as CS231n gives it out, has `train/<class>/images/*.JPEG` and lists
the classes of `val/images` in `val/val_annotations.txt`. Names that differ in how accents are stored are one name.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from unicodedata import normalize

from gpunet.data.listing import counted_kinds, folders, holds_pictures, is_picture, kind_of, listing, pictures
from gpunet.data.raw import clean_name, read_lines
from gpunet.errors import DataError

Entry = tuple[Path, int]
"""A file and its label."""

INNER = ("images", "image", "imgs", "img")
"""Folders that may stand between a class and its pictures."""

ANNOTATIONS = "val_annotations.txt"
"""A file and its class a line, with tabs between; what follows them (Tiny ImageNet: a box) is passed over."""

MOST_ANNOTATIONS_BYTES = 1 << 26


def class_names(root: Path) -> list[str]:
    """The names of the folders in `root`, in their order, each once whatever way its accents are stored."""
    return sorted({normalize("NFC", inner.name) for inner in folders(root)})


def class_folder(folder: Path) -> Path:
    """Where the pictures of a class are: in its folder, or in a folder `images` where there is no other."""
    inner = folders(folder)
    between = len(inner) == 1 and inner[0].name.lower() in INNER and not holds_pictures(folder)
    return inner[0] if between else folder


class ClassReader:
    """Lists the pictures of these classes part by part, and counts what is left alone on the way."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._labels = {name: label for label, name in enumerate(classes)}
        self._kinds: Counter[str] = Counter()
        self._outside = self._folders = 0

    def entries(self, part: Path, others: bool = False) -> list[Entry]:
        """The pictures of a part, class by class, with their labels; with `others`, other files beside its classes are
        nobody's concern. Raises DataError for a folder or a line that names no class.
        """
        if (annotated := _annotations(part)) is not None:
            return self._listed(part, annotated)
        if not others:
            self._outside += len(pictures(part))
        places: dict[int, list[Path]] = {label: [] for label in self._labels.values()}
        for inner in folders(part):
            places[self._label(inner.name, f"{inner}")].append(inner)
        return [(path, label) for label, found in places.items() for inner in found for path in self._in_class(inner)]

    def without_classes(self, part: Path) -> int | None:
        """How many pictures a part has where none of them has a class; None where some have, or without pictures."""
        if _annotations(part) is not None:
            return None
        inner = folders(part)
        if not inner or (len(inner) == 1 and inner[0].name.lower() in INNER and inner[0].name not in self._labels):
            return len(pictures(part)) + sum(len(pictures(folder)) for folder in inner) or None
        return None

    def notes(self) -> list[str]:
        """What there is to say of what was left alone."""
        notes = []
        if self._kinds:
            notes.append(f"left alone within classes: {counted_kinds(self._kinds)}")
        if self._outside:
            notes.append(f"left alone outside of classes: {_many(self._outside, 'picture')}")
        if self._folders:
            notes.append(f"{_many(self._folders, 'folder')} within classes not looked into")
        return notes

    def _label(self, name: str, where: str) -> int:
        label = self._labels.get(normalize("NFC", name))
        if label is None:
            classes = ", ".join(map(clean_name, list(self._labels)[:5])) + (", ..." if len(self._labels) > 5 else "")
            raise DataError(f"{where} is a class that nothing is learnt from; the classes are {classes}")
        return label

    def _in_class(self, folder: Path) -> Iterator[Path]:
        for path in listing(class_folder(folder)):
            if path.is_dir():
                self._folders += 1
            elif is_picture(path):
                yield path
            else:
                self._kinds[kind_of(path)] += 1

    def _listed(self, part: Path, annotated: dict[str, str]) -> list[Entry]:
        """The pictures of a part whose classes stand in a file, class by class, in the order of their names."""
        place, entries = class_folder(part), []
        for name, of in annotated.items():
            label = self._label(of, f"{part / ANNOTATIONS}: {clean_name(of)}")
            if not (path := place / name).is_file():
                raise DataError(f"{part / ANNOTATIONS} tells the class of {clean_name(name)}, which is not in {place}")
            entries.append((path, label))
        self._outside += sum(path.name not in annotated for path in pictures(place))
        return sorted(entries, key=lambda entry: (entry[1], entry[0]))


def _annotations(part: Path) -> dict[str, str] | None:
    """The class of each file of a part as a text beside them lists it; None where there is none. Raises DataError."""
    path = part / ANNOTATIONS
    if not path.is_file():
        return None
    found: dict[str, str] = {}
    for number, line in enumerate(read_lines(path, MOST_ANNOTATIONS_BYTES), 1):
        name, *rest = line.split("\t")
        if not rest or not name or "/" in name or "\\" in name:
            raise DataError(f"{path}, line {number}, is no name of a file, a tab and a class: {clean_name(line)!r}")
        found[name] = rest[0].strip()
    return found


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
