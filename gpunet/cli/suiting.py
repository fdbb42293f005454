"""What commands that train look at before: whether net and data go together, and how pixels enter the net."""

from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from gpunet.cli.guard import complain
from gpunet.errors import ConfigError

if TYPE_CHECKING:
    from gpunet.data import Dataset
    from gpunet.net.config import Config, TrainConfig
    from gpunet.net.net import Net


def with_scale(config: "Config", data: str | None, scale: float | None = None, shift: float | None = None) -> "Config":
    """The config with --scale and --shift where they are given; where nobody says a scale, white enters as 1.

    data  that the command line names, None: those of the config
    """
    from gpunet.data.find import white_of_data

    for option, value in (("--scale", scale), ("--shift", shift)):
        if value is not None and not isfinite(value):
            raise ConfigError(f"{option} is a number; got {value:g}")
    if scale == 0:
        raise ConfigError("with --scale 0 all pixels would be the same; leave it out, or give one like 0.00392 (1/255)")
    if scale is None and not config.scale_said:
        white = white_of_data(config.train.data if data is None else data)
        return replace(config, net=config.net.entered(None if white == 255 else 1 / white, shift))
    return replace(config, net=config.net.entered(scale, shift), scale_said=True)


def require_suited(net: "Net", data: "Dataset", told: "TrainConfig") -> None:
    """Raise ConfigError where the net scores other classes than there are; tell of what is most likely a slip."""
    import numpy as np

    from gpunet.train.entering import SEEN, odd_values
    from gpunet.train.suit import require_suited, slip

    require_suited(net, data, spare_outputs=told.spare_outputs)
    images, _ = data.train.take(np.arange(min(SEEN, len(data.train))))
    for words in (slip(net), odd_values(net, images, data.name)):
        if words:
            complain(words)


def tell_of_values(net: "Net", path: Path, data: "Dataset | None" = None) -> None:
    """Warn where images enter the net with other values than those that the weights in a file learnt from.

    data  None: pictures
    """
    from gpunet.train.entering import entering_of, from_plain, picture_entering
    from gpunet.train.weights import read_about, white_of

    learnt = from_plain(read_about(path))
    if learnt is None:
        return
    now = picture_entering(net, white_of(path)) if data is None else entering_of(net, data.test)
    if now.fits(learnt):
        return
    what = "pictures" if data is None else f"{data.name}, {now.dtype},"
    way_out = f"scale {net.scale:.3g}, shift {net.shift:.3g}" if now.dtype == "uint8" else "floats enter as they are"
    complain(
        f"{path} learnt from {learnt.dtype} images with {learnt.words}; {what} enter the net with {now.words} "
        f"({way_out}), which it does not know: what was done to the ones must be done to the others, for bytes by "
        "--scale and --shift of gpunet train"
    )
