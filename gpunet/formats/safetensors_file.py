"""Weights in safetensors files that PyTorch's users wrote. Those of gpunet itself need no import."""

import json
import re
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gpunet.data.raw import clean_name, opened
from gpunet.errors import DataError
from gpunet.formats.foreign import Foreign
from gpunet.formats.layout import TORCH
from gpunet.formats.pytorch import without_prefixes

NAME = "safetensors"
MOST_HEADER_BYTES = 100_000_000
"""What the library itself takes."""
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
TORCH_NAMES = ("weight", "bias", "running_mean", "running_var")


def read(path: Path) -> Foreign:
    """The arrays of a file, which are PyTorch's as it says or its names tell. Raises DataError for any other."""
    from safetensors import SafetensorError, safe_open

    with opened(path) as (file, size):
        try:
            with safe_open(path, "np") as checked:  # that all of it is as it must be
                about = checked.metadata() or {}
            header = _header(file, size)
            content = memoryview(file.read(size))
        except (SafetensorError, ValueError, RecursionError) as error:
            told = clean_name(str(error))
            raise DataError(f"{path} is cut short, damaged, or no safetensors file ({told})") from None
    if "gpunet" in about:
        raise DataError(f"{path} is gpunet's own already: it needs no import")
    names = sorted(header.keys() - {"__metadata__"}, key=_natural)
    arrays = {name: _array(path, name, header[name], content) for name in names}
    whose = about.get("format", "pt" if _is_torch(arrays) else "")
    if whose != "pt":
        told = f"says that it is of {clean_name(whose)!r}" if whose else "does not say whose it is, nor do its names"
        raise DataError(f"{path} {told}; how its filters lie is known of PyTorch's alone")
    arrays, notes = without_prefixes(arrays)
    return Foreign(path, "PyTorch's safetensors", arrays, TORCH, notes=tuple(notes))


def is_foreign(path: Path) -> bool:
    """Whether a file is safe and another framework's: it does not say that it is gpunet's, and has PyTorch's names."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            return "gpunet" not in (file.metadata() or {}) and _is_torch(file.keys())
    except (SafetensorError, OSError):
        return False


def _header(file: BinaryIO, size: int) -> dict[str, Any]:
    """What each array is, by name."""
    (count,) = struct.unpack("<Q", file.read(8))
    if count > min(size, MOST_HEADER_BYTES):
        raise ValueError("its header is longer than the file")
    header: dict[str, Any] = json.loads(file.read(count))
    return header


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts names as they are counted, features.2 before features.10: the library keeps no order of its own."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]{1,9})", name)]


def _array(path: Path, name: str, entry: dict[str, Any], content: memoryview) -> np.ndarray:
    if entry["dtype"] not in DTYPES:
        raise DataError(f"{path}: {clean_name(name)} holds {clean_name(entry['dtype'])} values, which are no weights")
    begin, end = entry["data_offsets"]
    values = np.frombuffer(content[begin:end], DTYPES[entry["dtype"]])
    if entry["dtype"] == "BF16":  # the upper half of a float32
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.reshape(entry["shape"])


def _is_torch(names: Iterable[str]) -> bool:
    """Whether the names are those of PyTorch's modules."""
    return any(name.rpartition(".")[2] in TORCH_NAMES for name in names)
