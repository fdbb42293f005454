"""The values that images have where they enter a net: those that cannot be right, and those that were learnt from.

Bytes are scaled by the net, floats enter as they are: what was made of them before is nobody's but the user's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from gpunet.data.dataset import AnySplit
from gpunet.net.net import Net

SEEN = 64
"""Images that are looked at."""

MUCH, LITTLE = 50.0, 0.1
"""Values above the one, or within less than the other, are nothing that a net starts to learn from."""

BEYOND = 1e9
"""So far from 0 nothing can be normalized in float32."""

APART = 0.25
"""Of the width of the values learnt from: where others begin or end farther off, they are others."""


@dataclass(frozen=True)
class Entering:
    """The least and the greatest value that some images have where they enter a net, and of what dtype they are."""

    dtype: str
    least: float
    most: float

    @property
    def words(self) -> str:
        """For people."""
        return f"values from {self.least:.3g} to {self.most:.3g}"

    def fits(self, learnt: "Entering") -> bool:
        """Whether a net that learnt from the one can know what to make of these. Of bytes that is not asked."""
        if self.dtype == learnt.dtype == "uint8":
            return True
        far = APART * (learnt.most - learnt.least) if self.dtype != learnt.dtype else learnt.most - learnt.least
        return abs(self.least - learnt.least) <= far and abs(self.most - learnt.most) <= far


def entering(net: Net, images: np.ndarray) -> Entering:
    """What images (n, H, W, D), uint8 or floats, have where they enter the net."""
    least, most = float(images.min()), float(images.max())
    if images.dtype == np.uint8:
        ends = [p * scale + shift for scale, shift in _scales(net) for p in (least, most)]
        least, most = min(ends), max(ends)
    return Entering(str(images.dtype), least, most)


def entering_of(net: Net, split: AnySplit) -> Entering:
    """What the first images of a split have where they enter the net."""
    images, _ = split.take(np.arange(min(SEEN, len(split))))
    return entering(net, images)


def picture_entering(net: Net, white: int) -> Entering:
    """What a picture from black to white has where it enters the net."""
    return entering(net, np.array([0, white], np.uint8))


def as_plain(values: Entering) -> dict[str, Any]:
    """For the metadata of weights."""
    return {"dtype": values.dtype, "least": values.least, "most": values.most}


def from_plain(about: Mapping[str, Any]) -> Entering | None:
    """What the metadata of weights say; None where they do not."""
    found = about.get("entered")
    if not isinstance(found, dict):
        return None
    dtype, least, most = found.get("dtype"), found.get("least"), found.get("most")
    if not (isinstance(dtype, str) and isinstance(least, int | float) and isinstance(most, int | float)):
        return None
    return Entering(dtype, float(least), float(most)) if isfinite(least) and isfinite(most) else None


def odd_values(net: Net, images: np.ndarray, name: str) -> str | None:
    """Why a net can hardly learn from the values of these images, and what to do, in words; None where it can.

    A net that normalizes its input learns from any whose squares are numbers.
    """
    values = entering(net, images)
    normalized = net.nodes[0].layer.type == "bn"
    if max(-values.least, values.most) > (BEYOND if normalized else MUCH):
        too = "are far too large"
    elif values.most - values.least < LITTLE and not normalized:
        too = "hardly differ"
    else:
        return None
    if values.dtype != "uint8":
        return (
            f"{name} holds {values.dtype} images with {values.words}, which enter the net as they are and {too}: bring "
            "them to about 0 to 1, or keep them as bytes (uint8)"
        )
    brightest = int(images.max())
    return (
        f"the pixels of {name}, {images.min()} to {brightest}, enter the net as {values.words}, which {too}: "
        f"say another scale, like --scale {1 / max(brightest, 1):.3g}"
    )


def _scales(net: Net) -> list[tuple[float, float]]:
    """What is done to a pixel, in each map that is done otherwise: its factor, and what is added."""
    if net.augment is None:
        return [(net.scale, net.shift)]
    return list(zip(*net.augment.normal(net.scale, net.shift), strict=True))
