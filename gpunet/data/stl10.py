"""STL-10 in its binary version: 96x96x3, 10 classes; the unlabelled images are left alone.

Source: A. Coates, H. Lee, A. Y. Ng, "An Analysis of Single Layer Networks in Unsupervised Feature Learning", AISTATS
2011, and the data set's page. An image is a plane of red, of green and of blue, each column by column; labels go from 1
to 10.
"""

from pathlib import Path

import numpy as np

from gpunet.data.dataset import Dataset, Split
from gpunet.data.raw import read_names, read_records
from gpunet.errors import DataError

H = W = 96
D = 3
CLASSES = 10


def load_stl10(folder: Path) -> Dataset:
    """The data set in a folder with train_X.bin, train_y.bin, test_X.bin and test_y.bin."""
    names = read_names(folder / "class_names.txt", CLASSES)
    return Dataset("STL-10", _split(folder, "train"), _split(folder, "test"), classes=names)


def _split(folder: Path, which: str) -> Split:
    columns = read_records(folder / f"{which}_X.bin", H * W * D)
    labels = read_records(path := folder / f"{which}_y.bin", 1)[:, 0]
    if len(labels) != len(columns):
        raise DataError(f"{folder / which}_X.bin has {len(columns):,} images, {path.name} {len(labels):,} labels")
    wrong = np.flatnonzero((labels < 1) | (labels > CLASSES))
    if wrong.size:
        raise DataError(
            f"{path}: label {labels[wrong[0]]} of image {wrong[0]} is out of range; they go from 1 to {CLASSES}"
        )
    images = np.ascontiguousarray(columns.reshape(-1, D, W, H).transpose(0, 3, 2, 1))
    return Split(images, labels - 1)
