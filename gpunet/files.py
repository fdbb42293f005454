"""Files that are whole or not there: written beside their place, flushed to the disk, then renamed."""

import os
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from gpunet.errors import DataError


def write_whole(path: Path, content: bytes | str) -> None:
    """Put `content` at `path`, text as UTF-8. Whatever goes wrong, `path` holds all of it or what it held before.

    Raises DataError, naming the file, when the disk is full or does not let itself be written.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        _replace(path, data)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from None


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.{token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:  # Ctrl-C too leaves nothing behind
        with suppress(OSError):
            part.unlink()
        raise
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where folders can be opened."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
