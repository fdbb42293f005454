"""TensorFlow.js: a layers model, model.json with the files of its weights beside it, perhaps of 8 or 16 bits.

The topology is that of Keras 2. A manifest of weights alone, as some packages have it, gives these without a net.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from gpunet.data.raw import clean_name, opened, read_whole
from gpunet.errors import DataError
from gpunet.formats.foreign import NOTHING, Asked, Foreign
from gpunet.formats.keras.names import tidy
from gpunet.formats.keras.net import foreign
from gpunet.formats.keras.topology import Called
from gpunet.formats.layout import KERAS

NAME = "TensorFlow.js"
MOST_JSON_BYTES = 1 << 25
DTYPES = {"float32": "<f4", "float16": "<f2", "int32": "<i4", "uint8": "u1", "uint16": "<u2", "bool": "?"}
ERRORS = (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError)


def read(path: Path, asked: Asked = NOTHING) -> Foreign:
    """The net and its weights, or the weights alone. Raises DataError for anything else, graph models too."""
    try:
        said = json.loads(read_whole(path, MOST_JSON_BYTES))
        manifest = said if isinstance(said, list) else said.get("weightsManifest") or []
        model = None if isinstance(said, list) else said.get("modelTopology")
        if isinstance(said, dict) and (said.get("format") == "graph-model" or (model and "node" in model)):
            raise DataError(
                f"{path} is a graph model, operations of TensorFlow and no layers; save the Keras model, or convert it "
                "to a layers model"
            )
        arrays = dict(_arrays(path, manifest))
        if model is None:
            made = [one for layer, inside in _by_layer(arrays).items() for one in tidy(layer, inside)]
            return Foreign(path, f"{NAME}'s weights", dict(made), KERAS)
        config = model.get("model_config", model)
        config = json.loads(config) if isinstance(config, str) else config
        version = str(model.get("keras_version", "2"))
    except ERRORS as error:
        told = clean_name(f"{error} is missing" if isinstance(error, KeyError) else str(error))
        raise DataError(f"{path} is cut short, damaged, or no model of {NAME} ({told})") from None
    return foreign(path, NAME, config, version, _Weights(arrays), asked.input)


def _arrays(path: Path, manifest: Sequence[Any]) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays by their names: those of a group lie one behind the other, whatever the files they are cut into."""
    for group in manifest:
        content = b"".join(_shard(path, str(name)) for name in group["paths"])
        at = 0
        for one in group["weights"]:
            name, shape = str(one["name"]), [int(size) for size in one["shape"]]
            packed = one.get("quantization")
            dtype = np.dtype(DTYPES[one["dtype"] if packed is None else packed["dtype"]])
            count = prod(shape)
            if min([0, *shape]) < 0 or at + count * dtype.itemsize > len(content):
                raise ValueError(f"{name[:100]} claims more bytes than its files have")
            values = np.frombuffer(content, dtype, count, at).reshape(shape)
            at += count * dtype.itemsize
            yield name, values if packed is None else _unpacked(values, packed)
        if at != len(content):
            raise ValueError(f"its files have {len(content):,} bytes, and its arrays {at:,}")


def _shard(path: Path, name: str) -> bytes:
    """The bytes of a file beside."""
    plain = name.removeprefix("./")
    if not plain or plain != Path(plain).name or "\\" in plain or plain == "..":
        raise DataError(f"{path} names {clean_name(name)} for its weights, which is no file beside it")
    if not path.with_name(plain).exists():
        raise DataError(f"{path} has weights in {clean_name(plain)}, which is not beside it")
    with opened(path.with_name(plain)) as (file, size):
        return file.read(size)


def _unpacked(values: np.ndarray, packed: Mapping[str, Any]) -> np.ndarray:
    """Of 16 bits as they are, of integers scaled and shifted."""
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    scale, least = float(packed["scale"]), float(packed["min"])
    with np.errstate(over="ignore", invalid="ignore"):  # what is no number in the end is told with its name
        return (values * scale + least).astype(np.float32)


def _by_layer(arrays: Mapping[str, np.ndarray]) -> dict[str, list[tuple[str, np.ndarray]]]:
    """conv2d_1/kernel is of conv2d_1."""
    layers: dict[str, list[tuple[str, np.ndarray]]] = {}
    for name, values in arrays.items():
        layer, _, last = name.rpartition("/")
        layers.setdefault(layer, []).append((last, values))
    return layers


class _Weights:
    """The arrays of layers, which models within may stand in front of."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._layers = _by_layer(arrays)
        self._last = {layer.rpartition("/")[2]: layer for layer in self._layers}

    def __call__(self, layer: Called, place: str, owner: str) -> Sequence[np.ndarray]:
        for name in (layer.name, f"{owner}/{layer.name}", self._last.get(layer.name, "")):
            if name in self._layers:
                return [values for _, values in self._layers[name]]
        return ()
