"""Numbers in ONNX files: within the file, or in one beside it."""

from collections.abc import Mapping
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gpunet.data.raw import clean_name, opened
from gpunet.errors import DataError
from gpunet.formats.halves import BITS

DTYPES = {
    1: "<f4",
    2: "u1",
    3: "i1",
    4: "<u2",
    5: "<i2",
    6: "<i4",
    7: "<i8",
    9: "?",
    10: "<f2",
    11: "<f8",
    12: "<u4",
    13: "<u8",
    16: "bf2",
}
"""By the numbers that files say; bf2 is bfloat16, the upper half of a float32."""

NUMBERS = {np.dtype(name): number for number, name in DTYPES.items() if name not in ("bf2", "<u2")} | {BITS: 16}
"""The number of a dtype of what is written: 16 bits without a sign are those of bfloat16."""

EXTERNAL = 1
MOST_DIMS = 16


class Tensors:
    """Reads tensors of the file at `path`; those beside it from files of its own folder alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.beside_bytes = 0
        self._beside: dict[str, memoryview] = {}

    def array(self, tensor: Mapping[str, Any]) -> np.ndarray:
        """The values of a tensor, where they lie. Raises ValueError for what is none, DataError for a file beside."""
        shape = tuple(int(size) for size in tensor.get("dims", ()))
        if len(shape) > MOST_DIMS or any(size < 0 for size in shape):
            raise ValueError(f"{_name(tensor)} has a shape that no tensor has")
        kind = DTYPES.get(tensor.get("data_type", 0))
        if kind is None:
            raise ValueError(f"{_name(tensor)} holds values of type {tensor.get('data_type', 0)}, which are no weights")
        values = self._flat(tensor, kind)
        if len(values) != prod(shape):
            raise ValueError(f"{_name(tensor)} has {len(values):,} values instead of {prod(shape):,}")
        return values.reshape(shape)

    def _flat(self, tensor: Mapping[str, Any], kind: str) -> np.ndarray:
        if tensor.get("data_location") == EXTERNAL:
            return _typed(self._outside(tensor), kind)
        if "raw_data" in tensor:
            return _typed(tensor["raw_data"], kind)
        for name in ("float_data", "double_data", "int64_data", "uint64_data"):
            if name in tensor:
                return np.asarray(tensor[name]).astype(kind, copy=False)
        bits = np.asarray(tensor.get("int32_data", np.zeros(0, np.int64)))
        if kind in ("<f2", "bf2"):  # as their bits
            return _typed(memoryview(bits.astype("<u2").tobytes()), kind)
        return bits.astype(kind)

    def _outside(self, tensor: Mapping[str, Any]) -> memoryview:
        """The bytes of a tensor that lie in a file beside."""
        said = {entry.get("key", ""): entry.get("value", "") for entry in tensor.get("external_data", ())}
        content = self._file(said.get("location", ""))
        try:
            start, length = int(said.get("offset", "0")), int(said.get("length", "-1"))
        except ValueError:
            raise ValueError(f"{_name(tensor)} does not say where it lies in {said.get('location')}") from None
        end = len(content) if length < 0 else start + length
        if not 0 <= start <= end <= len(content):
            raise ValueError(f"{_name(tensor)} lies beyond the end of {said.get('location')}")
        return content[start:end]

    def _file(self, location: str) -> memoryview:
        """The bytes of a file of the same folder, read once."""
        if location not in self._beside:
            parts = PurePosixPath(location).parts
            folder = self.path.parent.resolve()
            place = folder.joinpath(*parts) if parts else folder
            if not parts or "\\" in location or not place.resolve().is_relative_to(folder):
                raise DataError(
                    f"{self.path}: its weights would lie in '{clean_name(location)}', which is not beside it"
                )
            try:
                with opened(place) as (file, size):
                    self._beside[location] = memoryview(file.read(size))
            except DataError as error:
                raise DataError(f"{self.path} has its weights in a file beside it: {error}") from None
            self.beside_bytes += size
        return self._beside[location]


def _typed(content: memoryview, kind: str) -> np.ndarray:
    if kind == "bf2":
        return (np.frombuffer(content, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(content, kind)


def _name(tensor: Mapping[str, Any]) -> str:
    return str(tensor.get("name", "")) or "a tensor"


def packed(values: np.ndarray, name: str = "") -> dict[str, Any]:
    """An array as a tensor of a file."""
    values = np.ascontiguousarray(values) if values.ndim else values
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    raw = little.reshape(-1).view(np.uint8).data if little.size else b""
    named = {"name": name} if name else {}
    return {"dims": values.shape, "data_type": NUMBERS[little.dtype], "raw_data": raw, **named}
