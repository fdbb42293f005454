"""The arrays of a file of Caffe: trained weights by layer, means."""

from math import prod
from pathlib import Path

import numpy as np

from gpunet.data.raw import clean_name
from gpunet.errors import DataError
from gpunet.formats.caffe.message import Message
from gpunet.formats.caffe.wiring import messages

OLD = ("num", "channels", "height", "width")
MOST_AXES = 32


def blobs_of(path: Path, net: Message) -> dict[str, list[np.ndarray]]:
    """The arrays of each layer that has any, by its name, in the file's order. Raises DataError for a damaged one."""
    found: dict[str, list[np.ndarray]] = {}
    for layer in messages(net):
        name = layer.one("name", "")
        if blobs := layer.many("blobs"):
            found[name] = [values_of(path, name, blob) for blob in blobs]
    return found


def values_of(path: Path, what: str, blob: Message) -> np.ndarray:
    """The array of a blob, which says its shape in the old way, by four sizes, or in today's."""
    values = blob.array("data") if "data" in blob else blob.array("double_data")
    old = any(name in blob for name in OLD)
    shape = tuple(blob.one(name, 0) for name in OLD) if old else tuple(blob.within("shape").many("dim"))
    if len(shape) > MOST_AXES or any(size < 0 for size in shape) or prod(shape) != values.size:
        told = "x".join(map(str, shape[:5])) or "no shape"
        raise DataError(f"{path}: {clean_name(what)} has {values.size:,} numbers, and says {told}")
    return values.reshape(shape)
