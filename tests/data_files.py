"""Data sets on disk as their authors write them, byte by byte from the description of each format."""

import pickle
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

TEN = [f"thing {k}" for k in range(10)]
HUNDRED = [f"kind {k}" for k in range(100)]


def planes(image: np.ndarray) -> bytes:
    """(H, W, 3) as all of red, row by row, then green, then blue."""
    H, W, _ = image.shape
    return bytes(int(image[row, column, map_]) for map_ in range(3) for row in range(H) for column in range(W))


def some(rng: np.random.Generator, n: int, H: int, W: int, classes: int) -> tuple[np.ndarray, list[int]]:
    """n random images and labels."""
    return rng.integers(0, 256, (n, H, W, 3), dtype=np.uint8), rng.integers(0, classes, n).tolist()


def write_cifar10(folder: Path, images: np.ndarray, labels: Sequence[int]) -> None:
    """Six images: one a file, the last to test on."""
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    for name, image, label in zip(names, images, labels, strict=True):
        (folder / name).write_bytes(bytes([label]) + planes(image))
    (folder / "batches.meta.txt").write_text("\n".join(TEN) + "\n\n")


def write_cifar100(folder: Path, images: np.ndarray, labels: Sequence[int]) -> None:
    """The last to test on; the coarse labels are 7."""
    records = [bytes([7, label]) + planes(image) for image, label in zip(images, labels, strict=True)]
    (folder / "train.bin").write_bytes(b"".join(records[:-1]))
    (folder / "test.bin").write_bytes(records[-1])
    (folder / "fine_label_names.txt").write_text("\n".join(HUNDRED))


def write_cifar10_python(folder: Path, images: np.ndarray, labels: Sequence[int], protocol: int = 2) -> None:
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for name, image, label in zip(names, images, labels, strict=True):
        data = np.frombuffer(planes(image), np.uint8).reshape(1, 3072)
        content = {"batch_label": "of six", "labels": [label], "data": data, "filenames": ["a.png"]}
        (folder / name).write_bytes(pickle.dumps(content, protocol))
    meta = {"num_cases_per_batch": 1, "label_names": TEN, "num_vis": 3072}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol))


def write_cifar100_python(folder: Path, images: np.ndarray, labels: Sequence[int]) -> None:
    for name, part in (("train", slice(None, -1)), ("test", slice(-1, None))):
        data = np.array([np.frombuffer(planes(image), np.uint8) for image in images[part]])
        content = {b"data": data, b"fine_labels": list(labels[part]), b"coarse_labels": [0] * len(data)}
        (folder / name).write_bytes(pickle.dumps(content, 2))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": HUNDRED}, 2))


def python_2_pickle(pixels: bytes, labels: Sequence[int]) -> bytes:
    """What Python 2's cPickle writes for CIFAR-10 with one image after another: text is bytes, and so is an array."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    shape = b"K" + bytes([len(labels)]) + b"M" + struct.pack("<H", 3072) + b"\x86"
    dtype = (
        b"cnumpy\ndtype\n"
        + text(b"u1")
        + b"K\x00K\x01\x87R(K\x03"
        + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    array += b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<i", len(pixels)) + pixels + b"tb"
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}q\x01(" + text(b"labels") + listed + text(b"data") + array + b"u."


def write_stl10(folder: Path, images: np.ndarray, labels: Sequence[int], tested: int) -> None:
    """96x96, each plane column by column; labels from 0 here, from 1 in the files."""
    for which, part in (("train", slice(None, -tested)), ("test", slice(-tested, None))):
        turned = [np.swapaxes(image, 0, 1) for image in images[part]]
        (folder / f"{which}_X.bin").write_bytes(b"".join(map(planes, turned)))
        (folder / f"{which}_y.bin").write_bytes(bytes(label + 1 for label in labels[part]))
    (folder / "class_names.txt").write_text("\n".join(TEN))


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()
