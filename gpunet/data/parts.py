"""Which folders are the parts of a data set: to learn from, to test on and to validate with, in any usual spelling.

`train`, `Training`, `training_set`, `TrainImages` and `seg_train` all say the same. A class may be called like a part,
as a picture of a `train` is: what has pictures right in it and no folders is no part to learn from.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpunet.data.classes import class_folder
from gpunet.data.listing import folders, holds_pictures
from gpunet.data.raw import clean_name
from gpunet.errors import DataError

LAYOUT = "train/<class>/*.jpg and test/<class>/*.jpg"
TRAIN, TEST, VALIDATION = "train", "test", "validation"

SPELLINGS = {
    TRAIN: ("train", "training", "trainval"),
    TEST: ("test", "testing", "evaluation", "eval"),
    VALIDATION: ("val", "validation", "valid", "dev"),
}
"""Of those that are there, the first is taken."""

FILLERS = ("set", "sets", "data", "dataset", "images", "image", "imgs", "img", "pictures", "photos", "split", "folder")
"""Words that say nothing more of a part."""

ROLES = {spelling: role for role, spellings in SPELLINGS.items() for spelling in spellings}
_GLUED = re.compile(f"({'|'.join(ROLES)})({'|'.join(FILLERS)})")


@dataclass(frozen=True)
class Parts:
    """The folders that are parts; `spare` are the names of further ones, each with that which is used in its place;
    `others` those of folders of pictures beside them whose names say no part.
    """

    train: Path | None = None
    test: Path | None = None
    validation: Path | None = None
    spare: tuple[tuple[str, str], ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Named:
    """A folder whose name says which part it is; `exact` where it says nothing else."""

    path: Path
    role: str
    spelling: str
    exact: bool


def find_parts(folder: Path) -> Parts:
    """The parts that lie in a folder; none where nothing is to be learnt from there.

    Raises DataError for two parts to learn from, and for a part to test on without one to learn from.
    """
    inside = folders(folder)
    named = [found for path in inside if (found := _named(path))]
    parts = [found for found in named if found.role != TRAIN or _has_classes(found.path)]
    if len({found.role for found in parts}) < 2 and len(parts) < len(inside):
        parts = [found for found in parts if found.exact]  # a name that says more may be that of a class
    trains = _best([found for found in parts if found.role == TRAIN])
    if not trains:
        _require_no_part(folder, parts)
        return Parts()
    if len(trains) > 1:
        raise DataError(
            f"{folder} has two folders to learn from, {clean_name(trains[0].path.name)} and "
            f"{clean_name(trains[1].path.name)}; move one away"
        )
    tests, validations = (_best([found for found in parts if found.role == role]) for role in (TEST, VALIDATION))
    used = {found[0].role: found[0] for found in (trains, tests, validations) if found}
    spare = tuple((one.path.name, used[one.role].path.name) for one in parts if one is not used[one.role])
    others = tuple(path.name for path in inside if path not in {part.path for part in parts} and _of_pictures(path))
    test, validation = (_inner(found[0].path) if found else None for found in (tests, validations))
    return Parts(_inner(trains[0].path), test, validation, spare, others)


def _named(path: Path) -> _Named | None:
    """What the name of a folder says, where it speaks of one part."""
    words = [_unglued(word) for word in re.findall("[a-z]+", path.name.lower())]
    spellings = [word for word in words if word in ROLES]
    if len({ROLES[word] for word in spellings}) != 1:
        return None
    exact = all(word in ROLES or word in FILLERS for word in words)
    return _Named(path, ROLES[spellings[0]], spellings[0], exact)


def _unglued(word: str) -> str:
    """train from trainset; any other word as it is."""
    glued = _GLUED.fullmatch(word)
    return glued[1] if glued else word


def _has_classes(folder: Path) -> bool:
    """Whether it is no class, but may have some: folders, other than of the pictures of one, or nothing yet."""
    return class_folder(folder) == folder and (bool(folders(folder)) or not holds_pictures(folder))


def _of_pictures(folder: Path) -> bool:
    """Whether there are pictures in it, or in its folders."""
    return holds_pictures(folder) or any(holds_pictures(class_folder(inner)) for inner in folders(folder))


def _best(found: Sequence[_Named]) -> list[_Named]:
    """Those named most plainly; of parts to test with in the order of SPELLINGS."""
    plain = [part for part in found if part.exact] or list(found)
    return sorted(plain, key=lambda part: SPELLINGS[part.role].index(part.spelling))


def _inner(part: Path) -> Path:
    """The folder train in a folder train that holds nothing else, as some archives have it."""
    inner = folders(part)
    if len(inner) != 1 or holds_pictures(part):
        return part
    outer, found = _named(part), _named(inner[0])
    return _inner(inner[0]) if outer and found and found.role == outer.role else part


def _require_no_part(folder: Path, parts: Sequence[_Named]) -> None:
    """Raise DataError where there is a part with classes in it: there is none to learn from."""
    tests = [found.path for found in parts if _has_classes(found.path) and folders(found.path)]
    if tests:
        raise DataError(
            f"{folder} has a folder {clean_name(tests[0].name)}, and no train to learn from; expected {LAYOUT}"
        )
