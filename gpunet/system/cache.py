"""What was measured on this machine, kept in the user's cache folder: JSON files that may be deleted at any time."""

import json
import os
from pathlib import Path
from typing import Any

from gpunet.errors import DataError

FOLDER_VARIABLE = "GPUNET_CACHE"
"""Environment variable: another folder, where the home folder cannot be written to or is shared."""

_told: set[Path] = set()


def folder() -> Path:
    """Where measurements are kept; it need not exist."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("gpunet", appauthor=False)


def read(name: str) -> dict[str, Any]:
    """The object in the file `name` of the folder; an empty one where there is no such file.

    A damaged file counts as none; a log message says so, once.
    """
    path = folder() / name
    try:
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:  # neither UTF-8 nor JSON: both are ValueErrors
        ignore(path, str(error))
        return {}
    return found


def ignore(path: Path, reason: str) -> None:
    """Say, once for each file, that it is of no use."""
    from logging import getLogger

    if path not in _told:
        _told.add(path)
        getLogger("gpunet").warning("gpunet: %s is damaged and ignored (%s); delete it", path, reason)


def put(name: str, key: str, value: Any) -> Path:
    """Set one entry of the file `name` and leave the others; whatever happens, the file is whole. Returns its path.

    Raises DataError where it cannot be written.
    """
    from gpunet.system.files import write_whole

    path = folder() / name
    entries = {**read(name), key: value}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make the folder {path.parent}: {error.strerror or error}") from None
    write_whole(path, json.dumps(entries, indent=1) + "\n")
    return path
