"""Files of data sets from strangers: whatever is in them, they are read or refused, soon and in little memory."""

import gzip
import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from gpunet.data.arrays import load_npy, load_npz, read_npy
from gpunet.data.cifar import CIFAR100, CIFAR100_PYTHON, Cifar
from gpunet.data.idx import read_idx
from gpunet.data.pickles import load_pickle
from gpunet.data.stl10 import load_stl10
from tests import data_files
from tests.fuzzing import CASES, FEW_CASES, edited, fuzz

# -- idx -------------------------------------------------------------------------------------------

IDX = data_files.idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
IDX_HEADERS = st.builds(
    lambda shape, content: b"\0\0\x08\x03" + struct.pack(">3I", *shape) + content,
    st.tuples(*[st.one_of(st.integers(0, 3), st.integers(0, 2**32 - 1))] * 3),
    st.binary(max_size=30),
)


@CASES
def test_idx(tmp_path: Path, cases: int) -> None:
    contents = st.one_of(edited(IDX, gzip.compress(IDX)), IDX_HEADERS, IDX_HEADERS.map(gzip.compress))
    fuzz(tmp_path, "train-images-idx3-ubyte", cases, contents, lambda path: read_idx(path, 3))


# -- CIFAR -----------------------------------------------------------------------------------------


@CASES
def test_cifar_binary(tmp_path: Path, cases: int) -> None:
    record = bytes([1, 2]) + bytes(range(256)) * 12
    (tmp_path / "test.bin").write_bytes(record)
    contents = st.one_of(
        edited(record, record * 2),
        st.builds(lambda head, n: (head + bytes(3074 - len(head))) * n, st.binary(max_size=3), st.integers(0, 2)),
    )
    fuzz(tmp_path, "train.bin", cases, contents, lambda path: CIFAR100.load(path.parent))


SMALL = {"labels": [1, 200, 70000, None, True], "data": np.zeros((1, 2), np.uint8), b"x": ("a", b"b")}
PICKLES = [pickle.dumps(SMALL, protocol) for protocol in range(5)]
INSTRUCTIONS = [
    *(b"." * 1, b"(", b"0", b"N", b"\x88", b"}", b"]", b")", b"t", b"l", b"d", b"a", b"e", b"s", b"u", b"\x94"),
    *(
        b"\x85",
        b"\x86",
        b"\x87",
        b"R",
        b"b",
        b"K\x01",
        b"K\x00",
        b"M\x00\x0c",
        b"J\xff\xff\xff\xff",
        b"I01\n",
        b"L7L\n",
    ),
    *(
        b"U\x02u1",
        b"U\x01b",
        b"X\x01\x00\x00\x00a",
        b"\x8c\x02u1",
        b"C\x02ab",
        b"S'data'\n",
        b"Va\n",
        b"q\x00",
        b"h\x00",
    ),
    *(
        b"q\x01",
        b"h\x01",
        b"r\xff\xff\xff\xff",
        b"j\x00\x00\x00\x00",
        b"cnumpy\ndtype\n",
        b"cnumpy\nndarray\n",
        b"\x93",
    ),
    *(
        b"cnumpy.core.multiarray\n_reconstruct\n",
        b"c_codecs\nencode\n",
        b"cos\nsystem\n",
        b"X\xff\xff\xff\x7fa",
        b"\x80\x02",
    ),
    *(b"\x8a\x08" + bytes(8), b"\x8b\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 8, b"T\xff\xff\xff\x7f", b"\x8f", b"Pa\n"),
]


def doubled(levels: int) -> bytes:
    """A list that is twice in a list that is twice in a list, and so on."""
    return b"]q\x00" + b"".join(b"0](h%ch%ceq%c" % (k, k, k + 1) for k in range(levels))


def encoded(letters: int, times: int) -> bytes:
    """One text that becomes bytes again and again."""
    text = b"X" + struct.pack("<I", letters) + b"a" * letters
    return b"(c_codecs\nencode\nq\x00" + text + b"X\x06\0\0\0latin1\x86q\x01" + b"h\x00h\x01R" * times + b"t"


AMPLIFIED = st.one_of(
    st.integers(0, 254).map(doubled),
    st.builds(encoded, st.sampled_from([9, 100_000]), st.sampled_from([1, 2, 9000])),
    st.integers(1, 5000).map(lambda depth: b"]" * depth + b"a" * (depth - 1)),
    st.builds(lambda unit, times: b"(" + unit * times + b"l", st.sampled_from(INSTRUCTIONS), st.integers(0, 5000)),
)
"""What puts one value on the stack, often out of much more than itself."""

PROGRAMS = st.lists(st.sampled_from(INSTRUCTIONS), max_size=25).map(lambda parts: b"".join(parts) + b".")


@CASES
@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
def test_pickles(tmp_path: Path, cases: int) -> None:
    beginnings = PROGRAMS.map(lambda program: b"}" + program)
    amplified = AMPLIFIED.map(lambda value: b"}U\x01a" + value + b"s.")
    contents = st.one_of(edited(*PICKLES), PROGRAMS, beginnings, amplified)
    fuzz(tmp_path, "data_batch_1", cases, contents, load_pickle)


@CASES
@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
def test_cifar_python(tmp_path: Path, cases: int) -> None:
    """Of the whole set, as what is in a dict that can be read has to be looked at too."""
    one = {"fine_labels": [1], "data": np.zeros((1, 3072), np.uint8)}
    (tmp_path / "test").write_bytes(pickle.dumps(one, 2))
    arrays = [np.zeros(shape, np.uint8) for shape in ((1, 3072), (3072,), (0, 3072), (2, 3))]
    labels = st.lists(st.integers(-1, 101), max_size=3)
    values = st.one_of(st.integers(-2, 300), st.text(max_size=2), st.none(), labels, st.sampled_from(arrays))
    dicts = st.dictionaries(st.sampled_from(["data", "fine_labels"]), values).map(lambda made: pickle.dumps(made, 2))
    contents = st.one_of(edited(pickle.dumps(one, 2)), dicts)
    fuzz(tmp_path, "train", cases, contents, lambda path: CIFAR100_PYTHON.load(path.parent))


@CASES
@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
def test_cifar_python_names(tmp_path: Path, cases: int) -> None:
    two = Cifar("two", 2, ("train",), "test", "meta", labels_key="labels", names_key="names")
    for name in two.files:
        (tmp_path / name).write_bytes(pickle.dumps({"labels": [1], "data": np.zeros((1, 3072), np.uint8)}, 2))
    plain = st.one_of(st.text(max_size=3), st.binary(max_size=3), st.integers(), st.none(), st.just("x" * 101))
    name = st.recursive(plain, lambda inner: st.lists(inner, max_size=2), max_leaves=4)
    dicts = st.one_of(name, st.lists(name, min_size=1, max_size=3)).map(lambda made: pickle.dumps({"names": made}, 2))
    amplified = st.lists(AMPLIFIED, min_size=2, max_size=2).map(lambda pair: b"}U\x05names](" + b"".join(pair) + b"es.")
    contents = st.one_of(edited(pickle.dumps({"names": ["cat", "dog"]}, 2)), dicts, amplified)
    fuzz(tmp_path, "meta", cases, contents, lambda path: two.load(path.parent))


# -- STL-10 ----------------------------------------------------------------------------------------

PLANES = bytes(96 * 96 * 3)


@FEW_CASES
@pytest.mark.parametrize(
    ("name", "contents"), [("train_X.bin", edited(PLANES, PLANES * 2)), ("train_y.bin", st.binary(max_size=3))]
)
def test_stl10(tmp_path: Path, cases: int, name: str, contents: st.SearchStrategy[bytes]) -> None:
    for which in ("train", "test"):
        (tmp_path / f"{which}_X.bin").write_bytes(PLANES)
        (tmp_path / f"{which}_y.bin").write_bytes(b"\x0a")
    fuzz(tmp_path, name, cases, contents, lambda path: load_stl10(path.parent))


# -- names of classes ------------------------------------------------------------------------------


@CASES
def test_class_names(tmp_path: Path, cases: int) -> None:
    np.save(tmp_path / "images.npy", np.zeros((3, 1, 1), np.uint8))
    np.save(tmp_path / "labels.npy", [0, 1, 2])
    lines = st.lists(st.one_of(st.text(max_size=5), st.just("x" * 200)), max_size=6).map("\n".join)
    contents = st.one_of(lines.map(str.encode), edited(b"cat\ndog\nfox\n"), st.integers(0, 1 << 20).map(bytes))
    fuzz(tmp_path, "class_names.txt", cases, contents, lambda path: load_npy(path.parent))


# -- NumPy -----------------------------------------------------------------------------------------


def npz(images: np.ndarray, compressed: bool = False, **others: object) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, images=images, labels=np.arange(len(images)), **others)
    return file.getvalue()


def npy(header: str, content: bytes, version: int) -> bytes:
    text = header.encode("latin-1", "replace")
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + content


HEADERS = st.builds(
    "{{'descr': {!r}, 'fortran_order': {}, 'shape': {}, }}\n".format,
    st.sampled_from(["|u1", "<f4", ">f8", "|O", "<U9", "|b1", "|S0", "<i8", "x", [("a", "<f4")], "<M8[s]", "|V4"]),
    st.sampled_from(["True", "False", "1", "None"]),
    st.one_of(st.lists(st.one_of(st.integers(-1, 3), st.integers(0, 2**64)), max_size=4).map(tuple), st.just("(2,")),
)
NPY = st.one_of(
    st.builds(npy, HEADERS, st.binary(max_size=40), st.sampled_from([1, 1, 2, 3])),
    edited(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 1), }", bytes(6), 1)),
)


@FEW_CASES
def test_npy(tmp_path: Path, cases: int) -> None:
    fuzz(tmp_path, "images.npy", cases, NPY, read_npy)


def zipped(images: bytes, kind: int) -> bytes:
    """An .npz that holds anything as `images`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        archive.writestr("images.npy", images)
        archive.writestr("labels.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", b"\0\1", 1))
    return file.getvalue()


ZIPPED = st.builds(zipped, NPY, st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]))


@CASES
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_npz(tmp_path: Path, cases: int) -> None:
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    contents = st.one_of(edited(npz(images), npz(images, True), npz(images, white=16)), ZIPPED)
    fuzz(tmp_path, "set.npz", cases, contents, load_npz)
