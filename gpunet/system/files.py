"""Files that are whole or not there: written beside their place, flushed to the disk, then renamed. And locks."""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from gpunet.errors import ConfigError, DataError
from gpunet.values.visible import visible

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def write_whole(
    path: Path, content: bytes | str | Iterable[bytes | memoryview], *, previous: Path | None = None
) -> None:
    """Put `content` at `path`, text as UTF-8, pieces one after another.

    Whatever goes wrong, and whenever the process is killed, `path` holds all of it or what it held before. With
    `previous`, what it held is kept there: then one of the two is whole at any time.
    Raises DataError, naming the file, when the disk is full or does not let itself be written.
    """
    if isinstance(content, str):
        content = content.encode()
    try:
        _replace(path, (content,) if isinstance(content, bytes) else content, previous)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from None


@contextmanager
def regular(path: Path) -> Iterator[BinaryIO]:
    """The file, to be read. Raises OSError, also for what is no regular file: a pipe would keep its reader waiting."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        with os.fdopen(handle, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(handle)


def read_regular(path: Path) -> bytes:
    """All bytes of a file. Raises OSError as `regular`."""
    with regular(path) as file:
        return file.read()


def check_place(path: Path) -> None:
    """Raises ConfigError where `write_whole` has no place for that file: to be told before any work is done."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {path.parent} for {visible(path.name)}; make it first")
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; give the name of a file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"cannot write {path}: nothing may be put into the folder {path.parent}")


def sweep(folder: Path) -> None:
    """Remove what a killed process was still writing in a folder."""
    for part in folder.glob(".*.part"):
        with suppress(OSError):
            part.unlink()


@contextmanager
def locked(path: Path, words: str) -> Iterator[None]:
    """Hold the file `path`, made if need be, for this process alone; whoever holds it may remove it.

    The system lets go of it when the process ends, in whatever way: the file's being there means nothing.
    Nobody is kept out by Windows and by file systems that know no such locks.
    Raises DataError with `words` while it is held elsewhere, OSError if it cannot be made.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        if not _held(handle, path):
            raise DataError(words)
        yield
    finally:
        os.close(handle)


def _held(handle: int, path: Path) -> bool:
    """Whether the open file could be locked, and is the one at `path`: its last holder may have removed it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(handle), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:  # a file system without locks
        return True


def _replace(path: Path, pieces: Iterable[bytes | memoryview], previous: Path | None) -> None:
    part = path.with_name(f".{path.name}.{token_hex(4)}.part")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            for piece in pieces:
                _write(handle, memoryview(piece).cast("B"))
            os.fsync(handle)
        finally:
            os.close(handle)
        if previous is not None and path.exists():
            os.replace(path, previous)
        os.replace(part, path)
    except BaseException:  # Ctrl-C too leaves nothing behind
        with suppress(OSError):
            part.unlink()
        raise
    _flush_folder(path.parent)


def _write(handle: int, data: memoryview) -> None:
    """All of it: a system call may take less than it was given."""
    while data:
        data = data[os.write(handle, data) :]


def _flush_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where folders can be opened."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
