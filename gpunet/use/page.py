"""A trained net as one HTML file that predicts in the browser, without a server."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import get_args

import numpy as np

from gpunet.errors import ConfigError
from gpunet.formats.browser import Bits, in_bits, page
from gpunet.model.model import Model
from gpunet.model.scores import require_finite, softmax
from gpunet.net.net import Net
from gpunet.system.files import check_place, write_whole
from gpunet.train.weights import class_names, open_weights, weights_file, white_of
from gpunet.use.features import set_weights
from gpunet.values.given import told

NOISE = 16
"""Images of noise that weights in 8 bits are tried on where there are no others."""

MOST_MAPS = 3


@dataclass(frozen=True)
class Difference:
    """What weights in 8 bits change, over so many `images`, of noise where there were none.

    `moved`  the most that the probability of a class changed
    `same`   how many images have the same most probable class
    """

    images: int
    noise: bool
    moved: float
    same: int


@dataclass(frozen=True)
class Page:
    """The file that was written; `difference` is None where weights are float32."""

    path: Path
    difference: Difference | None


def export_page(
    weights: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    bits: Bits = 32,
    net: str | None = None,
    images: np.ndarray | None = None,
) -> Page:
    """Write the net and the weights of a run, or in a file, as an HTML file that predicts in the browser.

    `out`     a name in .html; None: the net's
    `bits`    32: weights as they are; 8: a scale for each filter and whole numbers from -127 to 127, a quarter of the
              bytes
    `net`     of the weights, as `gpunet.load` takes it, where they do not say it
    `images`  (n, H, W, D), bytes, as the net takes them: what 8 bits change is tried on these. What is drawn on the
              page of a net of one map is light on dark unless they are bright

    Raises DataError for weights that cannot be used; ConfigError for a name that does not end in .html, for a file that
    is there already, for other bits, and for a net that takes no pictures or has ops that the browser does not have.
    """
    if bits not in get_args(Bits):
        raise ConfigError(f"a weight has 32 or 8 bits in a page; got {told(bits)}")
    place = None if out is None else _place(Path(out))
    file = weights_file(weights)
    config, values = open_weights(file, net)
    _require_pictures(config.net)
    place = place or _place(Path(re.sub(r"\W", "_", config.net.name) + ".html"))
    white = white_of(file)
    dark = images is None or float(images.mean()) < white / 2
    names = class_names(file, config.net.classes)
    pieces = page(config.net, values, names, white=white, bits=bits, dark=dark)
    difference = None if bits == 32 else difference_of(config.net, values, images)
    write_whole(place, pieces)
    return Page(place, difference)


def difference_of(net: Net, weights: Mapping[str, np.ndarray], images: np.ndarray | None = None) -> Difference:
    """What 8 bits change over these images, (n, H, W, D), bytes; None: over noise."""
    noise = images is None or not len(images)
    if images is None or noise:
        images = np.random.default_rng(0).integers(0, 256, (NOISE, *net.image.shape), np.uint8)
    with Model(net, min(NOISE, len(images)), "cpu", mode="infer") as model:
        set_weights(model, weights)
        before = model.forward(images)
        require_finite(before, net.name)
        set_weights(model, in_bits(net, weights, 8))
        after = model.forward(images)
    moved = np.abs(softmax(after) - softmax(before)).max()
    return Difference(len(images), noise, float(moved), int((after.argmax(1) == before.argmax(1)).sum()))


def _require_pictures(net: Net) -> None:
    if net.image.D not in (1, MOST_MAPS):
        raise ConfigError(
            f"{net.name} takes images of {net.image.D} maps; a page shows it pictures, of 3 maps, or 1 where grey"
        )


def _place(out: Path) -> Path:
    """The file that will be written. Raises ConfigError where it cannot be."""
    if out.suffix not in (".html", ".htm"):
        raise ConfigError(f"{out} is no name of a page; give one that ends in .html")
    if out.exists():
        raise ConfigError(f"{out} is there already; give another name")
    check_place(out)
    return out
