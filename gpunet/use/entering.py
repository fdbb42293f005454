"""How images entered a net that another framework trained: what was asked for, and what comes of what its file says."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Literal, get_args

from gpunet.data.raw import clean_name
from gpunet.errors import ConfigError, DataError
from gpunet.formats.foreign import Asked, Foreign, Images
from gpunet.formats.known import says_net
from gpunet.formats.turning import facing, turned
from gpunet.net.config import Config
from gpunet.program.volume import Volume
from gpunet.values.given import as_float, integer, number, told
from gpunet.values.visible import told_path

Order = Literal["RGB", "BGR"]
"""Of the maps of images."""

Mean = Sequence[float] | str | PathLike[str]
"""Numbers, a text of them like "104,117,123", or a file."""

MOST_TOLD = 3
"""Layers that are named where some have other names."""


def asking(
    net: object = None,
    *,
    input: Volume | str | tuple[int, int, int] | None = None,
    mean: Mean = (),
    scale: float | None = None,
    order: Order | None = None,
    images: int | None = None,
) -> Asked:
    """What is asked of a foreign file, checked; the net where it is a file that says another framework's.

    Raises ConfigError for what cannot be meant.
    """
    if order not in (None, *get_args(Order)):
        raise ConfigError(f"order must be RGB or BGR; got {told(order)}")
    if images is not None:
        integer("the number of images", images, least=1)
    numbers, file = _as_mean(mean)
    factor = None if scale is None else number("scale", scale, above=0)
    volume = None if input is None else Volume.parse(input)
    return Asked(definition_in(net), volume, numbers, file, factor, order, images)


def definition_in(what: object) -> Path | None:
    """The file that says a net of another framework, where that is what was given."""
    if not isinstance(what, str | PathLike) or not (text := str(what)).strip() or "\0" in text:
        return None
    try:
        return told_path(text) if says_net(told_path(text)) else None
    except OSError:  # longer than a path may be
        return None


def _as_mean(what: Mean) -> tuple[tuple[float, ...], Path | None]:
    """A mean as numbers, "104,117,123", or the file that has it. Raises ConfigError for what is neither."""
    if isinstance(what, str | PathLike):
        path = told_path(what)
        try:
            return _numbers(str(what).split(",")), None
        except ValueError:
            if not path.is_file():
                words = "the mean must be numbers like 104,117,123 or a file, .binaryproto; got"
                raise ConfigError(f"{words} {told(str(what))}") from None
        return (), path
    try:
        return _numbers(what), None
    except (TypeError, ValueError):
        raise ConfigError(f"the mean must be numbers, one for each map; got {told(what)}") from None


def _numbers(parts: Sequence[float] | Sequence[str]) -> tuple[float, ...]:
    """Finite numbers. Raises ValueError or TypeError for others."""
    numbers = tuple(as_float(float(part)) for part in parts)
    if None in numbers:
        raise ValueError
    return tuple(number for number in numbers if number is not None)


def as_asked(foreign: Foreign, asked: Asked) -> Foreign:
    """The same with the order of maps that was asked for. Raises DataError where a mean is lacking, ConfigError where
    one is asked for that the format has no place for."""
    if "mean" in foreign.lacks:
        raise DataError(foreign.lacks["mean"])
    images = foreign.images
    if images is None and (asked.mean or asked.mean_file or asked.scale is not None or asked.order):
        raise ConfigError(
            f"mean, scale and order are of files of Caffe, and {foreign.path} is one of {foreign.format}; say mean and "
            "std under [augment] of a config, and give that as the net"
        )
    if images is None or asked.order is None:
        return foreign
    if foreign.net is not None and len(asked.order) != foreign.net.input.D:
        raise ConfigError(f"{asked.order} is an order of three maps, and {foreign.net.name} takes {foreign.net.input}")
    return replace(foreign, images=replace(images, order=asked.order))


def turned_for(config: Config, foreign: Foreign) -> tuple[Config, Foreign]:
    """Both with a turn at the net's entrance, where images entered blue first and weights alone cannot say that."""
    images = foreign.images
    if images is None or images.order != "BGR" or facing(config.net) is not None:
        return config, foreign
    turning = "the maps of images are turned round at the net's entrance, red first to blue first"
    return replace(config, net=turned(config.net)), replace(foreign, notes=(*foreign.notes, turning))


def entered_as(config: Config, images: Images | None) -> tuple[Config, str]:
    """The config with images entering its net as they did, unless it says that itself; and a line that says how."""
    net = config.net
    if net.augment is not None or config.scale_said:
        return config, f"images enter as {net.name} says"
    if images is None:
        return config, f"how images entered is not said there: pixels enter {net.name} as p/255"
    size = images.size if images.of in (None, net.input.shape[:2]) else None
    augment = replace(images, size=size).augment
    cut = f", the short side {size[0]} first and the middle cut out" if size else ""
    cut += ", half of them mirrored in training" * images.flip
    cut += ", blue first" * (images.order == "BGR")
    line = f"images enter in {images.words}{cut}: mean {_list(images.mean)}, deviation {_list(images.std)} of 0..1"
    return replace(config, net=net.remade(net.nodes, augment=augment)), line


def renamed_lines(renamed: Mapping[str, str]) -> list[str]:
    """A line of the layers that have other names here; none where none has."""
    if not renamed:
        return []
    told = ", ".join(f"{clean_name(theirs)} is {ours}" for ours, theirs in list(renamed.items())[:MOST_TOLD])
    return [f"{len(renamed)} layers have other names here: {told}{', ...' * (len(renamed) > MOST_TOLD)}"]


def _list(numbers: Sequence[float]) -> str:
    return " ".join(f"{number:g}" for number in numbers)
