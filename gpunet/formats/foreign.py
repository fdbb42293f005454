"""What a file of another framework holds, as its reader hands it over: nothing is copied or laid out anew yet."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gpunet.formats.layout import Layout
from gpunet.net.augment import Augment
from gpunet.net.config import TrainConfig
from gpunet.net.net import Net
from gpunet.program.volume import Volume


@dataclass(frozen=True)
class Images:
    """How images entered the net: what is done to a picture before.

    `mean, std`  of each map, in the order of the net's maps, for pixels of 0..1: what enters is (p/255 - mean) / std
    `size`       height and width that a picture is brought to before the middle is cut out; None: that of the input
    `of`         the height and width of the input that `size` is meant for; None: of any
    `order`      of the maps, "RGB" or "BGR"
    `flip`       whether half of them are mirrored in training
    `words`      whose way that is
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int] | None = None
    of: tuple[int, int] | None = (224, 224)
    order: str = "RGB"
    flip: bool = False
    words: str = ""

    @property
    def augment(self) -> Augment:
        """The same as a net says it, whose maps are R, G and B."""
        mean, std = (numbers[::-1] if self.order == "BGR" else numbers for numbers in (self.mean, self.std))
        return Augment(size=self.size, mean=mean, std=std, flip=self.flip)


@dataclass(frozen=True)
class Asked:
    """What whoever imports says of a file that does not say it, for the formats that ask.

    `definition`  a file that says the net
    `input`       the volume of an image
    `mean`        of each map, in the order of the file's maps, or one for all, of pixels 0 to 255
    `mean_file`   a file that holds it
    `scale`       what is multiplied with after the mean is taken off
    `order`       of the maps, "RGB" or "BGR"
    `images`      how many there are to learn from
    """

    definition: Path | None = None
    input: Volume | None = None
    mean: tuple[float, ...] = ()
    mean_file: Path | None = None
    scale: float | None = None
    order: str | None = None
    images: int | None = None


NOTHING = Asked()


@dataclass(frozen=True)
class Foreign:
    """Weights that another framework wrote.

    `path`     of the file
    `format`   whose it is, for people, like "PyTorch"
    `arrays`   by name, in the file's order, as they lie there
    `layout`   in which order the axes of a convolution and of an FC layer stand
    `names`    the array of each parameter ("conv1.w") of `net`, where the format says which is which; else it is found
               by names and shapes
    `net`      where the format has the net itself
    `classes`  their names, from 0, where it says them
    `images`   how they entered, where it says that
    `notes`    what was done to read it, a line each
    `renamed`  what layers of `net` are called there, by their names here, where these are others
    `train`    how the net is trained, where it says that
    `lacks`    why something could not be had that is needed unless it is given: "net", "mean"
    `white`    the value of white in images of bytes
    `layouts`  of the arrays that lie otherwise than `layout` says
    `calls`    what the format calls the parameters of a net, where its arrays are counted by the class of their layer
    """

    path: Path
    format: str
    arrays: Mapping[str, np.ndarray]
    layout: Layout
    names: Mapping[str, str] | None = None
    net: Net | None = None
    classes: tuple[str, ...] = ()
    images: Images | None = None
    notes: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    train: TrainConfig | None = None
    lacks: Mapping[str, str] = field(default_factory=dict)
    white: int = 255
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    calls: Callable[[Net], Mapping[str, str]] | None = None

    def layout_of(self, array: str) -> Layout:
        """In which order the axes of an array stand."""
        return self.layouts.get(array, self.layout)
