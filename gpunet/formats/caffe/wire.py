"""Messages of Caffe as bytes, as weights and means are kept. Arrays of numbers are views of the file's bytes where they
lie there in one piece; fields that are not known are skipped.
"""

from functools import cache
from pathlib import Path
from typing import Any

from gpunet.data.raw import clean_name, opened
from gpunet.errors import DataError
from gpunet.formats.caffe.message import Message
from gpunet.formats.caffe.schema import ENUMERATIONS, is_message, numbered
from gpunet.formats.protobuf import Decoder, Field, Kind, Schema

MOST_FIELDS = 300_000
"""Of all messages in a file; ResNet-152 has 20,000."""

MOST_TEXT_BYTES = 10_000

KINDS: dict[str, Kind] = {"string": "text", "float": "float", "floats": "float", "doubles": "double"}
"""How kinds of fields are written that are neither messages nor whole numbers."""


def read_bytes(path: Path, kind: str) -> Message:
    """The message of a kind that a file is. Raises DataError for what is none."""
    with opened(path) as (file, size):
        content = file.read(size)
    try:
        return _message(kind, Decoder(MOST_FIELDS, MOST_TEXT_BYTES).message(content, _schema(kind)))
    except ValueError as error:
        told = clean_name(str(error))
        raise DataError(f"{path} is cut short, damaged, or no file of Caffe ({told})") from None


@cache
def _schema(kind: str) -> Schema:
    """The fields of a message as they are written: each may be said many times."""
    return Schema(
        {number: Field(field.name, _written(field.kind), many=True) for number, field in numbered(kind).items()}
    )


def _written(kind: str) -> Kind:
    return _schema(kind) if is_message(kind) else KINDS.get(kind, "int")


def _message(kind: str, values: dict[str, Any]) -> Message:
    """What the fields of a message mean."""
    made = Message(kind)
    for field in numbered(kind).values():
        if field.name in values:
            made.values[field.name] = _meant(field.kind, values[field.name])
    return made


def _meant(kind: str, values: Any) -> list[Any]:
    """The values of a field: an array as a list of one."""
    if is_message(kind):
        return [_message(kind, value) for value in values]
    if kind in ("floats", "doubles"):
        return [values]
    if kind in ENUMERATIONS:
        return [ENUMERATIONS[kind].get(number, str(number)) for number in values.tolist()]
    if kind == "bool":
        return [bool(number) for number in values.tolist()]
    return list(values) if kind == "string" else values.tolist()
