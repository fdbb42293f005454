"""Images and labels from a NumPy .npz file. Nothing is unpickled, so a file from a stranger can do no harm."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from gpunet.data.dataset import Dataset, Split
from gpunet.errors import DataError

WAY_OUT = "write one with numpy.savez(path, images=..., labels=...)"


def load_npz(path: str | Path) -> Dataset:
    """The data set in an .npz file: `images`, `labels` and, where they are there, `test_images`, `test_labels`.

    images  (n, H, W, D) or (n, H, W), uint8, float32 or float64;  labels  (n,) integers from 0
    Without a test pair the last fifth is tested on; the data set's note says so.
    Raises DataError, naming the file, where it cannot be read or does not hold that.
    """
    path = Path(path)
    arrays = read_npz(path)
    tested = "test_images" in arrays or "test_labels" in arrays
    _require(path, arrays, "images", "labels", *(("test_images", "test_labels") if tested else ()))
    try:
        if tested:
            test = _split(arrays, "test_")
            return Dataset(path.name, _split(arrays, ""), test)
        return _last_fifth(path.name, _split(arrays, ""))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Every array of an .npz file by name. Raises DataError for whatever is wrong with the file."""
    try:
        with path.open("rb") as file:
            _check_beginning(path, file.read(6))
            file.seek(0)
            loaded = np.load(file, allow_pickle=False)
            return {name: loaded[name] for name in loaded.files}
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except MemoryError:
        raise DataError(f"{path} says that it holds more than there is memory for") from None
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise DataError(f"{path} is cut short, damaged, or holds more than plain arrays ({error})") from None


def _check_beginning(path: Path, beginning: bytes) -> None:
    if beginning == b"\x93NUMPY":
        raise DataError(f"{path} holds a single array; {WAY_OUT}")
    if not beginning:
        raise DataError(f"{path} is empty; {WAY_OUT}")
    if not beginning.startswith(b"PK"):
        raise DataError(f"{path} is no .npz file; {WAY_OUT}")


def _require(path: Path, arrays: dict[str, np.ndarray], *names: str) -> None:
    for name in names:
        if name not in arrays:
            there = ", ".join(arrays) or "nothing"
            raise DataError(f"{path} has no array {name!r}; it holds {there}; {WAY_OUT}")


def _split(arrays: dict[str, np.ndarray], prefix: str) -> Split:
    try:
        return Split(arrays[f"{prefix}images"], arrays[f"{prefix}labels"])
    except DataError as error:
        raise DataError(f"{prefix}images, {prefix}labels: {error}" if prefix else str(error)) from None


def _last_fifth(name: str, whole: Split) -> Dataset:
    """The last fifth, at least one image, to test on; the rest to learn from."""
    if len(whole) < 2:
        raise DataError("holds one image; there must be one to learn from and one to test on")
    first = len(whole) - max(1, len(whole) // 5)
    train = Split(whole.images[:first], whole.labels[:first])
    test = Split(whole.images[first:], whole.labels[first:])
    note = (
        f"no test_images in {name}: its last fifth, {len(test):,} of {len(whole):,}, is tested on and not learnt from"
    )
    return Dataset(name, train, test, note)
