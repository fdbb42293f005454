"""What `--data` means: the name of a data set, or a path whose format is told by what lies there."""

from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path

from gpunet.data import listing
from gpunet.data.arrays import load_npy, load_npz, white_in
from gpunet.data.cifar import CIFAR10, CIFAR10_PYTHON, CIFAR100, CIFAR100_PYTHON, Cifar
from gpunet.data.dataset import Dataset
from gpunet.data.digits import WHITE as DIGITS_WHITE
from gpunet.data.digits import digits
from gpunet.data.draw import with_validation
from gpunet.data.folder import is_image_folder, load_folder
from gpunet.data.idx import load_idx
from gpunet.data.parts import LAYOUT
from gpunet.data.picture import parse_size
from gpunet.data.sources import SOURCES
from gpunet.data.stl10 import load_stl10
from gpunet.data.synthetic import synthetic
from gpunet.errors import DataError
from gpunet.values.visible import told_path


@dataclass(frozen=True)
class Format:
    """A data set in a folder: what it is called, the files that tell it from others, and who reads it."""

    name: str
    signs: Callable[[Set[str]], bool]
    load: Callable[[Path, int], Dataset]
    """Of the folder, and of the seed that draws what it does not say itself."""


def _undrawn(read: Callable[[Path], Dataset]) -> Callable[[Path, int], Dataset]:
    """Of a format that says all itself."""
    return lambda folder, seed: read(folder)


def _cifar(words: str, version: Cifar, sign: str) -> Format:
    return Format(
        f"{words} ({sign}, {version.test})", lambda names: {sign, version.test} <= names, _undrawn(version.load)
    )


FORMATS = (
    _cifar("CIFAR-10 binary", CIFAR10, "data_batch_1.bin"),
    _cifar("CIFAR-100 binary", CIFAR100, "train.bin"),
    _cifar("CIFAR-10 Python", CIFAR10_PYTHON, "data_batch_1"),
    _cifar("CIFAR-100 Python", CIFAR100_PYTHON, "train"),
    Format("STL-10 binary (train_X.bin, train_y.bin, ...)", lambda names: "train_X.bin" in names, _undrawn(load_stl10)),
    Format(
        "MNIST and its kin (train-images-idx3-ubyte, ...; .gz or not)",
        lambda names: any(name.startswith("train-images") and "idx3-ubyte" in name for name in names),
        _undrawn(load_idx),
    ),
    Format("NumPy arrays (images.npy, labels.npy)", lambda names: "images.npy" in names, load_npy),
)
"""Those that are files in a folder. Pictures in folders come after them."""

NAMES = "digits", "synthetic"
"""Data sets that need no path."""

KNOWN = "; ".join([*(entry.name for entry in FORMATS), f"pictures ({LAYOUT})", "an .npz file"])


def load(
    what: str | Path,
    *,
    shape: tuple[int, int, int] = (32, 32, 3),
    classes: int = 10,
    seed: int = 0,
    size: str | None = None,
    skip_broken: bool = False,
    validation: str | int | None = None,
) -> Dataset:
    """The data set called `what`, "digits" or "synthetic", or the one at that path.

    `shape, classes`     of synthetic images, (H, W, D); where D is 1, pictures in folders become grey
    `seed`               of what is drawn: synthetic images, and parts that the data set does not say itself
    `size, skip_broken`  for pictures in folders: "224x224" brings them to it; leave out those that cannot be read
    `validation`         images set aside of those to learn from, like "10%" or 200: see `with_validation`; None: those
                         that the data set has for that

    Raises DataError for a name that there is not, for what cannot be recognized, and for what cannot be used.
    """
    found = _found(what, shape, classes, seed, size, skip_broken)
    return found if validation is None else with_validation(found, validation, seed)


def white_of_data(what: str) -> int:
    """The value of white in a data set, as `load` takes it; nothing but that is read."""
    if what == "digits":
        return DIGITS_WHITE
    path = told_path(what)
    if path.suffix == ".npz" or (_is_dir(path) and (path / "white.npy").is_file()):
        return white_in(path)
    return 255


def _found(
    what: str | Path, shape: tuple[int, int, int], classes: int, seed: int, size: str | None, skip_broken: bool
) -> Dataset:
    """The data set as it is; the arguments are those of `load`."""
    text = str(what)
    is_path = isinstance(what, Path) or text not in NAMES
    if is_path and _is_dir(path := told_path(text)) and not _format(path):
        return _load_pictures(path, size, skip_broken, 1 if shape[2] == 1 else 3, seed)
    if (size is not None or skip_broken) and (not is_path or path.exists()):
        option = "--size" if size is not None else "--skip-broken"
        raise DataError(f"{option} is for pictures in folders ({LAYOUT}); {text} is none of them")
    if text == "digits":
        return digits()
    if text == "synthetic":
        return synthetic(shape, classes, seed)
    if found := _format(path):
        return found.load(path, seed)
    return _load_file(text, seed)


def is_pictures(what: str | Path) -> bool:
    """Whether this means pictures in folders, which can be brought to any size."""
    path = told_path(what)
    return str(what) not in NAMES and _is_dir(path) and _format(path) is None and is_image_folder(path)


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except ValueError:  # with a NUL in it
        return False


def _format(folder: Path) -> Format | None:
    names = _names(folder) if _is_dir(folder) else set()
    return next((entry for entry in FORMATS if entry.signs(names)), None)


def _names(folder: Path) -> set[str]:
    """The files in a folder."""
    try:
        return {path.name for path in folder.iterdir() if not path.is_dir()}
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror or error}") from None


def _load_pictures(folder: Path, size: str | None, skip_broken: bool, maps: int, seed: int) -> Dataset:
    if is_image_folder(folder):
        sized = parse_size(size) if size else None
        return load_folder(folder, size=sized, skip_broken=skip_broken, maps=maps, seed=seed)
    below = [inner for inner in listing.folders(folder) if _format(inner) or is_image_folder(inner)]
    if len(below) == 1:
        raise DataError(f"{folder} is no data set, but {below[0]} is: give --data {below[0]}")
    if below:
        raise DataError(
            f"{folder} is no data set, but holds {len(below):,}, like {below[0]}: give one of them as --data"
        )
    names = [path.name for path in listing.listing(folder)]
    there = ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
    raise DataError(f"{folder} is no data set that is known; it holds {there or 'nothing'}; known are {KNOWN}")


def _load_file(text: str, seed: int) -> Dataset:
    path = told_path(text)
    if text in SOURCES:
        raise DataError(f"fetch it first: gpunet data {text} --to data; then give --data data/{text}")
    if not (path.exists() or path.suffix or path.name != text):
        raise DataError(
            f"there is no data set called {text!r} and no such file; use digits, synthetic, or the path of a folder or "
            f"of an .npz file; gpunet data fetches {', '.join(SOURCES)}"
        )
    if path.is_file() and path.suffix != ".npz" and _format(path.parent):
        raise DataError(f"{path} is one file of a data set; give the folder that it lies in: --data {path.parent}")
    if path.is_file() and listing.is_picture(path):
        raise DataError(f"{path} is one picture; a data set is a folder of them: {LAYOUT}")
    return load_npz(path, seed)
