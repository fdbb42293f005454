"""What was measured and compiled on this machine, in the user's cache folder: files that may be deleted at any time."""

import json
import os
from pathlib import Path
from typing import Any

from gpunet.errors import DataError

FOLDER_VARIABLE = "GPUNET_CACHE"
"""Environment variable: another folder, where the home folder cannot be written to or is shared."""

NO_HOME = "there is no home folder"

_told: set[str] = set()


def folder() -> Path:
    """Where such files are kept; it need not exist. Without a home folder to have it in, one that begins with ~."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(os.path.expanduser(chosen))
    from platformdirs import user_cache_path

    try:
        return user_cache_path("gpunet", appauthor=False)
    except RuntimeError:  # a user without a home folder, as in a container
        return Path("~/gpunet")


def read(name: str) -> dict[str, Any]:
    """The object in the file `name` of the folder; an empty one where there is no such file.

    A damaged file counts as none; a log message says so, once.
    """
    from gpunet.system.files import read_regular

    path = folder() / name
    try:
        found = json.loads(read_regular(path))
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # none there, or none for this user
        return {}
    except (OSError, ValueError, RecursionError) as error:  # neither UTF-8 nor JSON: both are ValueErrors
        ignore(path, str(error))
        return {}
    return found


def ignore(path: Path, reason: str) -> None:
    """Say, once for each file, that it is of no use."""
    if str(path) not in _told:
        _told.add(str(path))
        _warn(f"{path} is damaged and ignored ({reason}); delete it")


def tell_once(message: str) -> None:
    """A log message that nobody needs twice."""
    if message not in _told:
        _told.add(message)
        _warn(message)


def _warn(message: str) -> None:
    from logging import getLogger

    getLogger("gpunet").warning("gpunet: %s", message)


def put(name: str, key: str, value: Any) -> Path:
    """Set one entry of the file `name` and leave the others; whatever happens, the file is whole. Returns its path.

    Raises DataError where it cannot be written.
    """
    entries = {**read(name), key: value}
    return put_file(name, json.dumps(entries, indent=1) + "\n")


def put_file(name: str, content: bytes | str) -> Path:
    """Put `content` into the file `name`, whole or not at all. Returns its path; raises DataError as `put`."""
    from gpunet.system.files import write_whole

    path = folder() / name
    if _homeless(path):
        raise DataError(NO_HOME)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make the folder {path.parent}: {error.strerror or error}") from None
    write_whole(path, content)
    return path


def fault() -> str | None:
    """Why nothing can be kept in the folder; None where it can be. Leaves nothing behind."""
    from tempfile import TemporaryFile

    path = folder()
    if _homeless(path):
        return NO_HOME
    nearest = next(place for place in (path, *path.absolute().parents) if os.path.exists(place))
    try:
        with TemporaryFile(dir=nearest):
            return None
    except OSError as error:
        return f"nothing can be put into {nearest}: {error.strerror}"


def _homeless(path: Path) -> bool:
    """Whether there is no home folder to have the cache in."""
    return path.parts[:1] == ("~",)
