"""What lies in folders of pictures: pictures, by their content, and by kind the files that are left alone."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from gpunet.data.picture import HEAD_BYTES, SUFFIXES, begins_like_a_picture
from gpunet.data.raw import clean_name, opened
from gpunet.errors import DataError

LITTER = frozenset(("__MACOSX", "@eaDir"))
"""Folders that archives and file servers leave behind; what is hidden begins with a dot."""

MOST_KINDS = 5
"""Of files that are left alone, to name."""


def listing(folder: Path) -> list[Path]:
    """What a folder holds, in the order of its names, but for what is hidden or litter. Raises DataError."""
    try:
        return sorted(path for path in folder.iterdir() if not is_litter(path.name))
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror or error}") from None


def is_litter(name: str) -> bool:
    """Whether nobody means a file or a folder of that name."""
    return name.startswith(".") or name in LITTER


def folders(folder: Path) -> list[Path]:
    """The folders in a folder, in the order of their names."""
    return [path for path in listing(folder) if path.is_dir()]


def pictures(folder: Path) -> list[Path]:
    """The pictures in a folder, in the order of their names."""
    return [path for path in listing(folder) if is_picture(path)]


def holds_pictures(folder: Path) -> bool:
    """Whether there is a picture right in a folder."""
    return any(is_picture(path) for path in listing(folder))


def is_picture(path: Path) -> bool:
    """Whether a file is called a picture or begins like one, whatever it is called; never a folder.

    What is called a picture and cannot be read is one all the same: a broken one.
    """
    if path.suffix.lower() in SUFFIXES:
        return not path.is_dir()
    try:
        with opened(path) as (file, _):
            return begins_like_a_picture(file.read(HEAD_BYTES))
    except DataError:  # a folder, a pipe, a link to nowhere
        return False


def kind_of(path: Path) -> str:
    """How a file is called by kind: ".heic", or "without an ending"."""
    return clean_name(path.suffix.lower()) or "without an ending"


def counted_kinds(kinds: Mapping[str, int]) -> str:
    """'14 .heic, 3 .gif', the most frequent first, at most MOST_KINDS of them."""
    first = Counter(kinds).most_common(MOST_KINDS)
    rest = sum(kinds.values()) - sum(count for _, count in first)
    return ", ".join([f"{count:,} {kind}" for kind, count in first] + [f"{rest:,} others"] * (rest > 0))
