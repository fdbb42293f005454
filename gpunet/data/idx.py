"""MNIST's idx files, gzipped or not, and the data sets that come as four of them: MNIST, Fashion-MNIST and their kin.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits": two bytes 0, one for the type, one
for the number of dimensions, each extent as 4 bytes with the highest first, then the values.
"""

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from gpunet.data.dataset import Dataset, Split
from gpunet.data.raw import DEFLATE_RATIO, clean_name, opened, read_names_of
from gpunet.errors import DataError

UNSIGNED_BYTE = 8
GZIP = b"\x1f\x8b"


def idx_files(folder: Path, start: str, dimensions: int) -> list[Path]:
    """The files of that many dimensions, like train-images-idx3-ubyte, .idx3-ubyte or with .gz."""
    names = [f"{start}{dot}idx{dimensions}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    return [path for name in names if (path := folder / name).is_file()]


def load_idx(folder: Path) -> Dataset:
    """The data set in a folder with train-images, train-labels, t10k-images and t10k-labels."""
    train, test = _split(folder, "train"), _split(folder, "t10k")
    names = read_names_of(folder / "class_names.txt", train.labels, test.labels)
    return Dataset(clean_name(folder.resolve().name), train, test, classes=names)


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The unsigned bytes of an idx file, (n,) or (n, H, W). Raises DataError for whatever is wrong with it."""
    with opened(path) as (file, size):
        packed = file.read(2) == GZIP
        file.seek(0)
        try:
            if not packed:
                return _read(file, dimensions, size)
            with gzip.open(file) as unpacked:
                return _read(cast(BinaryIO, unpacked), dimensions, size * DEFLATE_RATIO)
        except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(
                f"{path} is cut short, damaged or no idx file of {dimensions} dimensions ({error})"
            ) from None


def _read(file: BinaryIO, dimensions: int, most_bytes: int) -> np.ndarray:
    """The array in a file that can hold no more than `most_bytes`. Raises ValueError where it is anything else."""
    header = file.read(4 + 4 * dimensions)
    if header[:4] != bytes((0, 0, UNSIGNED_BYTE, dimensions)):
        raise ValueError(f"it begins with {header[:4].hex(' ') or 'nothing'}, not 00 00 08 {dimensions:02x}")
    if len(header) < 4 + 4 * dimensions:
        raise EOFError("it ends within its header")
    shape = tuple(int(extent) for extent in np.frombuffer(header, ">u4", dimensions, 4))
    claimed = prod(shape)
    if claimed + len(header) > most_bytes:
        raise ValueError(f"its header says {shape}, more than the file can hold")
    values = file.read(claimed + 1)
    if len(values) != claimed:
        raise ValueError(
            f"its header says {shape}, {claimed:,} values; there are {'more' if values[claimed:] else len(values)}"
        )
    return np.frombuffer(values, np.uint8).reshape(shape)


def _split(folder: Path, start: str) -> Split:
    images, labels = (_find(folder, f"{start}-{what}", rank) for what, rank in (("images", 3), ("labels", 1)))
    try:
        return Split(read_idx(images, 3), read_idx(labels, 1))
    except DataError as error:
        told = str(error)
        raise DataError(told if str(folder) in told else f"{images} and {labels.name}: {told}") from None


def _find(folder: Path, start: str, dimensions: int) -> Path:
    found = idx_files(folder, start, dimensions)
    if not found:
        raise DataError(f"{folder} has no file {start}-idx{dimensions}-ubyte (or .gz)")
    return found[0]
