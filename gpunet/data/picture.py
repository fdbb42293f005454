"""One picture from a file to an array: upright, RGB, and of one size. Pillow decodes it.

What becomes of a picture, in this order:
- It is turned as its EXIF orientation says.
- Grey becomes three equal maps (of 16 bits, the upper 8); a palette its colours; what is transparent is laid over
  white; CMYK is converted without colour profiles, which are not looked at anywhere.
- With a size, its short side is brought to it (antialiased, bilinear) and the middle is cut out.
"""

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpunet.data.raw import opened
from gpunet.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM")
"""Those that Pillow may try; it knows dozens, and each is code that a stranger's file would reach."""
SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm"))
MOST_PIXELS = 89_478_485
"""Pillow warns above, as such a file may be a decompression bomb (256 MiB as RGB); here that is the end."""
MOST_FILE_BYTES = 1 << 28

ORIENTATION = 0x0112
TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""What brings a picture upright, by its EXIF orientation; from 5 on height and width change places."""

Size = tuple[int, int]
"""H, W."""


class BrokenPicture(DataError):
    """A file that is no picture, or not all of one; the message names it."""


def parse_size(text: str) -> Size:
    """H, W from "224x224". Raises DataError for anything else."""
    H, _, W = text.partition("x")
    if not (H.isdecimal() and W.isdecimal() and len(text) < 14 and 0 < int(H) < 65_536 and 0 < int(W) < 65_536):
        raise DataError(f"a size is height x width, like 224x224; got {text!r}")
    return int(H), int(W)


def picture_size(path: Path) -> Size:
    """H, W of a picture once it is upright, from the beginning of its file. Raises BrokenPicture."""
    with opened(path) as (file, _):
        image = _open(path, file)
        return (image.width, image.height) if _orientation(image) >= 5 else (image.height, image.width)


def read_picture(path: Path, size: Size | None = None) -> np.ndarray:
    """(H, W, 3) uint8; without a `size`, as large as it is. Raises BrokenPicture, naming the file."""
    with opened(path) as (file, file_bytes):
        if file_bytes > MOST_FILE_BYTES:
            raise BrokenPicture(f"{path} has {file_bytes:,} bytes; a picture may have {MOST_FILE_BYTES:,}")
        image = _open(path, file)
        picture: np.ndarray = _guarded(path, lambda: np.array(_fitted(_rgb(_upright(image, size)), size)))
        return picture


def read_scaled(path: Path, short_side: int | None = None, maps: int = 3) -> np.ndarray:
    """(H, W, maps) uint8: a whole picture, its short side brought to so many pixels; grey where one map is wanted.

    Raises BrokenPicture, naming the file; DataError for a number of maps that pictures do not have, or for a side that
    would make the picture too large.
    """
    if maps not in (1, 3):
        raise DataError(f"a picture has 3 maps, or 1 where it is to be grey; the net takes {maps}")
    size = picture_size(path)
    if short_side is not None:
        size = size[0] * short_side // min(size), size[1] * short_side // min(size)
    if size[0] * size[1] > MOST_PIXELS:
        raise DataError(f"{path} would become {size[0]:,}x{size[1]:,}; a picture may have {MOST_PIXELS:,} pixels")
    return with_maps(read_picture(path, size), maps)


def with_maps(picture: np.ndarray, maps: int) -> np.ndarray:
    """A picture of three maps, uint8, as it is; or as a grey one where one map is wanted."""
    return picture if maps == 3 else grey(picture)


def grey(picture: np.ndarray) -> np.ndarray:
    """(H, W, 1) from (H, W, 3), uint8: 0.299 red, 0.587 green and 0.114 blue (ITU-R BT.601), rounded."""
    shades: np.ndarray = (picture @ np.array([[299], [587], [114]]) + 500) // 1000
    return shades.astype(np.uint8)


def save_picture(path: Path, picture: np.ndarray) -> None:
    """Write (H, W, 1) or (H, W, 3) uint8 as a PNG. Raises DataError where that is not possible."""
    flat = picture[..., 0] if picture.shape[2] == 1 else picture
    try:
        _pillow().fromarray(flat).save(path, format="PNG")
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from None


@cache
def _pillow() -> Any:
    """Pillow's module Image, imported where there are pictures."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(f"pictures need Pillow, which cannot be imported ({error}); pip install pillow") from None
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of bombs, which are refused here, and of odd EXIF
    return Image


def _open(path: Path, file: Any) -> "Image":
    image: Image = _guarded(path, lambda: _pillow().open(file, formats=FORMATS))
    if image.width * image.height > MOST_PIXELS:
        raise BrokenPicture(
            f"{path} claims {image.height:,}x{image.width:,} pixels; a picture may have {MOST_PIXELS:,} of them"
        )
    return image


def _guarded(path: Path, work: Callable[[], Any]) -> Any:
    """What Pillow returns. Damaged files make it raise about anything."""
    try:
        return work()
    except (DataError, MemoryError):
        raise
    except Exception as error:
        if type(error).__name__.startswith("DecompressionBomb"):
            words = f"it has more than {MOST_PIXELS:,} pixels"
        elif type(error).__name__ == "UnidentifiedImageError":
            words = f"it is none of {', '.join(FORMATS)}"
        else:
            words = str(error) or type(error).__name__
        raise BrokenPicture(f"{path} cannot be read as a picture: {words}") from None


def _orientation(image: "Image") -> int:
    """From 1, upright, to 8. An EXIF block that cannot be read says nothing, nor does one behind a PNG's pixels."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    try:
        found = image.getexif().get(ORIENTATION)
    except Exception:
        return 1
    return found if found in TURNS else 1


def _upright(image: "Image", size: Size | None) -> "Image":
    orientation = _orientation(image)
    if size is not None:  # a JPEG is decoded at a half, a quarter or an eighth, as long as twice the size is left
        image.draft(None, (2 * max(size), 2 * max(size)))
    return image.transpose(_pillow().Transpose[TURNS[orientation]]) if orientation in TURNS else image


def _rgb(image: "Image") -> "Image":
    if image.mode in ("I", "F"):
        raise ValueError(f"its values are of mode {image.mode}, not bytes")
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        image = _pillow().fromarray(grey)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white: Image = _pillow().new("RGBA", image.size, "white")
        white.alpha_composite(image)
        image = white
    return image.convert("RGB")


def _fitted(image: "Image", size: Size | None) -> "Image":
    """The short side, measured by `size`, brought to it; then the middle."""
    if size is None or size == (image.height, image.width):
        return image
    H, W = size
    scale = max(H / image.height, W / image.width)
    height, width = min(image.height, H / scale), min(image.width, W / scale)
    top, left = (image.height - height) / 2, (image.width - width) / 2
    # the middle is resized and nothing else: a strip of 1x60,000 would take gigabytes as a whole
    box = (left, top, left + width, top + height)
    return image.resize((W, H), _pillow().Resampling.BILINEAR, box=box)
