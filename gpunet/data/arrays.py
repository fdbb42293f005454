"""Images and labels from NumPy's .npz and .npy files. Nothing is unpickled, so a stranger's file does no harm."""

import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO, cast

import numpy as np

from gpunet.data.dataset import Dataset, Split, nothing_to_test_on
from gpunet.data.draw import with_test
from gpunet.data.raw import DEFLATE_RATIO, PART_BYTES, Sparing, clean_name, opened, read_names_of
from gpunet.errors import DataError
from gpunet.values.visible import told_path

WAY_OUT = "write one with numpy.savez(path, images=..., labels=...)"
PARTS = {"": "to learn from", "val_": "to validate with", "test_": "to test on"}
"""What the names of its arrays begin with, `images` and `labels`, and what a part of a data set is for."""
NAMES = tuple(f"{part}{what}" for part in PARTS for what in ("images", "labels"))
WHITE = "white"
MOST_HEADER_BYTES = 10_000
"""What NumPy itself reads of a header."""
HEADER = re.compile(
    r"\{\s*(?:(?:'descr':\s*'(?P<descr>\|b1|[|<>]?[iu][1248]|[<>]f[248])'|'fortran_order':\s*(?P<fortran>True|False)"
    r"|'shape':\s*\((?P<shape>(?:[0-9]{1,19},\s*){0,32}[0-9]{0,19})\)),?\s*){3}\}\s*",
    re.ASCII,
)


def load_npz(path: str | Path, seed: int = 0) -> Dataset:
    """The data set in an .npz file: `images`, `labels`, perhaps the same of `test_` and of `val_`, perhaps `white`.

    images  (n, H, W, D) or (n, H, W), uint8, float32 or float64;  labels  (n,) integers from 0
    white   an integer from 1 to 255, the value of a white pixel in uint8 images; without it 255
    A val pair is to validate with. Without a test pair there is nothing to test on where there is a val pair, else a
    fifth of each class, drawn by `seed`; the data set's note says so.
    Raises DataError, naming the file, where it cannot be read or does not hold that.
    """
    path = told_path(path)
    with _readers(path) as readers:
        arrays = {name: read() for name, read in readers.items() if name in (*NAMES, WHITE)}
    return _dataset(path, arrays, readers, seed)


def load_npy(folder: Path, seed: int = 0) -> Dataset:
    """The data set in a folder with images.npy, labels.npy and perhaps the others of `load_npz`, as there."""
    paths = {name: folder / f"{name}.npy" for name in (*NAMES, WHITE)}
    arrays = {name: read_npy(path) for name, path in paths.items() if path.exists()}
    data = _dataset(folder, arrays, arrays, seed)
    names = read_names_of(folder / "class_names.txt", data.train.labels, data.test.labels)
    return replace(data, classes=names)


def white_in(path: Path) -> int:
    """The value of white that an .npz file, or a folder of .npy files, says; 255 where it says none that is good."""
    try:
        if path.is_dir():
            return _white(read_npy(path / f"{WHITE}.npy"), {})
        with _readers(path) as readers:
            return _white(readers[WHITE](), {}) if WHITE in readers else 255
    except DataError:
        return 255


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name. Raises DataError for whatever is wrong with it."""
    with _readers(path) as readers:
        return {name: read() for name, read in readers.items()}


@contextmanager
def _readers(path: Path) -> Iterator[dict[str, Callable[[], np.ndarray]]]:
    """What reads each array of an .npz file, by its name. What goes wrong meanwhile is raised as a DataError."""
    with opened(path) as (file, size):
        _check_beginning(path, file.read(6))
        try:
            with zipfile.ZipFile(cast("BinaryIO", Sparing(file))) as archive:
                entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
                yield {name: partial(_read_entry, archive, entry, path, size) for name, entry in entries.items()}
        except (ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{path} is cut short, damaged, or no .npz file ({error})") from None


def read_npy(path: Path) -> np.ndarray:
    """The array of an .npy file. Raises DataError for whatever is wrong with it."""
    with opened(path) as (file, size):
        try:
            return _read_array(file, f"{path}", size)
        except (ValueError, EOFError) as error:
            raise DataError(f"{path} is cut short, damaged, or no .npy file ({error})") from None


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, file_bytes: int) -> np.ndarray:
    """One array of an .npz. What its bytes may become is held against how many they are, before anything is made."""
    name = clean_name(entry.filename)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is compressed in a way that NumPy does not write")
    ratio = DEFLATE_RATIO if entry.compress_type == zipfile.ZIP_DEFLATED else 1
    if entry.compress_size > file_bytes or entry.file_size > entry.compress_size * ratio:
        raise ValueError(f"{name} claims {entry.file_size:,} bytes, more than the file can hold")
    with archive.open(entry) as file:
        return _read_array(file, f"{path}: {name}", entry.file_size)


def _read_array(file: IO[bytes], name: str, size: int) -> np.ndarray:
    """The array in the next `size` bytes. Raises ValueError unless it takes all, DataError if not of plain numbers."""
    shape, fortran, dtype, header_bytes = _read_header(file, name)
    count = 1
    for extent in shape:
        count *= extent
    if header_bytes + count * dtype.itemsize != size:
        raise ValueError(f"its header says {dtype} of shape {shape}, which its {size:,} bytes are not")
    values = np.empty(count, dtype)
    octets, done = values.view(np.uint8), 0
    while done < octets.size:
        part = file.read(min(PART_BYTES, octets.size - done))
        if not part:
            raise EOFError("it ends too early")
        octets[done : done + len(part)] = np.frombuffer(part, np.uint8)
        done += len(part)
    if file.read(1):  # which also has the archive check the sum
        raise ValueError("it goes on after its array")
    if not dtype.isnative:
        values = values.byteswap(inplace=True).view(dtype.newbyteorder())
    return values.reshape(shape, order="F" if fortran else "C")


def _read_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, whether in Fortran's order, dtype, and bytes of the header.

    Not by NumPy, which evaluates the text as Python and warns of, or raises, about anything.
    Source: NumPy's numpy.lib.format; the third version is for the names of fields alone.
    """
    beginning = file.read(8)
    length = {b"\x93NUMPY\x01\0": "<H", b"\x93NUMPY\x02\0": "<I"}.get(beginning)
    if length is None:
        raise ValueError(f"it begins with {beginning.hex(' ')}, not as an array of plain numbers does")
    size = _exactly(file, struct.calcsize(length))
    (text_bytes,) = struct.unpack(length, size)
    if text_bytes > MOST_HEADER_BYTES:
        raise ValueError(f"its header has {text_bytes:,} bytes, more than {MOST_HEADER_BYTES:,}")
    text = _exactly(file, text_bytes).decode("latin-1")
    found = HEADER.fullmatch(text)
    if not found or None in found.groups():
        raise DataError(f"{name} is no array of plain numbers; its header says {text.strip()[:100]!r}")
    shape = tuple(int(extent) for extent in found["shape"].replace(",", " ").split())
    return shape, found["fortran"] == "True", np.dtype(found["descr"]), len(beginning) + len(size) + len(text)


def _exactly(file: IO[bytes], count: int) -> bytes:
    part = file.read(count)
    if len(part) < count:
        raise EOFError("it ends within its header")
    return part


def _check_beginning(path: Path, beginning: bytes) -> None:
    if beginning == b"\x93NUMPY":
        raise DataError(
            f"{path} holds a single array; {WAY_OUT}, or give a folder with images.npy and labels.npy in it"
        )
    if not beginning:
        raise DataError(f"{path} is empty; {WAY_OUT}")
    if not beginning.startswith(b"PK"):
        raise DataError(f"{path} is no .npz file; {WAY_OUT}")


def _dataset(path: Path, arrays: dict[str, np.ndarray], there: Collection[str], seed: int) -> Dataset:
    """The data set of these arrays; `there` are the names of all that `path` holds."""
    said = [part for part in PARTS if not part or {f"{part}images", f"{part}labels"} & set(arrays)]
    for name in [f"{part}{what}" for part in said for what in ("images", "labels")]:
        if name not in arrays:
            raise DataError(f"{path} has no array {name!r}; it holds {_listed(there)}; {WAY_OUT}")
    try:
        train, validation, test = (_split(arrays, part) if part in said else None for part in PARTS)
        assert train is not None  # it is always looked for
        if test or validation:
            note = "" if test else nothing_to_test_on("val_images")
            data = Dataset(clean_name(path.name), train, test or validation, note, validation=validation)  # type: ignore[arg-type]
        else:
            data = with_test(clean_name(path.name), train, seed)
        return replace(data, white=_white(arrays[WHITE], arrays)) if WHITE in arrays else data
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(clean_name(name) for name in list(names)[:5])
    return (shown or "nothing") + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")


def _white(values: np.ndarray, arrays: dict[str, np.ndarray]) -> int:
    """The value of white. Raises DataError for what is none, or where pixels are brighter."""
    if values.dtype.kind not in "iu" or values.size != 1 or not 1 <= (white := int(values.item())) <= 255:
        shown = values.item() if values.size == 1 else f"{values.dtype} of shape {values.shape}"
        raise DataError(f"white must be one integer from 1 to 255; got {shown}")
    for name in (f"{part}images" for part in PARTS):
        if name in arrays and arrays[name].dtype == np.uint8 and (brightest := arrays[name].max()) > white:
            raise DataError(f"white is {white}, but {name} have values up to {brightest}")
    return white


def _split(arrays: dict[str, np.ndarray], prefix: str) -> Split:
    try:
        return Split(arrays[f"{prefix}images"], arrays[f"{prefix}labels"])
    except DataError as error:
        raise DataError(f"{prefix}images, {prefix}labels: {error}" if prefix else str(error)) from None
