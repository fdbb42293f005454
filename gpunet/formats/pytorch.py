"""State dicts in files of `torch.save`, read without PyTorch and without running anything.

Two containers: an archive (zip) of a pickle and a file for each storage, since PyTorch 1.6; and before that pickles one
after another, and behind them the values of the storages. Tensors are views of storages, which several may share.
"""

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from math import prod
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from gpunet.data.raw import Sparing, clean_name, opened
from gpunet.errors import DataError
from gpunet.formats.foreign import Foreign
from gpunet.formats.layout import TORCH
from gpunet.formats.pytorch_pickle import Storage, TorchMachine, View, strided
from gpunet.net.words import listed
from gpunet.system.pickles import ERRORS, Unknown

NAME = "PyTorch"
MOST_PICKLE_BYTES = 1 << 25
"""That of ResNet-152 has 100,000; weights are not in it."""
LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
WITHIN = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params", "ema_state_dict")
"""Where checkpoints keep the state dict of the model."""
AROUND = "a module around the net"
PREFIXES = {
    "module.": "DataParallel",
    "_orig_mod.": "torch.compile",
    "model.": AROUND,
    "net.": AROUND,
    "backbone.": AROUND,
}
"""What stands before every name of a model that was wrapped, and by what: Lightning's users call it model or net."""
SAVE = "save model.state_dict() with torch.save"

Load = Callable[[Storage], np.ndarray]
"""The values of a whole storage."""


def read(path: Path) -> Foreign:
    """The state dict in a file. Raises DataError for anything else, and for what `weights_only=True` refuses."""
    with opened(path) as (file, size):
        try:
            found, load = (_archive if file.read(2) == b"PK" else _legacy)(file, size)
            where, state = _state(found)
            arrays, loaded = {}, dict[str, np.ndarray]()
            for name, view in state.items():
                if prod(view.shape) > size:  # of strides of 0: nobody's weights, and they will be copied
                    raise ValueError(f"{name} claims {prod(view.shape):,} values, more than the file has bytes")
                key = view.storage.key
                if key not in loaded:
                    loaded[key] = load(view.storage)
                arrays[name] = strided(view, loaded[key])
        except Unknown as error:
            raise DataError(
                f"{path} holds more than weights, what would have to be run and torch.load(weights_only=True) refuses, "
                f"too ({clean_name(str(error))}); {SAVE}"
            ) from None
        except (*ERRORS, EOFError, RuntimeError, struct.error, zipfile.BadZipFile) as error:
            told = clean_name(str(error))  # which may quote the file
            words = "is cut short, damaged, or holds more than a state dict"
            raise DataError(f"{path} {words} ({told}); {SAVE}") from None
        except _Refused as error:
            raise DataError(f"{path} {error}") from None
    arrays, unwrapped = without_prefixes(arrays)
    return Foreign(path, NAME, arrays, TORCH, notes=(*where, *unwrapped))


def without_prefixes(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays by the names that they have in the model itself, and what was left out, a line each."""
    notes = []
    named = dict(arrays)
    while named and (found := next((p for p in PREFIXES if all(name.startswith(p) for name in named)), None)):
        named = {name.removeprefix(found): values for name, values in named.items()}
        notes.append(f"{found!r}, which {PREFIXES[found]} puts before every name, left out")
    return named, notes


class _Refused(Exception):
    """What a file is that cannot be read, and what to save instead."""


# -- containers


def _archive(file: BinaryIO, size: int) -> tuple[object, Load]:
    """What the pickle in an archive makes, and its storages."""
    with zipfile.ZipFile(cast("BinaryIO", Sparing(file))) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if len(entries) != len(archive.infolist()):
            raise ValueError("two entries of one name")
    folders = {name.partition("/")[0] for name in entries}
    within = {name.partition("/")[2] for name in entries}
    if "constants.pkl" in within or any(name.startswith("code/") for name in within):
        raise _Refused(f"is TorchScript, a program and not weights alone; {SAVE}")
    if len(folders) != 1 or "data.pkl" not in within:
        raise _Refused(f"is an archive without data.pkl, so none of torch.save; {SAVE}")
    (folder,) = folders
    left = size

    def take(name: str) -> bytes:
        nonlocal left  # entries may claim the same bytes
        entry = entries[f"{folder}/{name}"]
        left -= entry.file_size
        if left < 0:
            raise ValueError("its entries claim more bytes than it has")
        return _entry(file, entry)

    order = take("byteorder") if "byteorder" in within else b"little"
    if entries[f"{folder}/data.pkl"].file_size > MOST_PICKLE_BYTES:
        raise ValueError(f"a pickle of more than {MOST_PICKLE_BYTES:,} bytes")
    found = TorchMachine(take("data.pkl")).run()
    return found, lambda storage: _values(take(f"data/{storage.key}"), storage, big=order == b"big")


def _entry(file: BinaryIO, entry: zipfile.ZipInfo) -> bytes:
    """The bytes of an entry, which are as they are: torch.save never compresses. Its sum is 0 where none was made."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size or entry.flag_bits & 1:
        raise ValueError(f"{entry.filename} is compressed or encrypted, as torch.save writes none")
    file.seek(entry.header_offset)
    signature, names, extras = struct.unpack("<4s22xHH", _exactly(file, 30))
    if signature != b"PK\x03\x04":
        raise ValueError(f"{entry.filename} is not where the directory says")
    file.seek(entry.header_offset + 30 + names + extras)
    content = _exactly(file, entry.file_size)
    if entry.CRC and zlib.crc32(content) != entry.CRC:
        raise ValueError(f"{entry.filename} has another sum than it had")
    return content


def _legacy(file: BinaryIO, size: int) -> tuple[object, Load]:
    """What the fourth of the pickles makes, and the storages behind the fifth, each with its number of values."""
    file.seek(0)
    start = BytesIO(file.read(min(size, MOST_PICKLE_BYTES)))
    first = start.read(512)
    if first[257:262] == b"ustar":
        raise _Refused(f"is in the container of PyTorch before 0.2; load it there, and {SAVE}")
    start.seek(0)
    if TorchMachine(start).run() != LEGACY_MAGIC:
        raise _Refused(f"is a pickle, but none of torch.save; {SAVE}")
    if TorchMachine(start).run() != LEGACY_PROTOCOL:
        raise ValueError("another protocol than 1001")
    system = TorchMachine(start).run()
    big = isinstance(system, dict) and system.get("little_endian") is False
    machine = TorchMachine(start)
    found = machine.run()
    keys = TorchMachine(start).run()
    if not isinstance(keys, list):
        raise TypeError("no list of storages")
    file.seek(start.tell())
    storages: dict[str, np.ndarray] = {}
    for key in keys:
        storage = machine.storages[key]
        (count,) = struct.unpack("<q", _exactly(file, 8))
        if count != storage.count or key in storages:
            raise ValueError("a storage has another number of values than the pickle says")
        if (nbytes := count * _itemsize(storage.dtype)) > size:
            raise EOFError("it ends too early")
        storages[key] = _values(_exactly(file, nbytes), storage, big=big)
    return found, lambda storage: storages[storage.key]


def _values(content: bytes, storage: Storage, *, big: bool) -> np.ndarray:
    """The values of a whole storage, of which `storage` may be a part; bfloat16 as float32."""
    sign = ">" if big else "<"
    if storage.dtype != "bf2":
        values = np.frombuffer(content, sign + storage.dtype)
    else:  # the upper half of a float32
        values = (np.frombuffer(content, f"{sign}u2").astype(np.uint32) << 16).view(np.float32)
    if len(values) < storage.first + storage.count:
        raise ValueError(f"a storage has {len(values):,} values instead of {storage.count:,}")
    return values


def _itemsize(dtype: str) -> int:
    return 2 if dtype == "bf2" else np.dtype(dtype).itemsize


def _exactly(file: BinaryIO, count: int) -> bytes:
    content = file.read(count)
    if len(content) < count:
        raise EOFError("it ends too early")
    return content


# -- what is in it


def _state(found: object) -> tuple[list[str], dict[str, View]]:
    """The tensors of the model, and where they were found; one level down where a checkpoint has more beside them."""
    if not isinstance(found, dict):
        raise _Refused(f"holds {_named(found)} and no state dict; {SAVE}")
    tensors = _tensors(found)
    dicts = {id(inner): inner for inner in found.values() if isinstance(inner, dict)}  # one may come again and again
    good = {number for number, inner in dicts.items() if any(isinstance(value, View) for value in inner.values())}
    there = {str(key): inner for key, inner in found.items() if id(inner) in good}
    chosen = next((key for key in WITHIN if key in there), None)
    # the best accuracy so far may be a tensor, too, beside the state dict
    if tensors and (chosen is None or len(there[chosen]) <= len(tensors)):
        return [], tensors
    if chosen is None:
        shown = listed(clean_name(str(key)) for key in list(found)[:8]) if found else "nothing"
        raise _Refused(f"holds {shown}, none of which is the state dict of a model; {SAVE}")
    others = [clean_name(key) for key in [*there, *tensors] if key != chosen]
    beside = f"; {listed(others[:8])} left alone" if others else ""
    return [f"the state dict is that under {chosen!r}{beside}"], _tensors(there[chosen])


def _tensors(found: Mapping[object, object]) -> dict[str, View]:
    return dict(_each_tensor(found))


def _each_tensor(found: Mapping[object, object]) -> Iterator[tuple[str, View]]:
    """The tensors that lie in it by names of text; whatever else a module keeps is no weight."""
    for name, value in found.items():
        if isinstance(value, View) and isinstance(name, str | bytes):
            text = name if isinstance(name, str) else name.decode("latin-1")
            if not text.isprintable():
                raise ValueError("a name with signs that cannot be shown")
            yield text, value


def _named(found: object) -> str:
    return "a single tensor" if isinstance(found, View) else f"a {type(found).__name__}"
