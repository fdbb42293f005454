"""Files of Keras: a whole model in .keras or .h5, weights alone in .weights.h5 or .h5.

In a .keras, an archive, and in a .weights.h5 arrays lie by the class of their layer and its number, and are numbers
themselves: layers/conv2d_1/vars/0. In the older .h5 they lie by the names of layers and of their own.
"""

import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from gpunet.data.raw import Sparing, clean_name, opened
from gpunet.errors import DataError
from gpunet.formats.foreign import NOTHING, Asked, Foreign
from gpunet.formats.keras.hdf5 import MOST_TIMES, Group, hdf5
from gpunet.formats.keras.names import by_class, ours, tidy
from gpunet.formats.keras.net import foreign
from gpunet.formats.keras.topology import Called
from gpunet.formats.layout import KERAS
from gpunet.program.volume import Volume

NAME = "Keras"
MOST_CONFIG_BYTES = 1 << 25
"""That of EfficientNet-B7 has 1.2 million."""


def read(path: Path, asked: Asked = NOTHING) -> Foreign:
    """The net and its weights, or the weights alone. Raises DataError for anything else.

    `asked`  its `input`, where the file leaves the size of images open, or another is wanted
    """
    with opened(path) as (file, size):
        if file.read(2) == b"PK":
            return _archive(path, file, size, asked.input)
    with hdf5(path) as root:
        config = root.text("model_config")
        if config is not None:
            version = root.text("keras_version") or "1"
            return foreign(path, NAME, _json(path, config), version, _Legacy(root.group("model_weights")), asked.input)
        if root.texts("layer_names"):
            arrays = dict(_Legacy(root).all())
            return Foreign(path, f"{NAME}'s weights", arrays, KERAS)
        arrays = dict(_numbered(root))
        if not arrays:
            raise DataError(f"{path} holds no weights of Keras: neither layer_names nor layers/.../vars are in it")
        return Foreign(path, f"{NAME}'s weights", arrays, KERAS, calls=by_class)


def _archive(path: Path, file: BinaryIO, size: int, input: Volume | None) -> Foreign:
    """A .keras: metadata.json, config.json, model.weights.h5."""
    try:
        with zipfile.ZipFile(cast("BinaryIO", Sparing(file))):
            pass  # its directory is small; what it lists need not be
        with zipfile.ZipFile(file) as archive:
            config, metadata = (_entry(archive, name, MOST_CONFIG_BYTES) for name in ("config.json", "metadata.json"))
            weights = _entry(archive, "model.weights.h5", MOST_TIMES * size)
    except (zipfile.BadZipFile, KeyError, ValueError, RuntimeError, EOFError, NotImplementedError) as error:
        raise DataError(f"{path} is cut short, damaged, or no .keras ({clean_name(str(error))})") from None
    said = _json(path, metadata.decode("utf-8", "replace"))
    version = str(said.get("keras_version", "3")) if isinstance(said, dict) else "3"
    with hdf5(path, BytesIO(weights)) as root:
        return foreign(path, NAME, _json(path, config.decode("utf-8", "replace")), version, _Numbered(root), input)


def _entry(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """An entry of an archive, no more than `most` bytes."""
    with archive.open(name) as entry:
        content = entry.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{name} has more than {most:,} bytes")
    return content


def _json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: what it says of its net is no JSON ({str(error)[:100]})") from None


# -- arrays by class and number


class _Numbered:
    """The arrays of layers in a file of Keras 3."""

    def __init__(self, root: Group) -> None:
        self._root = root

    def __call__(self, layer: Called, place: str, owner: str) -> Sequence[np.ndarray]:
        for root in ("layers", "_layer_checkpoint_dependencies"):  # as TensorFlow 2.12 had it
            where = f"{place.replace('layers/', f'{root}/')}/vars"
            if place and where in self._root:
                return _vars(self._root.group(where))
        return ()


def _vars(group: Group) -> list[np.ndarray]:
    """The arrays of a group, 0, 1, 2 and so on."""
    return [group.array(name) for name in sorted((n for n in group.names() if n.isdecimal()), key=int)]


def _numbered(root: Group) -> Iterator[tuple[str, np.ndarray]]:
    """All arrays of layers, as conv2d_1.kernel, sorted as they are counted."""
    found = {path: group for path, group in root.groups() if path.endswith("/vars")}
    for path in sorted(found, key=_natural):
        name = re.sub(r"(^|/)(layers|_layer_checkpoint_dependencies)/", r"\1", path.removesuffix("/vars"))
        kind = re.sub(r"_\d+$", "", name.rpartition("/")[2])
        if name.startswith("optimizer") or not (arrays := _vars(found[path])):
            continue
        yield from tidy(name, ours(kind, arrays))


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]{1,9})", name)]


# -- arrays by names


class _Legacy:
    """The arrays of layers in an .h5, in the order of the model."""

    def __init__(self, root: Group) -> None:
        self._layers = {name: root.group(name) for name in root.texts("layer_names") if name in root}

    def __call__(self, layer: Called, place: str, owner: str) -> Sequence[np.ndarray]:
        group = self._layers.get(owner)
        if group is None:
            return ()
        names = group.texts("weight_names")
        if owner != layer.name or layer.model is not None:  # of a model within: only those of the layer
            names = [name for name in names if _layer_of(name) == layer.name]
        return [group.array(name) for name in names]

    def all(self) -> Iterator[tuple[str, np.ndarray]]:
        """All arrays, as conv2d_1.kernel."""
        for layer, group in self._layers.items():
            names = group.texts("weight_names")
            within = len({_layer_of(name) for name in names}) > 1
            for name in names:
                called = _layer_of(name) if within else layer
                yield from tidy(called, [(name.rpartition("/")[2].partition(":")[0], group.array(name))])


def _layer_of(name: str) -> str:
    """conv2d_1/kernel:0 is of conv2d_1."""
    return name.rpartition("/")[0].rpartition("/")[2]
