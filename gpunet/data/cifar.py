"""CIFAR-10 and CIFAR-100 as their authors give them out, in the binary and in the Python version.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009, and the data sets' page. An image
is 3,072 bytes: 32x32 of red, then of green, then of blue. In the binary version its label stands before it, in that of
CIFAR-100 its coarse and its fine label; the fine ones are learnt.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpunet.data.dataset import Dataset, Split
from gpunet.data.pickles import load_pickle
from gpunet.data.raw import MOST_NAME_LETTERS, MOST_NAMES_BYTES, clean_name, read_names, read_records
from gpunet.errors import DataError

H = W = 32
D = 3
PIXELS = H * W * D


@dataclass(frozen=True)
class Cifar:
    """One version of one of the sets: its files, and what its labels are called in them."""

    name: str
    classes: int
    train: tuple[str, ...]
    test: str
    names: str
    label_bytes: int = 0
    """Before each image; the last is the label. 0: the Python version."""
    labels_key: str = ""
    names_key: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.train, self.test)

    def load(self, folder: Path) -> Dataset:
        """The data set in `folder`. Raises DataError, naming the file that is missing or not what it should be."""
        for file in self.files:
            if not (folder / file).is_file():
                raise DataError(f"{folder} looks like {self.name} but has no file {file}")
        parts = [self._read(folder / file) for file in self.files]
        images = np.concatenate([images for images, _ in parts[:-1]])
        labels = np.concatenate([labels for _, labels in parts[:-1]])
        return Dataset(self.name, Split(images, labels), Split(*parts[-1]), classes=self._names(folder / self.names))

    def _read(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Images (n, H, W, D) and labels (n,) of a file."""
        if self.label_bytes:
            records = read_records(path, self.label_bytes + PIXELS)
            labels, planes = records[:, self.label_bytes - 1], records[:, self.label_bytes :]
        else:
            labels, planes = self._unpickled(path)
        wrong = np.flatnonzero(labels >= self.classes)
        if wrong.size:
            raise DataError(
                f"{path}: label {labels[wrong[0]]} of image {wrong[0]} is out of range; "
                f"{self.name} has labels from 0 to {self.classes - 1}"
            )
        return np.ascontiguousarray(planes.reshape(-1, D, H, W).transpose(0, 2, 3, 1)), labels

    def _unpickled(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Labels (n,) and images (n, 3072), as they stand in the file."""
        content = load_pickle(path)
        planes, labels = content.get("data"), content.get(self.labels_key)
        if not isinstance(planes, np.ndarray) or planes.ndim != 2 or planes.shape[1] != PIXELS or not len(planes):
            shown = getattr(planes, "shape", "nothing like it")
            raise DataError(f"{path}: 'data' must be an array (n, {PIXELS}) of bytes; it is {shown}")
        if not isinstance(labels, list) or not all(isinstance(label, int) and 0 <= label < 256 for label in labels):
            raise DataError(f"{path}: {self.labels_key!r} must be a list of labels from 0 to {self.classes - 1}")
        if len(labels) != len(planes):
            raise DataError(f"{path} has {len(planes):,} images and {len(labels):,} labels")
        return np.array(labels, np.uint8), planes

    def _names(self, path: Path) -> tuple[str, ...]:
        if self.label_bytes or not path.exists():
            return read_names(path, self.classes) if self.label_bytes else ()
        names = load_pickle(path, MOST_NAMES_BYTES).get(self.names_key)
        if not isinstance(names, list) or len(names) != self.classes or not all(map(_is_name, names)):
            raise DataError(
                f"{path}: {self.names_key!r} must be a list of {self.classes} names "
                f"of at most {MOST_NAME_LETTERS} letters"
            )
        return tuple(clean_name(name.decode("utf-8", "replace") if isinstance(name, bytes) else name) for name in names)


def _is_name(name: object) -> bool:
    return isinstance(name, str | bytes) and len(name) <= MOST_NAME_LETTERS


FIVE = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")

CIFAR10 = Cifar(
    "CIFAR-10", 10, tuple(f"{name}.bin" for name in FIVE), "test_batch.bin", "batches.meta.txt", label_bytes=1
)
CIFAR100 = Cifar("CIFAR-100", 100, ("train.bin",), "test.bin", "fine_label_names.txt", label_bytes=2)
CIFAR10_PYTHON = Cifar("CIFAR-10", 10, FIVE, "test_batch", "batches.meta", labels_key="labels", names_key="label_names")
CIFAR100_PYTHON = Cifar(
    "CIFAR-100", 100, ("train",), "test", "meta", labels_key="fine_labels", names_key="fine_label_names"
)
