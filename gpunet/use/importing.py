"""Weights of other frameworks brought here: read, matched with a net, laid out anew, and said what was done."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gpunet.errors import ConfigError, DataError
from gpunet.formats.foreign import Foreign, Images
from gpunet.formats.known import read_foreign
from gpunet.formats.match import Match, match
from gpunet.formats.shipped import known_as, shipped_config
from gpunet.net.config import Config, dump_net, load_config
from gpunet.net.net import Net
from gpunet.program.volume import Volume
from gpunet.train.entering import as_plain, picture_entering
from gpunet.train.weights import save_weights
from gpunet.values.given import names
from gpunet.values.shown import Shown

CROP = (224, 224)
"""Height and width for which the size that pictures are brought to before is meant."""

KEPT = ("float32", "float64")
MOST_TOLD = 3
"""Layers that are named where all of a kind are laid out anew."""

FloatName = Literal["float32", "float64"]


@dataclass(frozen=True, repr=False)
class Imported(Shown):
    """Weights of another framework, as gpunet has them.

    `config`   of their net, as images enter it
    `match`    which array each parameter is made of
    `said`     what was done, a line each
    `classes`  their names, from 0; () where they have none
    `dtype`    of the weights
    """

    config: Config
    match: Match
    said: tuple[str, ...]
    classes: tuple[str, ...] = ()
    dtype: FloatName = "float32"

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """The parameters by name. Raises DataError for values that are no finite numbers."""
        return self.match.weights(self.dtype)

    @property
    def net(self) -> Net:
        """The net that they are of."""
        return self.config.net

    @property
    def about(self) -> dict[str, Any]:
        """What a file of these weights says of them: their net, classes and images."""
        white = self.match.foreign.white
        return {
            "net": self.net.name,
            "config": dump_net(self.net),
            "classes": list(self.classes),
            "white": white,
            **({"entered": as_plain(picture_entering(self.net, white))} if self.match.images else {}),
            "imported": {"format": self.match.foreign.format, "by": self.match.words},
        }

    def save(self, path: str | PathLike[str]) -> None:
        """Write what train, eval, predict and slide take. Raises DataError where that is not possible."""
        save_weights(Path(path), self.weights, self.about)


def import_weights(
    path: str | PathLike[str],
    net: str | PathLike[str] | Net | None = None,
    *,
    classes: Sequence[str] = (),
    out: str | PathLike[str] | None = None,
    input: str | Volume | None = None,
    dtype: FloatName = "float32",
    by_order: bool = False,
) -> Imported:
    """The weights in a file of another framework: PyTorch's .pth, .pt and .bin, safetensors, and ONNX.

    `net`      that they are of: a Net, or as `gpunet.load` takes it; None: that in the file, else a shipped one, found
               by torchvision's names
    `classes`  names of the classes, from 0
    `out`      a file to write them into, as train, eval, predict, slide and `gpunet.Model.load` take it
    `input`    of the net in the file, like "224x224x3", where the file leaves that open
    `dtype`    that they are kept in
    `by_order` whether to believe order and shapes where no names are known: look at `match` of what it gives

    Nothing in the file is run. Raises DataError, naming all that differs, where the weights are another net's or the
    file cannot be read; ConfigError where they would be told by order alone.
    """
    volume = None if input is None else Volume.parse(input)
    found = bring(Path(path), _as_config(net), classes=classes, input=volume, dtype=dtype)
    if not found.match.sure and not by_order:
        raise ConfigError(
            f"{path} has names that are not known; by order and shapes alone it would be {_pairs(found.match)}; say "
            "by_order=True where that is right"
        )
    _ = found.weights  # what is wrong with the values is told now
    if out is not None:
        found.save(out)
    return found


def bring(
    path: Path,
    config: Config | None = None,
    *,
    classes: Sequence[str] = (),
    input: Volume | None = None,
    dtype: FloatName = "float32",
    headless: bool = False,
) -> Imported:
    """The weights in a foreign file, also where they are told by order alone; else as `import_weights`.

    `headless`  whether those of the scores may be missing, as they will be drawn anew
    """
    if dtype not in KEPT:
        raise ConfigError(f"dtype must be one of {', '.join(KEPT)}; got {dtype!r}")
    foreign = read_foreign(path, input)
    if config is None:
        config = _own(foreign, input)
    try:
        found = match(foreign, config.net, config.net.scorers if headless else ())
    except DataError as error:
        if (other := known_as(foreign)) in (None, config.net.name):
            raise
        raise DataError(f"{error}\nits names are those of {other}") from None
    entered, line = _entered(replace(config, net=found.net), found.images)
    known = names("classes", classes) or foreign.classes
    if known and len(known) != found.net.classes:
        raise ConfigError(f"{len(known):,} names were given for the {found.net.classes:,} classes of {found.net.name}")
    said = [*_told(found, dtype), line]
    if found.net.classes != config.net.classes:
        said.insert(-1, f"{found.net.classes:,} classes, as the file has, instead of {config.net.classes:,}")
    return Imported(entered, found, tuple(said), tuple(known), dtype)


def _own(foreign: Foreign, input: Volume | None) -> Config:
    """The net that a file holds, else the shipped one whose names it has, over that input."""
    if foreign.net is not None:
        return Config(foreign.net)
    config = shipped_config(foreign)
    return config if input is None else replace(config, net=config.net.scaled(1, input))


def _as_config(net: str | PathLike[str] | Net | None) -> Config | None:
    if net is None or isinstance(net, Net):
        return None if net is None else Config(net, scale_said=net.scale != 1 / 255)
    return load_config(net)


def _entered(config: Config, images: Images | None) -> tuple[Config, str]:
    """The config with images entering its net as they did, unless it says that itself; and a line that says how."""
    net = config.net
    if net.augment is not None or config.scale_said:
        return config, f"images enter as {net.name} says"
    if images is None:
        return config, f"how images entered is not said there: pixels enter {net.name} as p/255"
    size = images.size if net.input.shape[:2] == CROP else None
    augment = replace(images, size=size).augment
    cut = f", the short side {size[0]} first and the middle cut out" if size else ""
    line = f"images enter in {images.words}{cut}: mean {_list(images.mean)}, deviation {_list(images.std)} of 0..1"
    return replace(config, net=net.remade(net.nodes, augment=augment)), line


def _told(found: Match, dtype: str) -> list[str]:
    """What was read and done, a line each."""
    foreign, pairs = found.foreign, found.pairs
    numbers = sum(pair.values.size for pair in pairs)
    lines = [f"{foreign.path}: {foreign.format}, {len(pairs):,} arrays of {numbers:,} numbers, of {found.net.name} by"]
    lines[0] += f" {found.words}"
    lines += foreign.notes
    lines += [f"left out: {line}" for line in found.left]
    others = Counter(str(pair.values.dtype.newbyteorder("=")) for pair in pairs)
    lines += [f"{count:,} arrays of {kind} become {dtype}" for kind, count in others.items() if kind != dtype]
    for moves in dict.fromkeys(pair.moves for pair in pairs if pair.moves):
        layers = [pair.node.name for pair in pairs if pair.moves == moves]
        more = f", ... {layers[-1]} ({len(layers)} layers)" if len(layers) > MOST_TOLD else ""
        lines.append(f"laid out anew, {moves}: {', '.join(layers[:MOST_TOLD])}{more}")
    return lines


def _pairs(found: Match) -> str:
    shown = [f"{pair.parameter} from {pair.array}" for pair in found.pairs]
    return ", ".join(shown[:6]) + (f" and {len(shown) - 6} more" if len(shown) > 6 else "")


def _list(numbers: Sequence[float]) -> str:
    return " ".join(f"{number:g}" for number in numbers)
