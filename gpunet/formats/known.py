"""Whose a file is, by what is in it and never by its ending; and its reader.

A format is a line here and a module of this package with `read(path)`, which gives a `Foreign` or raises DataError. One
that has nets has `read(path, asked)`: what its files may leave open, as whoever imports says it.
"""

import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import BinaryIO, cast

from gpunet.data.raw import Sparing, opened
from gpunet.errors import DataError
from gpunet.formats.foreign import NOTHING, Asked, Foreign
from gpunet.net.words import listed
from gpunet.values.visible import typable

HEAD_BYTES = 4096


@dataclass(frozen=True)
class Beginning:
    """What tells formats apart: the first bytes of a file, and of an archive (zip) the names in it."""

    head: bytes
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """`name` for people; `module` of this package that reads it; `fits` says whether a file is one.

    `nets`     whether it may hold a net
    `weights`  whether it holds weights
    """

    name: str
    module: str
    fits: Callable[[Beginning], bool]
    nets: bool = False
    weights: bool = True


def _is_pytorch(file: Beginning) -> bool:
    """Its archive, what it wrote before, or any other pickle, of which its reader says what is wrong with it."""
    within = {name.partition("/")[2] for name in file.names}
    pickled = file.head[:1] == b"\x80" and file.head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    cut = file.head.startswith(b"PK") and not file.names and b"/data.pkl" in file.head  # its end, which has the names
    oldest = file.head[257:262] == b"ustar" and file.head.startswith((b"sys_info\0", b"pickle\0", b"storages\0"))
    return bool({"data.pkl", "constants.pkl"} & within) or pickled or oldest or cut


def _is_safetensors(file: Beginning) -> bool:
    return file.head[8:9] == b"{" and int.from_bytes(file.head[:8], "little") < 2**32


def _is_caffe(file: Beginning) -> bool:
    """A message of protobuf that begins with a net's name, or at once with its layers, of either version, or inputs."""
    head = file.head
    if head[:1] == b"\n" and len(head) > 2 and head[1] < 128:  # a name of so many bytes
        name, head = head[2 : 2 + head[1]], head[2 + head[1] :]
        if not name.decode("utf-8", "replace").isprintable():
            return False
    begins = (b"\xa2\x06", b"\x12", b"\x1a", b"\x28\x00", b"\x28\x01", b"\x32")
    return head.startswith(begins) and any(byte < 9 or byte > 126 for byte in head)


PROTOTXT = re.compile(
    rb"(?:\s|\#[^\n]*\n)*(?:(?:name|layers?|input(?:_dim|_shape)?|state|force_backward|debug_info|(?:train_|test_)?"
    rb"net(?:_param)?|base_lr|type|solver_(?:mode|type)|test_iter|test_interval|max_iter|lr_policy)\s*[:{<])"
)


def _is_prototxt(file: Beginning) -> bool:
    return bool(PROTOTXT.match(file.head)) and b"\0" not in file.head


def _is_onnx(file: Beginning) -> bool:
    """The fields of a model in their order: the version of the format first, then the writer, the graph or the ops."""
    return len(file.head) > 2 and file.head[0] == 8 and 0 < file.head[1] < 32 and file.head[2] in b"\x12\x1a\x3a\x42"


def _is_keras(file: Beginning) -> bool:
    return file.head.startswith(b"\x89HDF\r\n\x1a\n") or {"config.json", "model.weights.h5"} <= {*file.names}


def _is_tensorflowjs(file: Beginning) -> bool:
    """JSON that says so near its beginning: a model, or a manifest of weights."""
    words = rb'"(modelTopology|weightsManifest|paths|weights)"\s*:|"(layers|graph)-model"'
    return file.head.lstrip()[:1] in (b"{", b"[") and re.search(words, file.head) is not None


def _is_keras_json(file: Beginning) -> bool:
    """What `model.to_json()` gives."""
    kind = rb'"class_name"\s*:\s*"(Sequential|Functional|Model)"'
    return file.head.lstrip()[:1] == b"{" and re.search(kind, file.head) is not None


def _is_torch7(file: Beginning) -> bool:
    """An object, number 1, of a class or with a version; or a table of some things, the first under a text."""
    kind, index, size = (int.from_bytes(file.head[at : at + 4], "little") for at in (0, 4, 8))
    if kind == 4:
        return index == 1 and 0 < size < 200 and file.head[12:].startswith((b"V ", b"nn.", b"cudnn.", b"torch."))
    return kind == 3 and index == 1 and 0 < size < 10_000 and file.head[12:16] == b"\2\0\0\0"


FORMATS = (
    Format("safetensors", "safetensors_file", _is_safetensors),  # first: its length may look like a pickle's beginning
    Format("PyTorch", "pytorch", _is_pytorch),
    Format("Caffe", "caffe.model", _is_caffe, nets=True),
    Format("Caffe's prototxt", "caffe.prototxt", _is_prototxt, nets=True, weights=False),
    Format("ONNX", "onnx.reader", _is_onnx, nets=True),
    Format("Keras", "keras.read", _is_keras, nets=True),
    Format("TensorFlow.js", "tensorflowjs", _is_tensorflowjs, nets=True),
    Format("Torch7", "torch7.read", _is_torch7, nets=True),
    Format("Keras's JSON", "keras.definition", _is_keras_json, nets=True, weights=False),
)


def format_of(path: Path) -> Format | None:
    """The format of a file; None where it is none that is known. Raises DataError where it cannot be read."""
    with opened(path) as (file, _):
        head = file.read(HEAD_BYTES)
        names = _names(file) if head.startswith(b"PK") else ()
    return next((known for known in FORMATS if known.fits(Beginning(head, names))), None)


def foreign_format(path: Path) -> Format | None:
    """The format of a file that another framework wrote; None where it is gpunet's own, or none that is known.

    Raises DataError where it cannot be read.
    """
    found = format_of(path)
    if found is None or found.module != "safetensors_file":
        return found
    from gpunet.formats.safetensors_file import is_foreign

    return found if is_foreign(path) else None


def way_in(path: Path) -> str:
    """What to do with a file that is another framework's, for the end of a message; "" where it is none of theirs."""
    found = foreign_format(path)
    if found is None:
        return ""
    return f"it is a file of {found.name}: gpunet import {typable(path)} makes of it what is taken here"


def says_net(path: Path) -> bool:
    """Whether a file says another framework's net, and holds no weights."""
    found = format_of(path) if path.is_file() else None
    return found is not None and not found.weights


def read_foreign(path: Path, asked: Asked = NOTHING) -> Foreign:
    """What a file of another framework holds. Raises DataError, naming the formats, where it is none of them.

    `asked`  what its file may leave open
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; give the file of weights in it")
    found = format_of(path)
    if found is None:
        raise DataError(f"{path} is none of the formats that can be imported: {listed(f.name for f in FORMATS)}")
    read = import_module(f"gpunet.formats.{found.module}").read
    foreign: Foreign = read(path, asked) if found.nets else read(path)
    return foreign


def _names(file: BinaryIO) -> tuple[str, ...]:
    """The names in an archive; none where it is damaged."""
    try:
        with zipfile.ZipFile(cast("BinaryIO", Sparing(file))) as archive:
            return tuple(archive.namelist())
    except (zipfile.BadZipFile, ValueError, RuntimeError, EOFError):
        return ()
