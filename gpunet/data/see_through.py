"""The one colour that a PNG without alpha may name as transparent (its chunk tRNS), at the file's own depth.

Pillow holds the named values, of up to 16 bits, against pixels that it has brought to 8 bits: for grey of 2, 4 or 16
bits and for RGB of 16 none is ever equal, or the wrong ones are.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

DEPTH_AT = 24
"""The byte of a PNG that says how many bits a sample has."""


def names_deep_colour(image: "Image") -> bool:
    """Whether it is a PNG of 16 bits in RGB with a transparent colour, which takes two looks at its pixels."""
    return _names_colour(image) and image.mode == "RGB" and _depth(image) == 16


def with_transparency(image: "Image") -> "Image":
    """A picture that is open and not decoded yet, with its transparent colour as Pillow's modes can say it.

    Grey of up to 8 bits: that colour in 8 bits, in `info`; grey of 16 bits: as it is, for `split_deep_grey`; RGB of 16
    bits: RGBA, decoded; all else as it is.
    """
    if not _names_colour(image):
        return image
    depth = _depth(image)
    if image.mode == "RGB" and depth == 16:
        return _rgba(image)
    most = (1 << depth) - 1
    named = image.info["transparency"]
    if image.mode == "L":
        image.info["transparency"] = (named & most) * 255 // most
    elif image.mode == "RGB":
        image.info["transparency"] = tuple(value & most for value in named)
    return image


def split_deep_grey(image: "Image") -> "Image":
    """Grey of 16 bits, I;16 or I, as its upper 8: L, or LA where one of its values is transparent."""
    named = image.info.get("transparency")
    wide = image if image.mode == "I" else image.convert("I")
    upper = wide.point(lambda value: value / 256).convert("L")
    if isinstance(named, int):
        upper.putalpha(_alpha(np.asarray(wide) != named))
    return upper


def _names_colour(image: "Image") -> bool:
    """Palettes have an alpha for each of their colours instead, which Pillow knows to use."""
    return image.format == "PNG" and image.mode in ("1", "L", "I", "I;16", "RGB") and "transparency" in image.info


def _depth(image: Any) -> int:
    """Bits of a sample; the file is left where it was."""
    before = image.fp.tell()
    image.fp.seek(DEPTH_AT)
    depth: int = image.fp.read(1)[0]
    image.fp.seek(before)
    return depth


def _rgba(image: Any) -> "Image":
    """Of RGB of 16 bits Pillow keeps the upper 8; asked for the other order of bytes it gives the lower 8."""
    from PIL import Image

    named = np.array(image.info["transparency"])
    image.fp.seek(0)
    low: Any = Image.open(image.fp, formats=("PNG",))
    low.tile = [(*tile[:3], "RGB;16L") for tile in low.tile]
    same = (np.asarray(low) == named & 255).all(axis=2)
    same &= (np.asarray(image) == named >> 8).all(axis=2)
    image.info.pop("transparency")
    whole: Image.Image = image.copy()
    whole.putalpha(_alpha(~same))
    return whole


def _alpha(opaque: np.ndarray) -> "Image":
    from PIL import Image

    return Image.fromarray(np.where(opaque, np.uint8(255), np.uint8(0)))
