"""Checkpoints: all that a run goes on from, in one safetensors file whose last 32 bytes are the SHA-256 of the others.

Its metadata hold the state as JSON, its tensors what lasts from step to step. Nothing in it could run. The format is
that of https://github.com/huggingface/safetensors, written piece by piece: the host never holds more than one tensor.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any

from gpunet.errors import DataError
from gpunet.layers.scaling import SCALING
from gpunet.model.model import Model
from gpunet.model.parameters import Parameters, finite
from gpunet.system.files import regular, write_whole
from gpunet.values.visible import typable

LAST, PREVIOUS, BEST = "last.safetensors", "previous.safetensors", "best.safetensors"

DIGEST = "sha256"
"""The name of the last tensor; those of a model have a dot in theirs."""

FORMAT = 1
_NAMES = {"float32": "F32", "float64": "F64", "int32": "I32", "uint8": "U8"}
_DIGEST_BYTES = sha256().digest_size


class Broken(DataError):
    """What was to be kept in a checkpoint is infinite or NaN."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file that was found whole, and the state in it."""

    path: Path
    state: dict[str, Any]

    def restore(self, model: Model) -> None:
        """Set parameters, caches and all else that lasts. Raises DataError, changing nothing, where they do not fit."""
        from safetensors import safe_open

        wanted = {name: list(tensor.shape) for name, tensor in model.state.tensors.items()}
        with safe_open(self.path, "np") as file:
            there = {name: file.get_slice(name).get_shape() for name in file.keys() if name != DIGEST}  # noqa: SIM118
            for one, other in ((there, wanted), (wanted, there)):  # which float16 alone has
                if SCALING not in other:
                    one.pop(SCALING, None)
            if there != wanted:
                wrong = next(name for name in sorted({*there, *wanted}) if there.get(name) != wanted.get(name))
                raise DataError(
                    f"{self.path} is of another net than {model.net.name}: {wrong} is "
                    f"{there.get(wrong, 'not there')}, not {wanted.get(wrong, 'there')}"
                )
            for name in wanted:
                model.state[name] = file.get_tensor(name)


def save(path: Path, values: Parameters, state: dict[str, Any], *, previous: Path | None = None) -> None:
    """Write a checkpoint; `previous`: where the one before is kept.

    Raises Broken for a value that is infinite or NaN, DataError where it cannot be written; `path` is as before then.
    """
    write_whole(path, _pieces(values, {"format": FORMAT, **state}), previous=previous)


def read(path: Path) -> Checkpoint:
    """The checkpoint in a file. Raises DataError, naming it, where it is not there, damaged, or no checkpoint."""
    from safetensors import SafetensorError, safe_open

    try:
        if not _is_whole(path):
            raise DataError(f"{path} is cut short or damaged: its checksum is not that of its content")
        with safe_open(path, "np") as file:
            state = json.loads(file.metadata()["gpunet"])
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is no checkpoint of gpunet ({error})") from None
    if not isinstance(state, dict):
        raise DataError(f"{path} is no checkpoint of gpunet (it holds no state)")
    if state.get("format") != FORMAT:
        raise DataError(f"{path} is a checkpoint of format {state.get('format')}; this gpunet reads {FORMAT}")
    return Checkpoint(path, state)


def latest(folder: Path) -> tuple[Checkpoint, list[str]]:
    """The last checkpoint of a run that is whole, and what is wrong with a later one.

    Raises DataError where there is none.
    """
    wrong: list[str] = []
    for path in (folder / LAST, folder / PREVIOUS):
        if path.exists():
            try:
                return read(path), wrong
            except DataError as error:
                wrong.append(str(error))
    if wrong:
        wrong.append(f"{folder} holds no checkpoint that could be gone on from{_best_of(folder)}")
        raise DataError("\n".join(wrong))
    raise DataError(
        f"{folder} holds no checkpoint: the run was stopped before its first; remove that folder and train anew, or "
        "give another --out"
    )


def _best_of(folder: Path) -> str:
    """How the best epoch of a run may still be of use."""
    try:
        read(folder / BEST)
    except DataError:
        return ""
    best = typable(folder / BEST)
    return f"; {folder / BEST} is whole, and a new run can start from it: gpunet train --weights {best}"


def _is_whole(path: Path) -> bool:
    with regular(path) as file:
        size = os.fstat(file.fileno()).st_size - _DIGEST_BYTES
        if size < 0:
            return False
        digest = sha256()
        while size and (block := file.read(min(size, 2**20))):
            digest.update(block)
            size -= len(block)
        return digest.digest() == file.read()


def _pieces(values: Parameters, state: dict[str, Any]) -> Iterator[bytes | memoryview]:
    """The bytes of the file, piece by piece."""
    header = _header(values, state)
    digest = sha256(header)
    yield header
    for name in values:
        tensor = values[name]
        if not finite(tensor):
            raise Broken(f"{name} holds infinite values or NaN")
        digest.update(tensor.data)
        yield tensor.data
    yield digest.digest()


def _header(values: Parameters, state: dict[str, Any]) -> bytes:
    """Eight bytes of length, then JSON: metadata, then for each tensor its dtype, shape and bytes [first, last)."""
    kinds = [(name, _NAMES[t.dtype], list(t.shape), t.nbytes) for name, t in values.tensors.items()]
    kinds.append((DIGEST, "U8", [_DIGEST_BYTES], _DIGEST_BYTES))
    ends = list(accumulate(nbytes for *_, nbytes in kinds))
    entries = {
        name: {"dtype": dtype, "shape": shape, "data_offsets": [end - nbytes, end]}
        for (name, dtype, shape, nbytes), end in zip(kinds, ends, strict=True)
    }
    text = json.dumps({"__metadata__": {"gpunet": json.dumps(state)}, **entries}).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
