"""The wire format of Protocol Buffers, read and written by tables of fields; nothing is generated, nothing is needed.

A message is a dict of its fields by name; one that is not there is not in it. Source: protobuf.dev, "Encoding".
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union

import numpy as np

MOST_PARTS = 1_000_000
"""Fields of a file that are looked at: Python's objects take a hundred times the bytes of the shortest ones."""

MOST_DEPTH = 16
"""Messages within messages."""

MOST_TEXT_BYTES = 1 << 24
"""Of a text; the names of classes may stand in one."""

RUN = 5
"""Bytes of a float of an array that is written number by number: its field, then the float."""

Bytes = bytes | memoryview
Kind = Union[Literal["int", "float", "double", "text", "bytes"], "Schema"]


@dataclass(frozen=True)
class Field:
    """A field of a message: its name, what it holds, and whether there may be `many`.

    Many numbers are an array (float32, float64, or int64), everything else that is many is a list; "bytes" are views of
    the file.
    """

    name: str
    kind: Kind
    many: bool = False


@dataclass(frozen=True)
class Schema:
    """The fields of a message by their numbers; those that are not listed are skipped."""

    fields: Mapping[int, Field]


VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
WIRES = {"int": VARINT, "float": FIXED32, "double": FIXED64, "text": LENGTH, "bytes": LENGTH}
PACKED = {"float": "<f4", "double": "<f8"}


class Decoder:
    """Reads messages of one file, `most` of whose fields may be looked at in all, in texts of so many bytes at most."""

    def __init__(self, most: int = MOST_PARTS, most_text_bytes: int = MOST_TEXT_BYTES) -> None:
        self._most = self._left = most
        self._most_text_bytes = most_text_bytes

    def message(self, content: Bytes, schema: Schema, depth: int = 0) -> dict[str, Any]:
        """The fields of a message. Raises ValueError for what is no message of that kind."""
        if depth > MOST_DEPTH:
            raise ValueError(f"messages are nested more than {MOST_DEPTH} deep")
        found: dict[str, Any] = {}
        for number, wire, value in self._fields(memoryview(content)):
            field = schema.fields.get(number)
            if field is None:
                continue
            parts = self._parts(field, wire, value, depth)
            if field.many:
                found.setdefault(field.name, []).extend(parts)
            else:
                found[field.name] = parts[-1]
        for field in schema.fields.values():
            if field.many and field.name in found and field.kind in ("int", *PACKED):
                found[field.name] = np.concatenate([np.atleast_1d(part) for part in found[field.name]])
        return found

    def _fields(self, content: memoryview) -> Iterator[tuple[int, int, Any]]:
        """Number, wire type and raw value of each field."""
        at = 0
        while at < len(content):
            self._left -= 1
            if self._left < 0:
                raise ValueError(f"more than {self._most:,} fields")
            begin = at
            key, at = varint(content, at)
            wire = key & 7
            if wire == VARINT:
                value, at = varint(content, at)
                yield key >> 3, wire, value
                continue
            count = {FIXED64: 8, FIXED32: 4}.get(wire, 0)
            if wire == LENGTH:
                count, at = varint(content, at)
            elif not count:
                raise ValueError(f"a field of wire type {wire}")
            if count > len(content) - at:
                raise ValueError("it ends within a field")
            if wire == FIXED32 and at - begin == 1 and content[at + count : at + count + 1] == content[begin:at]:
                rows = _alike(content[begin:])
                yield key >> 3, wire, rows[:, 1:].tobytes()
                at = begin + rows.size
                continue
            yield key >> 3, wire, content[at : at + count]
            at += count

    def _parts(self, field: Field, wire: int, value: Any, depth: int) -> list[Any]:
        """The value of a field, or the array of a packed one, as a list of one."""
        kind = field.kind
        if isinstance(kind, Schema):
            _check(field, wire, LENGTH)
            return [self.message(value, kind, depth + 1)]
        if field.many and kind in ("int", *PACKED) and wire == LENGTH:
            return [_integers(value) if kind == "int" else _floats(value, PACKED[kind])]
        _check(field, wire, WIRES[kind])
        if kind == "int":
            return [np.array([_signed(value)]) if field.many else _signed(value)]
        if kind in PACKED:
            numbers = np.frombuffer(value, PACKED[kind])
            return [numbers if field.many else float(numbers[-1])]
        if kind == "text" and len(value) > self._most_text_bytes:
            raise ValueError(f"a text of {len(value):,} bytes")
        return [str(value, "utf-8", "replace") if kind == "text" else value]


def _floats(content: memoryview, dtype: str) -> np.ndarray:
    if len(content) % np.dtype(dtype).itemsize:
        raise ValueError(f"{len(content):,} bytes are no whole number of {np.dtype(dtype).name}")
    return np.frombuffer(content, dtype)


def _alike(content: memoryview) -> np.ndarray:
    """Floats of one field in a row, field and float in each row of bytes: all that begin with the same byte."""
    rows = np.frombuffer(content, np.uint8, len(content) // RUN * RUN).reshape(-1, RUN)
    count, ahead = 0, 64
    while count < len(rows):  # a little, then more and more: what is looked at is about what is found
        others = np.flatnonzero(rows[count : count + ahead, 0] != rows[0, 0])
        if len(others):
            return rows[: count + int(others[0])]
        count, ahead = min(count + ahead, len(rows)), 2 * ahead
    return rows


def _check(field: Field, wire: int, wanted: int) -> None:
    if wire != wanted:
        raise ValueError(f"its {field.name} is of wire type {wire} instead of {wanted}")


def varint(content: Bytes, at: int) -> tuple[int, int]:
    """The number that begins there, and where it ends. Raises ValueError where that is not within the content."""
    number = shift = 0
    while True:
        if at >= len(content):
            raise ValueError("it ends within a number")
        byte = content[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number & (2**64 - 1), at
        shift += 7
        if shift > 63:
            raise ValueError("a number that does not end")


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


def _integers(content: memoryview) -> np.ndarray:
    """Packed integers, without an object for each: a byte below 128 ends one."""
    raw = np.frombuffer(content, np.uint8)
    ends = np.flatnonzero(raw < 128)
    if len(raw) and (not len(ends) or ends[-1] != len(raw) - 1):
        raise ValueError("it ends within a number")
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    lengths = ends - starts + 1
    if len(lengths) and lengths.max() > 10:
        raise ValueError("a number of more than ten bytes")
    numbers = np.zeros(len(ends), np.uint64)
    for place in range(int(lengths.max(initial=0))):
        there = lengths > place
        bits = (raw[starts[there] + place] & 127).astype(np.uint64)
        numbers[there] |= bits << np.uint64(7 * place)
    return numbers.view(np.int64)


def encoded(message: Mapping[str, Any], schema: Schema) -> list[Bytes]:
    """A message as bytes, in pieces: large ones are not copied. Numbers that are many are packed."""
    pieces: list[Bytes] = []
    for number, field in sorted(schema.fields.items()):
        if field.name not in message:
            continue
        value = message[field.name]
        if field.many and field.kind in ("int", *PACKED):
            _add(pieces, number, [_packed(value, field.kind)])
            continue
        for one in value if field.many else [value]:
            _add_one(pieces, number, field.kind, one)
    return pieces


def _add_one(pieces: list[Bytes], number: int, kind: Kind, value: Any) -> None:
    if isinstance(kind, Schema):
        _add(pieces, number, encoded(value, kind))
    elif kind in ("text", "bytes"):
        _add(pieces, number, [value.encode() if isinstance(value, str) else value])
    elif kind == "int":
        pieces.append(_number(number << 3 | VARINT) + _number(value))
    else:
        pieces.append(_number(number << 3 | WIRES[kind]) + struct.pack("<f" if kind == "float" else "<d", value))


def _add(pieces: list[Bytes], number: int, content: list[Bytes]) -> None:
    """Add bytes with their length before."""
    pieces.append(_number(number << 3 | LENGTH) + _number(sum(memoryview(part).nbytes for part in content)))
    pieces += content


def _packed(values: Iterable[Any], kind: Kind) -> bytes:
    if kind == "int":
        return b"".join(_number(int(value)) for value in values)
    return np.asarray(values, PACKED[str(kind)]).tobytes()


def _number(value: int) -> bytes:
    """A number, seven bits a byte, the lowest first; negative ones in two's complement of 64 bits."""
    value &= 2**64 - 1
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    made.append(value)
    return bytes(made)
