"""HDF5 files from strangers: groups, texts and arrays that lie in the file itself, and no more than it can hold.

h5py calls HDF5's own library. What that would do beside reading is not asked for: links to other files, data that lie
in others, arrays that are made of others, filters that it would look for and load.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, takewhile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gpunet.data.raw import clean_name, opened
from gpunet.errors import DataError
from gpunet.system.allowance import allowance

SIGNATURE = b"\x89HDF\r\n\x1a\n"
ERRORS = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)
"""What h5py raises for a file that it cannot read."""

FILTERS = {1, 2, 3, 32000}
"""Deflate, shuffle, a sum, and LZF: those that h5py writes and brings along."""

MOST_TIMES = 32
"""So many times its own bytes a file may hold, packed."""

ROOM = 1 << 28
"""What reading may take beside that. The library believes how long a text claims to be, up to 4 GiB."""

MOST_TEXT = 1 << 26
MOST_DEPTH = 40
MOST_GROUPS = 100_000


@contextmanager
def hdf5(path: Path, source: BinaryIO | None = None) -> Iterator["Group"]:
    """The root of the file at `path`, or of one within it, `source`. Raises DataError for what cannot be read."""
    h5py = _h5py(path)
    with opened(path) as (_, size):
        try:
            with (
                allowance(2 * size * MOST_TIMES + ROOM),
                h5py.File(path if source is None else source, "r", locking=False) as file,
            ):
                yield Group(file, Budget(size * MOST_TIMES))
        except DataError:
            raise
        except ERRORS as error:
            told = clean_name(str(error))
            raise DataError(f"{path} is cut short, damaged, or no weights of Keras ({told})") from None


def _h5py(path: Path) -> Any:
    try:
        import h5py
    except ImportError:
        raise DataError(f'{path} is an HDF5 file; to read it, install h5py: pip install "gpunet[keras]"') from None
    return h5py


class Budget:
    """How many bytes may still be taken: the same ones may be claimed again and again."""

    def __init__(self, count: int) -> None:
        self.left = count

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise ValueError("its arrays claim more bytes than it has")


class Group:
    """A group of the file: what lies in it under a name, and what is said of it."""

    def __init__(self, group: Any, budget: Budget) -> None:
        self._group, self._budget = group, budget

    def __contains__(self, path: str) -> bool:
        return self._find(path) is not None

    def group(self, path: str) -> "Group":
        """The group under a path. Raises KeyError where there is none."""
        found = self._find(path)
        if found is None or not hasattr(found, "keys"):
            raise KeyError(path)
        return Group(found, self._budget)

    def array(self, path: str) -> np.ndarray:
        """The numbers under a path. Raises KeyError where there are none, ValueError for what is none of its own."""
        found = self._find(path)
        if found is None or not hasattr(found, "dtype"):
            raise KeyError(path)
        name = clean_name(path)
        if found.dtype.kind not in "fiub" or found.shape is None:
            raise ValueError(f"{name} holds no numbers")
        if found.external or found.is_virtual:
            raise ValueError(f"{name} lies in another file")
        plist = found.id.get_create_plist()
        filters = {plist.get_filter(number)[0] for number in range(min(plist.get_nfilters(), 32))}
        if not filters <= FILTERS:
            raise ValueError(f"{name} is packed by a filter that is not known")
        stored = found.id.get_storage_size()
        if found.nbytes > stored * (1032 if filters else 1):
            raise ValueError(f"{name} claims more bytes than the file has")
        self._budget.take(found.nbytes)
        values: np.ndarray = found[()]
        return np.asarray(values)

    def names(self) -> list[str]:
        """Of what lies in it."""
        return list(self._group.keys())

    def texts(self, name: str) -> list[str]:
        """A list of texts that is said of it; Keras cuts long ones into NAME0, NAME1 and so on. [] where it is not."""
        attributes = self._group.attrs
        parts = takewhile(attributes.__contains__, (f"{name}{number}" for number in count()))
        whole = [name] if name in attributes else parts
        return [_text(one) for part in whole for one in np.atleast_1d(attributes[part])]

    def text(self, name: str) -> str | None:
        """A text that is said of it; None where it is not."""
        return _text(self._group.attrs[name]) if name in self._group.attrs else None

    def groups(self) -> Iterator[tuple[str, "Group"]]:
        """Each group below it, once, with its path."""
        from h5py import h5o

        seen = set[int]()
        left = [("", self._group)]
        while left:
            path, group = left.pop()
            address = h5o.get_info(group.id).addr
            if address in seen or path.count("/") > MOST_DEPTH or len(seen) > MOST_GROUPS:
                continue
            seen.add(address)
            yield path, Group(group, self._budget)
            for name in reversed(list(group.keys())):
                found = self._child(group, name)
                if hasattr(found, "keys"):
                    left.append((f"{path}/{name}".lstrip("/"), found))

    def _find(self, path: str) -> Any:
        found = self._group
        for name in path.split("/"):
            found = self._child(found, name) if hasattr(found, "keys") else None
            if found is None:
                return None
        return found

    @staticmethod
    def _child(group: Any, name: str) -> Any:
        """What lies in a group itself; None for what is not there, and for links that lead elsewhere."""
        from h5py import HardLink

        return group[name] if isinstance(group.get(name, getlink=True), HardLink) else None


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.shape == ():
        value = value[()]
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    if not isinstance(text, str) or len(text) > MOST_TEXT:
        raise TypeError("something that should be a text")
    return str(text)
