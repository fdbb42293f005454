"""What `torch.save` of Torch7 wrote, in binary: numbers, texts, tables, and objects of a class, each with its number.

Functions are bytecode, which is passed over. Tensors are views of storages, which several may share.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite, prod

import numpy as np

NIL, NUMBER, TEXT, TABLE, OBJECT, BOOLEAN, FUNCTION, OLD_FUNCTION, NEW_FUNCTION = range(9)

DTYPES = {
    "Byte": "u1",
    "Char": "i1",
    "Short": "<i2",
    "Int": "<i4",
    "Long": "<i8",
    "Half": "<f2",
    "Float": "<f4",
    "Double": "<f8",
}
"""Of the values in a storage, by what stands before "Storage" and "Tensor"; "Cuda" before that says where it was."""

MOST_DEPTH = 150
MOST_OBJECTS = 1_000_000
MOST_AXES = 32
MOST_NAME = 200
ERRORS = (ValueError, TypeError, EOFError, struct.error, OverflowError)

Table = dict[str | int, object]
"""Anything by texts and integers; a list has the keys 1, 2 and so on."""


@dataclass
class Module:
    """An object: its class, like nn.ReLU, and what it says of itself."""

    kind: str
    said: Table = field(default_factory=dict)

    @property
    def modules(self) -> "list[Module]":
        """Those that it holds, in order."""
        return [one for one in items(self.said.get("modules")) if isinstance(one, Module)]


def items(table: object) -> list[object]:
    """What is in a table that is a list."""
    if not isinstance(table, Mapping):
        return []
    found: list[object] = []
    while (number := len(found) + 1) in table:
        found.append(table[number])
    return found


class Reader:
    """Reads the object in the bytes of a file. Errors are ERRORS."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0
        self._objects: dict[int, object] = {}
        self._count = 0

    def read(self, depth: int = 0) -> object:
        """The next object."""
        self._count += 1
        if depth > MOST_DEPTH or self._count > MOST_OBJECTS:
            raise ValueError(f"more than {MOST_DEPTH} objects within one another, or {MOST_OBJECTS:,} in all")
        kind = self._int()
        if kind == NIL:
            return None
        if kind == NUMBER:
            return self._number()
        if kind == TEXT:
            return self._text(self._int())
        if kind == BOOLEAN:
            return self._int() != 0
        if kind == FUNCTION:
            self._function(depth)
            return None
        if kind in (TABLE, OBJECT, OLD_FUNCTION, NEW_FUNCTION):
            return self._numbered(kind, depth)
        raise ValueError(f"an object of kind {kind}")

    def _numbered(self, kind: int, depth: int) -> object:
        """An object that has a number, by which it is named where it comes again."""
        index = self._int()
        if index in self._objects:
            return self._objects[index]
        if kind == TABLE:
            table: Table = {}
            self._objects[index] = table
            return self._table(table, depth)
        if kind == OBJECT:
            return self._instance(index, depth)
        self._objects[index] = None
        self._function(depth)
        return None

    def _table(self, table: Table, depth: int) -> Table:
        for _ in range(self._size()):
            key, value = self.read(depth + 1), self.read(depth + 1)
            if isinstance(key, str) or (isinstance(key, int) and abs(key) < MOST_OBJECTS):  # no other is asked for
                table[key] = value
        return table

    def _function(self, depth: int) -> None:
        """Bytecode and what it refers to, passed over."""
        self._pass(self._size())
        self.read(depth + 1)

    def _instance(self, index: int, depth: int) -> object:
        """An object of a class; before its name comes the version, but in the oldest files."""
        name = self._text(self._size())
        if name.startswith("V "):
            name = self._text(self._size())
        plain = name.removeprefix("torch.").removeprefix("Cuda")
        if name.startswith("torch.") and plain.endswith("Storage"):
            self._objects[index] = made = self._storage(_dtype(plain.removesuffix("Storage")))
            return made
        if name.startswith("torch.") and plain.endswith("Tensor"):
            self._objects[index] = None  # no tensor holds itself
            self._objects[index] = made = self._tensor(_dtype(plain.removesuffix("Tensor")), depth)
            return made
        module = Module(name)
        self._objects[index] = module
        said = self.read(depth + 1)
        module.said = said if isinstance(said, dict) else {}
        return module

    def _storage(self, dtype: np.dtype) -> np.ndarray:
        count, first = self._long(), self._at
        self._pass(count * dtype.itemsize)
        return np.frombuffer(self._content, dtype, count, first)

    def _tensor(self, dtype: np.dtype, depth: int) -> np.ndarray:
        """A view of its storage, all of which lies in that."""
        axes = self._int()
        if not 0 <= axes <= MOST_AXES:
            raise ValueError(f"a tensor of {axes} axes")
        shape, strides = ([self._long() for _ in range(axes)] for _ in range(2))
        first = self._long() - 1
        storage = self.read(depth + 1)
        if storage is None or not axes or 0 in shape:
            return np.empty(0, dtype)
        if not isinstance(storage, np.ndarray) or storage.dtype != dtype:
            raise TypeError("a tensor over what is no storage of its kind")
        last = first + sum((extent - 1) * step for extent, step in zip(shape, strides, strict=True))
        if min(*shape, *strides, first) < 0 or last >= len(storage) or prod(shape) > len(self._content):
            raise ValueError("a tensor lies outside of its storage")
        steps = [step * dtype.itemsize for step in strides]
        return np.lib.stride_tricks.as_strided(storage[first:], shape, steps, writeable=False)

    # -- numbers and bytes

    def _pass(self, count: int) -> None:
        if count < 0 or self._at + count > len(self._content):
            raise EOFError("it ends too early")
        self._at += count

    def _take(self, count: int) -> bytes:
        self._pass(count)
        return self._content[self._at - count : self._at]

    def _int(self) -> int:
        return int.from_bytes(self._take(4), "little", signed=True)

    def _size(self) -> int:
        if (size := self._int()) < 0:
            raise ValueError("a size below 0")
        return size

    def _long(self) -> int:
        return int.from_bytes(self._take(8), "little", signed=True)

    def _number(self) -> float | int:
        """A number; those that count are integers."""
        (number,) = struct.unpack("<d", self._take(8))
        return int(number) if isfinite(number) and number == int(number) else float(number)

    def _text(self, count: int) -> str:
        return self._take(count).decode("utf-8", "replace")


def _dtype(name: str) -> np.dtype:
    if name not in DTYPES and name != "":
        raise ValueError(f"values of kind {name[:MOST_NAME]}")
    return np.dtype(DTYPES[name or "Float"])
