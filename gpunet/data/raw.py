"""Bytes of files from strangers: regular files alone, no larger than they may be, errors that name them."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from unicodedata import normalize

import numpy as np

from gpunet.errors import DataError
from gpunet.values.visible import visible

DEFLATE_RATIO = 1032
"""No byte that deflate (gzip, zip) wrote becomes more bytes than that: zlib's Technical Details."""

PART_BYTES = 1 << 20
"""What is read at once."""

MOST_NAMES_BYTES = 1 << 20
MOST_NAME_LETTERS = 100


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """The file and its size in bytes. Raises DataError, also for what the system says while it is read."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would keep whoever opens it waiting
            raise DataError(f"cannot read {path}: it is no regular file")
        with path.open("rb") as file:
            yield file, status.st_size
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except MemoryError:
        raise DataError(f"{path} says that it holds more than there is memory for") from None


class Sparing:
    """A file of which no more is read at once than an array's part: the directory of an archive comes in one piece, and
    takes several times its bytes as Python's objects.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, count: int = -1) -> bytes:
        if count > PART_BYTES:
            raise ValueError(f"its directory has {count:,} bytes; one of arrays has {PART_BYTES:,} at most")
        return self._file.read(PART_BYTES if count < 0 else count)  # what has no end is a file's last few bytes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def read_whole(path: Path, most_bytes: int) -> bytes:
    """All bytes of a file that should have no more than `most_bytes`. Raises DataError where it has."""
    with opened(path) as (file, size):
        if size > most_bytes:
            raise DataError(f"{path} has {size:,} bytes, more than the {most_bytes:,} that its format may have")
        return file.read(size)


def read_records(path: Path, record_bytes: int) -> np.ndarray:
    """(n, record_bytes) uint8: a file that is a row of records. Raises DataError unless it is, n at least 1."""
    with opened(path) as (file, size):
        if not size or size % record_bytes:
            raise DataError(
                f"{path} has {size:,} bytes, which is no whole number of records of {record_bytes:,}; "
                "it is cut short or of another format"
            )
        return np.fromfile(file, np.uint8, size).reshape(-1, record_bytes)


def read_names(path: Path, count: int) -> tuple[str, ...]:
    """The names of `count` classes in a text file, one a line; none where there is no file. Raises DataError."""
    names = _lines(path)
    if names is not None and len(names) != count:
        raise DataError(f"{path} names {len(names):,} classes instead of {count:,}")
    return names or ()


def read_names_of(path: Path, *labels: np.ndarray) -> tuple[str, ...]:
    """As `read_names`, where only the labels of the splits tell how many classes there are: more may have names."""
    names, count = _lines(path), max(int(part.max()) for part in labels) + 1
    if names is not None and len(names) < count:
        raise DataError(
            f"{path} names {len(names):,} classes; the labels go up to {count - 1:,}, which takes {count:,} names, "
            "one a line"
        )
    return names or ()


def read_lines(path: Path, most_bytes: int) -> list[str]:
    """The lines of a text file; what is no UTF-8 in them is replaced. Raises DataError for what is no text at all."""
    content = read_whole(path, most_bytes)
    if b"\0" in content:
        raise DataError(f"{path} is no text: it holds bytes as no text has them")
    return content.decode("utf-8", "replace").splitlines()


def _lines(path: Path) -> tuple[str, ...] | None:
    """The lines of a text file that are not empty; None where there is no file."""
    if not path.exists():
        return None
    lines = read_lines(path, MOST_NAMES_BYTES)
    return tuple(clean_name(line) for line in lines if line.strip())


def clean_name(text: str) -> str:
    """A class's name as a line of text that can do a terminal no harm, the same however its accents are stored."""
    return visible(normalize("NFC", text.strip()[: 4 * MOST_NAME_LETTERS]))[:MOST_NAME_LETTERS]
