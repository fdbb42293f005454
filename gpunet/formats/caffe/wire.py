"""Messages as bytes, as weights and means are kept: fields by number. Source: protobuf's encoding.

Nothing is copied: arrays of numbers are views of the file's bytes. Fields that are not known are skipped.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from gpunet.data.raw import clean_name, opened
from gpunet.errors import DataError
from gpunet.formats.caffe.message import Message
from gpunet.formats.caffe.schema import ENUMERATIONS, Field, is_message, numbered
from gpunet.formats.protobuf import FIXED32, FIXED64, LENGTH, VARINT, varint

MOST_FIELDS = 300_000
"""Of all messages in a file; ResNet-152 has 20,000."""
MOST_STRING = 10_000
RUN = 5
"""Bytes of a float of an array that is written number by number: its field, then the float."""

ARRAYS: dict[str, np.dtype[Any]] = {"floats": np.dtype("<f4"), "doubles": np.dtype("<f8")}


def read_bytes(path: Path, kind: str) -> Message:
    """The message of a kind that a file is. Raises DataError for what is none."""
    with opened(path) as (file, size):
        content = file.read(size)
    try:
        return Wire(content).message(kind, 0, len(content))
    except (ValueError, KeyError, IndexError, struct.error) as error:
        told = clean_name(str(error))
        raise DataError(f"{path} is cut short, damaged, or no file of Caffe ({told})") from None


class Wire:
    """Reads messages from the bytes of a file."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._left = MOST_FIELDS

    def message(self, kind: str, at: int, end: int) -> Message:
        """The message between two places. Raises ValueError for what is none."""
        made, known = Message(kind), numbered(kind)
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise ValueError(f"more than {MOST_FIELDS:,} fields")
            begin = at
            key, at = varint(self._content, at, end)
            field, wire = known.get(key >> 3), key & 7
            if wire == LENGTH:
                count, at = varint(self._content, at, end)
                if count > end - at:
                    raise ValueError(f"{count:,} bytes where there are {end - at:,}")
                if field is not None:
                    made.values.setdefault(field.name, []).extend(self._counted(field, at, at + count))
                at += count
            elif field is not None and field.kind == "floats" and wire == FIXED32 and at - begin == 1:
                values, at = self._run(begin, end)
                made.values.setdefault(field.name, []).append(values)
            else:
                raw, at = self._number(wire, at, end)
                if field is not None:
                    made.values.setdefault(field.name, []).append(_meant(field, raw, wire))
        return made

    def _number(self, wire: int, at: int, end: int) -> tuple[int, int]:
        """A number as its bits, and the place behind it."""
        if wire == VARINT:
            return varint(self._content, at, end)
        size = {FIXED64: 8, FIXED32: 4}.get(wire)
        if size is None or at + size > end:
            raise ValueError("a field of no known form, or one that is cut off")
        return int.from_bytes(self._content[at : at + size], "little"), at + size

    def _counted(self, field: Field, at: int, end: int) -> list[Any]:
        """What the bytes between two places are."""
        if is_message(field.kind):
            return [self.message(field.kind, at, end)]
        if field.kind == "string":
            if end - at > MOST_STRING:
                raise ValueError(f"a text of {end - at:,} bytes")
            return [self._content[at:end].decode("utf-8", "replace")]
        if field.kind in ARRAYS:
            return [_array(self._content, ARRAYS[field.kind], at, end)]
        if field.kind == "float":
            return list(map(float, _array(self._content, ARRAYS["floats"], at, end)))
        values = []
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise ValueError(f"more than {MOST_FIELDS:,} fields")
            raw, at = varint(self._content, at, end)
            values.append(_meant(field, raw, VARINT))
        return values

    def _run(self, begin: int, end: int) -> tuple[np.ndarray, int]:
        """The floats of fields in a row that are the same, and the place behind them."""
        rows = np.frombuffer(self._content, np.uint8, (end - begin) // RUN * RUN, begin).reshape(-1, RUN)
        count, ahead = 0, 64
        while count < len(rows):  # a little, then more and more: what is looked at is about what is found
            others = np.flatnonzero(rows[count : count + ahead, 0] != rows[0, 0])
            if len(others):
                count += int(others[0])
                break
            count, ahead = min(count + ahead, len(rows)), 2 * ahead
        if not count:
            raise ValueError("a float that is cut off")
        return np.ascontiguousarray(rows[:count, 1:]).view(ARRAYS["floats"]).reshape(-1), begin + RUN * count


def _array(content: bytes, dtype: np.dtype[Any], at: int, end: int) -> np.ndarray:
    if (end - at) % dtype.itemsize:
        raise ValueError(f"{end - at:,} bytes are no whole number of {dtype.name}")
    return np.frombuffer(content, dtype, (end - at) // dtype.itemsize, at)


def _meant(field: Field, raw: int, wire: int) -> Any:
    """What the bits of a number mean in a field. Raises ValueError where they mean nothing."""
    if field.kind == "float":
        if wire != FIXED32:
            raise ValueError(f"{field.name} is no float")
        return struct.unpack("<f", raw.to_bytes(4, "little"))[0]
    if wire != VARINT or field.kind in ("string", *ARRAYS) or is_message(field.kind):
        raise ValueError(f"{field.name} is written as something else")
    if field.kind == "bool":
        return bool(raw)
    number = raw - (1 << 64) if raw >> 63 else raw
    return ENUMERATIONS[field.kind].get(number, str(number)) if field.kind in ENUMERATIONS else number
