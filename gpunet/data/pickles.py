"""Pickles that hold numbers, text and arrays of bytes: what CIFAR's Python version is made of.

They are read by `gpunet.system.pickles`, which runs nothing. No more text is turned into bytes than the file has, and
as many small objects are made as CIFAR needs: the largest file, `train` of CIFAR-100, takes 350,000 instructions in the
wordiest protocol, 50,000 names of three each, 100,000 labels of two.
"""

from math import prod
from pathlib import Path
from typing import ClassVar

import numpy as np

from gpunet.data.raw import clean_name, read_whole
from gpunet.errors import DataError
from gpunet.system.pickles import ERRORS, Machine, Mark

MOST_BYTES = 1 << 28
"""The largest file of CIFAR, `train` of CIFAR-100, has 155 million."""

RECONSTRUCT, NDARRAY, DTYPE, ENCODE = "reconstruct", "ndarray", "dtype", "encode"


class _Array:
    """An array on its way: REDUCE makes it, BUILD fills it."""

    def __init__(self) -> None:
        self.values: np.ndarray | None = None


def load_pickle(path: Path, most_bytes: int = MOST_BYTES) -> dict[str, object]:
    """The dict in a file, its keys as text. Raises DataError where there is anything else, or more than it may hold."""
    try:
        found = _finished(_CifarMachine(read_whole(path, most_bytes)).run())
    except ERRORS as error:
        told = clean_name(str(error))  # which may quote the file
        raise DataError(f"{path} is cut short, damaged, or holds more than numbers and text ({told})") from None
    if not isinstance(found, dict):
        raise DataError(f"{path} holds a {type(found).__name__}, not a dict")
    return {_as_text(key): _finished(value) for key, value in found.items()}


def _as_text(key: str | bytes) -> str:
    return key.decode("latin-1") if isinstance(key, bytes) else key


def _finished(value: object) -> object:
    if isinstance(value, _Array) and value.values is not None:
        return value.values
    return value


class _CifarMachine(Machine):
    """Knows NumPy's arrays of unsigned bytes."""

    known: ClassVar = {
        "numpy.core.multiarray _reconstruct": RECONSTRUCT,
        "numpy._core.multiarray _reconstruct": RECONSTRUCT,
        "numpy ndarray": NDARRAY,
        "numpy dtype": DTYPE,
        "_codecs encode": ENCODE,  # how Python 3 writes bytes that Python 2 is to read
    }

    def __init__(self, program: bytes) -> None:
        super().__init__(program)
        self.bytes_left = len(program)
        """That text may still become: a file that says each text once does not need more."""

    def call(self, called: str, arguments: tuple[object, ...]) -> object:
        if called == RECONSTRUCT:
            return _Array()
        if called == DTYPE and arguments[:1] in (("u1",), (b"u1",)):
            return Mark("u1")
        if called == ENCODE and len(arguments) == 2 and arguments[1] in ("latin1", "latin-1"):
            return self._as_bytes(arguments[0])
        raise ValueError("an array of other things than unsigned bytes")

    def build(self, top: object, state: object) -> None:
        """The state of a dtype is left alone: unsigned bytes have but one. That of an array is its shape and bytes."""
        if isinstance(top, Mark) and top.what == "u1":
            return
        if not isinstance(top, _Array) or not isinstance(state, tuple) or len(state) != 5:
            raise TypeError("something is given a state")
        _, shape, dtype, fortran, values = state
        if not (isinstance(dtype, Mark) and dtype.what == "u1" and _is_shape(shape)):
            raise ValueError("an array of other things than unsigned bytes")
        flat = np.frombuffer(self._as_bytes(values), np.uint8)
        if flat.size != prod(shape):
            raise ValueError(f"an array of shape {shape} has {flat.size:,} bytes")
        top.values = flat.reshape(shape, order="F" if fortran else "C")

    def _as_bytes(self, text: object) -> bytes:
        """Python 2 wrote bytes as what `pickletools` takes for text in Latin-1."""
        if isinstance(text, bytes):
            return text
        if not isinstance(text, str):
            raise TypeError("an array's values are no bytes")
        self.bytes_left -= len(text)
        if self.bytes_left < 0:
            raise ValueError("the same text becomes bytes again and again")
        return text.encode("latin-1")


def _is_shape(shape: object) -> bool:
    if not isinstance(shape, tuple) or len(shape) > 4:
        return False
    return all(isinstance(extent, int) and 0 <= extent <= MOST_BYTES for extent in shape)
