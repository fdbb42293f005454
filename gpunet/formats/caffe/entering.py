"""How images entered a net of Caffe: (pixel - mean) * scale of pixels 0..255, blue first, cut out and mirrored.

Source: Caffe's data_transformer. A mean image is taken as its average over all positions, as Caffe's own notebooks do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path, PureWindowsPath

import numpy as np

from gpunet.data.raw import clean_name
from gpunet.errors import DataError
from gpunet.formats.caffe.blobs import values_of
from gpunet.formats.caffe.message import Message
from gpunet.formats.caffe.wire import read_bytes
from gpunet.formats.caffe.wiring import CaffeLayer
from gpunet.formats.foreign import Images
from gpunet.program.volume import Volume

WHITE = 255
PARAMETERS = ("data", "image_data", "window_data")
"""Where the first version says of data what `transform_param` says today."""


@dataclass(frozen=True)
class Entering:
    """How images entered, as a source says it.

    `mean`    of each map, or one for all; () where a file has it, which `mean_file` names, or there is none
    `size`    height and width that pictures were brought to, where that is said
    `crop`    the side of what was cut out of them; 0: nothing was
    `batch`   images of a step; 0: not said
    """

    scale: float = 1.0
    mean: tuple[float, ...] = ()
    mean_file: str = ""
    mirror: bool = False
    size: tuple[int, int] | None = None
    crop: int = 0
    batch: int = 0
    said: bool = False

    def images(self, D: int, mean: Sequence[float] = (), size: tuple[int, int] | None = None) -> Images:
        """The same for a net of D maps; `mean, size` are those of a file. Raises ValueError for what are no numbers."""
        numbers = tuple(mean) or self.mean or (0.0,)
        if len(numbers) not in (1, D):
            raise ValueError(f"{len(numbers)} means for {D} maps")
        if not self.scale or not all(map(isfinite, (*numbers, self.scale))) or self.scale < 0:
            raise ValueError(f"a mean of {numbers} and a scale of {self.scale}")
        size = self.size or size
        return Images(
            mean=tuple(number / WHITE for number in numbers),
            std=(1 / (WHITE * self.scale),),
            size=size if size and min(size) >= self.crop > 0 else None,
            of=None,
            order="BGR" if D == 3 else "RGB",
            flip=self.mirror,
            words="Caffe's way" if self.said else "Caffe's way where no data layer says another, 0 to 255",
        )


def entering_of(source: CaffeLayer) -> Entering:
    """How images of a source entered, by today's fields or by those of the first version."""
    old = next((found for name in PARAMETERS if (found := source.of(name)).values), Message("Other"))
    said = source.said.within("transform_param")
    said = said if said.values else old
    height, width = (source.of("image_data").one(f"new_{axis}", 0) for axis in ("height", "width"))
    return Entering(
        scale=said.one("scale", 1.0),
        mean=tuple(said.many("mean_value")),
        mean_file=said.one("mean_file", ""),
        mirror=said.one("mirror", False),
        size=(height, width) if min(height, width) > 0 else None,
        crop=said.one("crop_size", 0),
        batch=source.of("memory_data").one("batch_size", 0) or old.one("batch_size", 0),
        said=source.type != "Input",
    )


def input_of(source: CaffeLayer | None, net: Message, maps: int) -> Volume | None:
    """The volume of an image: as the net, the source or its crop say it; None where none does.

    `maps`  of images, where neither does
    """
    dims = _dims(source, net)
    if len(dims) in (2, 4) and all(0 < size < 2**31 for size in dims[1:]):
        H, W = dims[2:] or (1, 1)
        return Volume(H, W, dims[1])
    if source is None or dims:
        return None
    memory, crop = source.of("memory_data"), entering_of(source).crop
    if "height" in memory:
        crop_or = [crop or memory.one(axis, 0) for axis in ("height", "width")]
        sizes = (crop_or[0], crop_or[1], memory.one("channels", 0))
    else:
        sizes = (crop, crop, _maps(source, maps))
    return Volume(*sizes) if all(0 < size < 2**31 for size in sizes) else None


def _dims(source: CaffeLayer | None, net: Message) -> list[int]:
    """N, D, H, W as they are said; [] where they are not."""
    if source is None:
        shapes = net.many("input_shape")
        return shapes[0].many("dim") if shapes else net.many("input_dim")[:4]
    shapes = source.of("input").many("shape") or source.of("dummy_data").many("shape")
    if shapes:
        return list(shapes[0].many("dim"))
    dummy = source.of("dummy_data")
    return [dummy.one(name, 0) for name in ("num", "channels", "height", "width")] if "channels" in dummy else []


def depth_guessed(source: CaffeLayer) -> bool:
    """Whether nothing that a source says tells how many maps its images have."""
    said = source.said.within("transform_param")
    told = len(said.many("mean_value")) > 1 or any(name in said for name in ("force_gray", "force_color"))
    return source.type not in ("Input", "DummyData", "MemoryData") and not told


def _maps(source: CaffeLayer, maps: int) -> int:
    said = source.said.within("transform_param")
    means = len(said.many("mean_value"))
    if said.one("force_gray", False):
        return 1
    return maps or (means if means > 1 else 3)


def read_mean(path: Path) -> tuple[tuple[float, ...], tuple[int, int], str]:
    """The mean of each map in a .binaryproto, the size of the mean image, and a line that says what was taken.

    Raises DataError for anything else.
    """
    image = values_of(path, "the mean", read_bytes(path, "BlobProto"))
    if image.ndim == 4 and len(image) == 1:
        image = image[0]
    if image.ndim != 3 or not image.size or not np.isfinite(image).all():
        raise DataError(f"{path} holds {image.shape} numbers; a mean image has D, H and W, and no NaN")
    mean = image.mean((1, 2), dtype=np.float64)
    apart = float(np.abs(image - mean[:, None, None]).max())
    told = f"the mean image of {path} is taken as its average of each map; single positions are up to {apart:.3g} off"
    return tuple(map(float, mean)), (image.shape[1], image.shape[2]), told if apart else ""


def beside(path: Path, named: str) -> Path | None:
    """A file that another one names, where one of that name lies beside it; folders that it names are not gone into."""
    found = path.parent / (PureWindowsPath(named).name or ".")
    return found if "\0" not in named and found.is_file() else None


def missing(path: Path, named: str) -> str:
    """What to do where a mean file is not there."""
    words = "which is not beside it; put it there, or give gpunet import --mean"
    return f"{path} names the mean file {clean_name(named)}, {words}"
