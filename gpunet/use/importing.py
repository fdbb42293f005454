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
from gpunet.formats.foreign import NOTHING, Asked, Foreign
from gpunet.formats.known import read_foreign
from gpunet.formats.match import Match, match
from gpunet.formats.shipped import known_as, shipped_config
from gpunet.net.config import Config, TrainConfig, dump_net, load_config
from gpunet.net.net import Net
from gpunet.program.volume import Volume
from gpunet.train.entering import as_plain, picture_entering
from gpunet.train.weights import save_weights
from gpunet.use.entering import Order, as_asked, asking, entered_as, renamed_lines, turned_for
from gpunet.values.given import names
from gpunet.values.shown import Shown
from gpunet.values.visible import typable

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
            "imported": {"format": self.match.foreign.format, "by": self.match.words} | self._renamed,
        }

    @property
    def _renamed(self) -> dict[str, Any]:
        """What layers were called there, where that is no name here."""
        renamed = {node.name: told for node in self.net.nodes if (told := self.match.foreign.renamed.get(node.name))}
        return {"names": renamed} if renamed else {}

    def save(self, path: str | PathLike[str]) -> None:
        """Write what train, eval, predict and slide take. Raises DataError where that is not possible."""
        save_weights(Path(path), self.weights, self.about)


def import_weights(
    path: str | PathLike[str],
    net: str | PathLike[str] | Net | None = None,
    *,
    classes: Sequence[str] = (),
    out: str | PathLike[str] | None = None,
    dtype: FloatName = "float32",
    by_order: bool = False,
    input: Volume | str | tuple[int, int, int] | None = None,
    mean: Sequence[float] | str | PathLike[str] = (),
    scale: float | None = None,
    order: Order | None = None,
) -> Imported:
    """The weights in a file of another framework: PyTorch's .pth, .pt and .bin, safetensors, ONNX, Caffe's .caffemodel;
    models of Keras, TensorFlow.js and Torch7.

    `net`      that they are of: a Net, or as `gpunet.load` takes it, or a .prototxt, or the .json of a Keras
               model; None: that in the file, or a shipped one, found by torchvision's names
    `classes`  names of the classes, from 0
    `out`      a file to write them into, as train, eval, predict, slide and `gpunet.Model.load` take it
    `dtype`    that they are kept in
    `input`    of the net in the file, like "224x224x3", where the file leaves it open, or another is wanted
    `by_order` whether to believe order and shapes where no names are known: look at `match` of what it gives
    `input`    of the net in the file, like "224x224x3", where the file leaves it open, or another is wanted
    `mean, scale, order`  how images entered, where the file does not say it: (pixel - mean) * scale of pixels 0 to 255;
               a number for all maps, one for each in the order of the maps, or a file, .binaryproto; "RGB" or "BGR"

    Nothing in the file is run. Raises DataError, naming all that differs, where the weights are another net's or the
    file cannot be read; ConfigError where they would be told by order alone.
    """
    asked = asking(net, input=input, mean=mean, scale=scale, order=order)
    config = None if asked.definition else _as_config(net)
    found = bring(Path(path), config, classes=classes, dtype=dtype, asked=asked)
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
    dtype: FloatName = "float32",
    headless: bool = False,
    asked: Asked = NOTHING,
) -> Imported:
    """The weights in a foreign file, also where they are told by order alone; else as `import_weights`.

    `headless`  whether those of the scores may be missing, as they will be drawn anew
    `asked`     what the file may leave open
    """
    if dtype not in KEPT:
        raise ConfigError(f"dtype must be one of {', '.join(KEPT)}; got {dtype!r}")
    foreign = as_asked(read_foreign(path, asked), asked)
    if not foreign.arrays and (foreign.net is None or foreign.net.parameters):
        raise DataError(foreign.lacks.get("net") or _no_weights(path, asked))
    config = _own(foreign, asked) if config is None else config
    config, foreign = turned_for(config, foreign)
    try:
        found = match(foreign, config.net, config.net.scorers if headless else ())
    except DataError as error:
        if (other := known_as(foreign)) in (None, config.net.name):
            raise
        raise DataError(f"{error}\nits names are those of {other}") from None
    entered, line = entered_as(replace(config, net=found.net), found.images)
    known = names("classes", classes) or foreign.classes
    if known and len(known) != found.net.classes:
        raise ConfigError(f"{len(known):,} names were given for the {found.net.classes:,} classes of {found.net.name}")
    said = [*_told(found, dtype), line]
    if found.net.classes != config.net.classes:
        said.insert(-1, f"{found.net.classes:,} classes, as the file has, instead of {config.net.classes:,}")
    return Imported(entered, found, tuple(said), tuple(known), dtype)


def _no_weights(path: Path, asked: Asked) -> str:
    """What is wrong where a file gives no arrays at all."""
    if asked.definition is not None:
        return f"{path} has no weights for the layers that {asked.definition} names"
    return f"{path} says a net, and has no weights; gpunet import {typable(path)} makes a config of it"


def _own(foreign: Foreign, asked: Asked) -> Config:
    """The net that a file holds, else the one that was given as another framework's, else the shipped one by names, all
    over the input that is asked for.

    Raises DataError where the net in the file cannot be had.
    """
    if foreign.net is not None:
        return Config(foreign.net, foreign.train or TrainConfig())
    if "net" in foreign.lacks:
        raise DataError(foreign.lacks["net"])
    if asked.definition is not None:
        return _own(read_foreign(asked.definition, asked), replace(asked, definition=None))
    config = shipped_config(foreign)
    return config if asked.input is None else replace(config, net=config.net.scaled(1, asked.input))


def _as_config(net: str | PathLike[str] | Net | None) -> Config | None:
    if net is None or isinstance(net, Net):
        return None if net is None else Config(net, scale_said=net.scale != 1 / 255)
    return load_config(net)


def _told(found: Match, dtype: str) -> list[str]:
    """What was read and done, a line each."""
    foreign, pairs = found.foreign, found.pairs
    numbers = sum(pair.values.size for pair in pairs)
    lines = [f"{foreign.path}: {foreign.format}, {len(pairs):,} arrays of {numbers:,} numbers, of {found.net.name} by"]
    lines[0] += f" {found.words}"
    lines += [*foreign.notes, *renamed_lines(foreign.renamed)]
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
