"""Pickles that hold numbers and text, read without running anything: what CIFAR's Python version is made of.

A pickle is a program for a stack machine. The standard library's `pickle` runs it: it calls what the pickle names, and
makes room for what the pickle claims. This machine knows the few instructions that make dicts, lists, tuples, text,
bytes, integers and NumPy arrays of unsigned bytes; anything else is refused. It takes a bounded number of instructions,
each of which makes at most one object, and turns no more text into bytes than the file has: what it makes is never more
than some times the bytes of the file, and as many small objects as CIFAR needs. The standard library's `pickletools`
takes the instructions apart and runs none of them.
"""

import pickletools
from math import prod
from pathlib import Path

import numpy as np

from gpunet.data.raw import clean_name, read_whole
from gpunet.errors import DataError

MOST_BYTES = 1 << 28
"""The largest file of CIFAR, `train` of CIFAR-100, has 155 million."""
MOST_INSTRUCTIONS = 400_000
"""That file takes 350,000 in the wordiest protocol: 50,000 names of three each, 100,000 labels of two."""
MOST_KEY_LETTERS = 100
"""To find a key in a dict all of it is compared."""

RECONSTRUCT, NDARRAY, DTYPE, ENCODE = "reconstruct", "ndarray", "dtype", "encode"
GLOBALS = {
    "numpy.core.multiarray _reconstruct": RECONSTRUCT,
    "numpy._core.multiarray _reconstruct": RECONSTRUCT,
    "numpy ndarray": NDARRAY,
    "numpy dtype": DTYPE,
    "_codecs encode": ENCODE,  # how Python 3 writes bytes that Python 2 is to read
}
"""What may be named, and the mark that stands for it here: nothing of NumPy is called."""

VALUES = frozenset(
    {"INT", "LONG", "LONG1", "STRING", "UNICODE"}
    | {f"BININT{size}" for size in ("", "1", "2")}
    | {f"{size}BIN{kind}" for size in ("", "SHORT_") for kind in ("STRING", "UNICODE", "BYTES")}
    | {"BINUNICODE8", "BINBYTES8"}
)
"""Instructions that push their argument."""

CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Mark:
    """A thing that a pickle may name."""

    def __init__(self, what: str) -> None:
        self.what = what


class _Array:
    """An array on its way: REDUCE makes it, BUILD fills it."""

    def __init__(self) -> None:
        self.values: np.ndarray | None = None


def load_pickle(path: Path, most_bytes: int = MOST_BYTES) -> dict[str, object]:
    """The dict in a file, its keys as text. Raises DataError where there is anything else, or more than it may hold."""
    try:
        found = _finished(_Machine(read_whole(path, most_bytes)).run())
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
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


class _Machine:
    """Runs one pickle. Errors are ValueError, IndexError, KeyError or TypeError."""

    def __init__(self, program: bytes) -> None:
        self.program = program
        self.bytes_left = len(program)
        """That text may still become: a file that says each text once does not need more."""
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def run(self) -> object:
        for count, (instruction, argument, _) in enumerate(pickletools.genops(self.program)):
            name = instruction.name
            if count == MOST_INSTRUCTIONS:
                raise ValueError(f"more than {MOST_INSTRUCTIONS:,} instructions")
            if name == "STOP":
                break
            if name in VALUES:
                self.stack.append(argument)
            elif name in CONSTANTS:
                self.stack.append(CONSTANTS[name])
            elif name in TUPLES:
                self._replace(TUPLES[name], tuple(self.stack[-TUPLES[name] :]))
            elif name not in ("PROTO", "FRAME"):
                method = getattr(self, f"_{name.lower()}", None)
                if method is None:
                    raise ValueError(f"instruction {name}")
                method(argument)
        (found,) = self.stack
        return found

    def _replace(self, count: int, value: object) -> None:
        """`value` in the place of the last `count`."""
        if len(self.stack) - count < (self.marks[-1] if self.marks else 0):
            raise IndexError("too little on the stack")
        del self.stack[len(self.stack) - count :]
        self.stack.append(value)

    def _since_mark(self) -> list[object]:
        first = self.marks.pop()
        values = self.stack[first:]
        del self.stack[first:]
        return values

    def _mark(self, _: object) -> None:
        self.marks.append(len(self.stack))

    def _pop(self, _: object) -> None:
        self.stack.pop()

    # -- containers

    def _empty_dict(self, _: object) -> None:
        self.stack.append({})

    def _empty_list(self, _: object) -> None:
        self.stack.append([])

    def _tuple(self, _: object) -> None:
        self.stack.append(tuple(self._since_mark()))

    def _list(self, _: object) -> None:
        self.stack.append(self._since_mark())

    def _dict(self, _: object) -> None:
        values = self._since_mark()
        self.stack.append({})
        self._set(values)

    def _append(self, _: object) -> None:
        value = self.stack.pop()
        self._top_list().append(value)

    def _appends(self, _: object) -> None:
        values = self._since_mark()
        self._top_list().extend(values)

    def _setitem(self, _: object) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _setitems(self, _: object) -> None:
        self._set(self._since_mark())

    def _top_list(self) -> list[object]:
        top = self.stack[-1]
        if not isinstance(top, list):
            raise TypeError("something is put into what is no list")
        return top

    def _set(self, values: list[object]) -> None:
        top = self.stack[-1]
        if not isinstance(top, dict) or len(values) % 2:
            raise TypeError("something is put into what is no dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, str | bytes):  # to hash nested tuples, or integers of one hash, can take for ever
                raise TypeError(f"a key is a {type(key).__name__}")
            if len(key) > MOST_KEY_LETTERS:
                raise ValueError(f"a key of {len(key):,} letters")
            top[key] = value

    # -- what was made before

    def _put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    _binput = _long_binput = _put

    def _memoize(self, _: object) -> None:
        self._put(len(self.memo))

    def _get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    _binget = _long_binget = _get

    # -- arrays

    def _global(self, name: str) -> None:
        if name not in GLOBALS:
            raise ValueError(f"it names {name.replace(' ', '.')}")
        self.stack.append(_Mark(GLOBALS[name]))

    def _stack_global(self, _: object) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._global(f"{module} {name}" if isinstance(name, str) and isinstance(module, str) else "something")

    def _reduce(self, _: object) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        if not isinstance(called, _Mark) or not isinstance(arguments, tuple):
            raise TypeError("something is called")
        if called.what == RECONSTRUCT:
            self.stack.append(_Array())
        elif called.what == DTYPE and arguments[:1] in (("u1",), (b"u1",)):
            self.stack.append(_Mark("u1"))
        elif called.what == ENCODE and len(arguments) == 2 and arguments[1] in ("latin1", "latin-1"):
            self.stack.append(self._as_bytes(arguments[0]))
        else:
            raise ValueError("an array of other things than unsigned bytes")

    def _build(self, _: object) -> None:
        """The state of a dtype is left alone: unsigned bytes have but one. That of an array is its shape and bytes."""
        state, top = self.stack.pop(), self.stack[-1]
        if isinstance(top, _Mark) and top.what == "u1":
            return
        if not isinstance(top, _Array) or not isinstance(state, tuple) or len(state) != 5:
            raise TypeError("something is given a state")
        _, shape, dtype, fortran, values = state
        if not (isinstance(dtype, _Mark) and dtype.what == "u1" and _is_shape(shape)):
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
