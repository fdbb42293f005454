"""Pictures of no data set, as a net takes them: read, brought to its size and depth, scaled to its white."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from gpunet.data.listing import counted_kinds, is_litter, is_picture, kind_of
from gpunet.data.loader import WORKERS, in_order
from gpunet.data.picture import SUFFIXES, read_picture, with_maps
from gpunet.data.white import WHITE, to_white
from gpunet.errors import DataError
from gpunet.values.visible import told_path

Shape = tuple[int, int, int]


def find_pictures(paths: Iterable[str]) -> tuple[list[Path], Counter[str]]:
    """The files that are meant: of a folder all pictures below it, in the order of their names; else the path itself.

    With them how many files of which kind were left alone in folders. Raises DataError where a folder holds no picture,
    or where nothing is meant at all.
    """
    found: list[Path] = []
    others: Counter[str] = Counter()
    for text in paths:
        if "\0" in text or not text:
            raise DataError("an empty path, or a path with a NUL in it, is no picture; lists have one path a line")
        path = told_path(text)
        if not path.is_dir():
            found.append(path)
            continue
        below = list(_below(path))
        inside = [file for file in below if is_picture(file)]
        left = Counter(kind_of(file) for file in set(below).difference(inside))
        if not inside:
            there = f", but {counted_kinds(left)}" if left else ""
            raise DataError(f"{path} holds no picture ({', '.join(sorted(SUFFIXES))}){there}")
        found += inside
        others += left
    if not found:
        raise DataError("no picture was given")
    return found, others


def read_loose(path: Path, shape: Shape, white: int = WHITE) -> np.ndarray:
    """(H, W, D) uint8: the picture as `read_picture` brings it to H, W; in grey where D is 1; with `to_white`.

    Raises DataError, naming the file, where it cannot be read; or for a depth that pictures do not have.
    """
    H, W, D = shape
    require_maps(D)
    return to_white(with_maps(read_picture(path, (H, W)), D), white)


def require_maps(D: int) -> None:
    """Raise DataError for a net of another depth than pictures have."""
    if D not in (1, 3):
        raise DataError(f"a picture has 3 maps, or 1 where it is to be grey; the net takes {D}")


def read_in_batches(
    paths: Sequence[Path], shape: Shape, batch: int, white: int = WHITE
) -> Iterator[list[tuple[Path, np.ndarray | DataError]]]:
    """Each path with its picture, or with what is wrong with it, `batch` at a time; threads read ahead."""

    def read(path: Path) -> tuple[Path, np.ndarray | DataError]:
        try:
            return path, read_loose(path, shape, white)
        except DataError as error:
            return path, error

    groups = (paths[first : first + batch] for first in range(0, len(paths), batch))
    with closing(in_order(read, groups, WORKERS, 2)) as results:
        yield from results


def _below(folder: Path) -> Iterator[Path]:
    """The files in a folder and in those within; what is hidden or litter is left out."""

    def refuse(error: OSError) -> None:
        raise DataError(f"cannot read the folder {told_path(error.filename)}: {error.strerror or error}") from None

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not is_litter(name))
        yield from (told_path(place) / name for name in sorted(names) if not is_litter(name))
