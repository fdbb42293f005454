"""What a layer makes of images: features for whatever else is to learn from them.

The net is cut off behind the layer, so nothing above it is planned, kept or computed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import numpy as np

from gpunet.data.dataset import AnySplit
from gpunet.data.loader import loader
from gpunet.errors import DataError
from gpunet.model.model import Model
from gpunet.model.parameters import finite
from gpunet.net.net import Net
from gpunet.program.program import AnyDevice
from gpunet.program.tensor import wide
from gpunet.system.files import write_whole
from gpunet.train.weights import Shape


def features(
    net: Net,
    weights: Mapping[str, np.ndarray],
    images: AnySplit | np.ndarray,
    layer: str,
    *,
    batch: int = 64,
    device: AnyDevice = "auto",
) -> np.ndarray:
    """(n, H, W, D), the volume that a layer makes of each image; (n, D) where that is 1x1xD.

    `images`  as `Model.forward` takes them
    `batch`   most images of one pass

    Raises ConfigError for a layer that there is not, ShapeError or DataError for images that cannot be used.
    """
    cut = net.up_to(layer)
    with Model(cut, min(batch, len(images)), device, mode="infer") as model:
        set_weights(model, weights)
        return model.forward(images).reshape(-1, *feature_shape(cut))


def set_weights(model: Model, weights: Mapping[str, np.ndarray]) -> None:
    """Give a model of the beginning of a net the weights of the whole. Raises DataError where one is missing."""
    for name in model.parameters:
        if name not in weights:
            raise DataError(f"there is no {name} among the weights: they are of another net than {model.net.name}")
        model.parameters[name] = weights[name]


def feature_shape(net: Net, *, average: bool = False) -> Shape:
    """Of the features of an image: those that a net gives, or their `average` over positions, which may be one."""
    H, W, D = net.output.shape
    return (D,) if average or (H, W) == (1, 1) else (H, W, D)


@dataclass(frozen=True)
class Shown:
    """A part of a data set that a model is shown: what it is for, in a word, and its images."""

    part: str
    split: AnySplit


def write_features(
    path: Path,
    model: Model,
    shown: Sequence[Shown],
    *,
    classes: Sequence[str] = (),
    average: bool = False,
    watch: Callable[[int], None] = lambda done: None,
) -> None:
    """Write an .npz file of the scores of a model, as `Net.up_to` cuts it, batch by batch: never all are in memory.

    features  (n, H, W, D) or, of 1x1xD and of an `average` over positions, (n, D); float32 or float64
    labels    (n,) int32
    parts     (n,) text: what the image is for
    paths     (n,) text, "" where it is in no file of its own
    classes   (k,) text: the names of the labels, if they have any

    `watch`   called with the number of images done
    Raises DataError where a feature is infinite or NaN, or the file cannot be written.
    """
    count = sum(len(one.split) for one in shown)
    shape = feature_shape(model.net, average=average)
    parts = _features(model, shown, shape, average, watch)
    paths = [str(path) for one in shown for path in getattr(one.split, "paths", None) or [""] * len(one.split)]
    arrays = {
        "labels": np.concatenate([one.split.labels for one in shown]),
        "parts": np.repeat([one.part for one in shown], [len(one.split) for one in shown]),
        "paths": np.array(paths),
        "classes": np.array(list(classes), dtype=str),
    }
    write_whole(path, _archive(arrays, (count, *shape), wide(model.plan.dtype), parts))


def _features(
    model: Model, shown: Sequence[Shown], shape: Shape, average: bool, watch: Callable[[int], None]
) -> Iterator[np.ndarray]:
    """The features of all images, batch by batch."""
    done = 0
    for one in shown:
        n = len(one.split)
        order = (np.arange(first, min(first + model.batch, n)) for first in range(0, n, model.batch))
        with closing(loader(one.split, order)) as source:
            for images, _ in source:
                values = model.forward(images).reshape(-1, *model.net.output.shape)
                if not finite(values):
                    raise DataError(f"{model.net.name} makes what is infinite or NaN: its weights are of no use")
                done += len(images)
                watch(done)
                yield (values.mean((1, 2)) if average else values).reshape(-1, *shape)


class _Sink:
    """A file that is written once, from its beginning: what came since it was last asked."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        return len(self._pieces[-1])

    def flush(self) -> None:
        """Nothing waits."""

    def taken(self) -> bytes:
        found, self._pieces = b"".join(self._pieces), []
        return found


def _archive(
    arrays: Mapping[str, np.ndarray], shape: Shape, dtype: str, parts: Iterator[np.ndarray]
) -> Iterator[bytes]:
    """The bytes of an .npz file: the `arrays`, and the `parts` of one of that shape as they come."""
    sink = _Sink()
    with ZipFile(sink, "w", ZIP_STORED) as archive:  # type: ignore[call-overload]  # it needs no more of a file
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, values, allow_pickle=False)
            yield sink.taken()
        with archive.open("features.npy", "w", force_zip64=True) as entry:
            header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(entry, header)
            for values in parts:
                entry.write(np.ascontiguousarray(values).data)
                yield sink.taken()
    yield sink.taken()
