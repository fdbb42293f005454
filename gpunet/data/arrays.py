"""Images and labels from NumPy's .npz and .npy files. Nothing is unpickled, so a stranger's file does no harm."""

import re
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np

from gpunet.data.dataset import Dataset, Split, last_fifth
from gpunet.data.raw import DEFLATE_RATIO, opened, read_names
from gpunet.errors import DataError

WAY_OUT = "write one with numpy.savez(path, images=..., labels=...)"
NAMES = ("images", "labels", "test_images", "test_labels")
MOST_HEADER_BYTES = 10_000
"""What NumPy itself reads of a header."""
HEADER = re.compile(
    r"\{\s*(?:(?:'descr':\s*'(?P<descr>\|b1|[|<>]?[iu][1248]|[<>]f[248])'|'fortran_order':\s*(?P<fortran>True|False)"
    r"|'shape':\s*\((?P<shape>(?:\d{1,19},\s*){0,32}\d{0,19})\)),?\s*){3}\}\s*",
    re.ASCII,
)


def load_npz(path: str | Path) -> Dataset:
    """The data set in an .npz file: `images`, `labels` and, where they are there, `test_images`, `test_labels`.

    images  (n, H, W, D) or (n, H, W), uint8, float32 or float64;  labels  (n,) integers from 0
    Without a test pair the last fifth is tested on; the data set's note says so.
    Raises DataError, naming the file, where it cannot be read or does not hold that.
    """
    path = Path(path)
    return _dataset(path, read_npz(path, NAMES))


def load_npy(folder: Path) -> Dataset:
    """The data set in a folder with images.npy, labels.npy, perhaps test_images.npy, test_labels.npy: as load_npz."""
    arrays = {name: read_npy(path) for name in NAMES if (path := folder / f"{name}.npy").exists()}
    return _dataset(folder, arrays, read_names(folder / "class_names.txt"))


def read_npz(path: Path, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name, all or those in `names`. Raises DataError for whatever is wrong with it."""
    with opened(path) as (file, size):
        _check_beginning(path, file.read(6))
        try:
            with zipfile.ZipFile(file) as archive:
                entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
                wanted = [name for name in entries if names is None or name in names]
                return {name: _read_entry(archive, entries[name], size) for name in wanted}
        except (ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{path} is cut short, damaged, or holds more than plain arrays ({error})") from None


def read_npy(path: Path) -> np.ndarray:
    """The array of an .npy file. Raises DataError for whatever is wrong with it."""
    with opened(path) as (file, size):
        try:
            return _read_array(file, size)
        except (ValueError, EOFError) as error:
            raise DataError(f"{path} is cut short, damaged, or holds more than a plain array ({error})") from None


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, file_bytes: int) -> np.ndarray:
    """One array of an .npz. What its bytes may become is held against how many they are, before anything is made."""
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{entry.filename} is compressed in a way that NumPy does not write")
    ratio = DEFLATE_RATIO if entry.compress_type == zipfile.ZIP_DEFLATED else 1
    if entry.compress_size > file_bytes or entry.file_size > entry.compress_size * ratio:
        raise ValueError(f"{entry.filename} claims {entry.file_size:,} bytes, more than the file can hold")
    with archive.open(entry) as file:
        return _read_array(file, entry.file_size)


def _read_array(file: IO[bytes], size: int) -> np.ndarray:
    """The array in the next `size` bytes. Raises ValueError unless it is one of plain numbers and takes all of them."""
    shape, fortran, dtype, header_bytes = _read_header(file)
    count = 1
    for extent in shape:
        count *= extent
    if header_bytes + count * dtype.itemsize != size:
        raise ValueError(f"its header says {dtype} of shape {shape}, which its {size:,} bytes are not")
    values = np.empty(count, dtype)
    octets, done = values.view(np.uint8), 0
    while done < octets.size:
        part = file.read(min(1 << 20, octets.size - done))
        if not part:
            raise EOFError("it ends too early")
        octets[done : done + len(part)] = np.frombuffer(part, np.uint8)
        done += len(part)
    if file.read(1):  # which also has the archive check the sum
        raise ValueError("it goes on after its array")
    return values.reshape(shape, order="F" if fortran else "C")


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, whether in Fortran's order, dtype, and bytes of the header.

    Not by NumPy, which evaluates the text as Python and warns of, or raises, about anything.
    Source: NumPy's numpy.lib.format; the third version is for the names of fields alone.
    """
    beginning = file.read(8)
    length = {b"\x93NUMPY\x01\0": "<H", b"\x93NUMPY\x02\0": "<I"}.get(beginning)
    if length is None:
        raise ValueError(f"it begins with {beginning.hex(' ')}, not as an array of plain numbers does")
    size = file.read(struct.calcsize(length))
    (text_bytes,) = struct.unpack(length, size) if len(size) == struct.calcsize(length) else (0,)
    if text_bytes > MOST_HEADER_BYTES:
        raise ValueError(f"its header has {text_bytes:,} bytes, more than {MOST_HEADER_BYTES:,}")
    text = file.read(text_bytes).decode("latin-1")
    found = HEADER.fullmatch(text)
    if not found or None in found.groups():
        raise ValueError(f"its header is not one of plain numbers: {text.strip()[:100]!r}")
    shape = tuple(int(extent) for extent in found["shape"].replace(",", " ").split())
    return shape, found["fortran"] == "True", np.dtype(found["descr"]), len(beginning) + len(size) + len(text)


def _check_beginning(path: Path, beginning: bytes) -> None:
    if beginning == b"\x93NUMPY":
        raise DataError(
            f"{path} holds a single array; {WAY_OUT}, or give a folder with images.npy and labels.npy in it"
        )
    if not beginning:
        raise DataError(f"{path} is empty; {WAY_OUT}")
    if not beginning.startswith(b"PK"):
        raise DataError(f"{path} is no .npz file; {WAY_OUT}")


def _dataset(path: Path, arrays: dict[str, np.ndarray], classes: tuple[str, ...] = ()) -> Dataset:
    tested = "test_images" in arrays or "test_labels" in arrays
    for name in NAMES if tested else NAMES[:2]:
        if name not in arrays:
            there = ", ".join(arrays) or "nothing of a data set"
            raise DataError(f"{path} has no array {name!r}; it holds {there}; {WAY_OUT}")
    try:
        train = _split(arrays, "")
        if tested:
            return Dataset(path.name, train, _split(arrays, "test_"), classes=classes)
        return last_fifth(path.name, train, classes)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _split(arrays: dict[str, np.ndarray], prefix: str) -> Split:
    try:
        return Split(arrays[f"{prefix}images"], arrays[f"{prefix}labels"])
    except DataError as error:
        raise DataError(f"{prefix}images, {prefix}labels: {error}" if prefix else str(error)) from None
