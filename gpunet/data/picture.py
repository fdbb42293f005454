"""One picture from a file to an array: upright, RGB, and of one size. Pillow decodes it.

What becomes of a picture, in this order:
- It is turned as its EXIF orientation says.
- Of several frames it is the first.
- Grey becomes three equal maps (of 16 bits, the upper 8); a palette its colours; what is transparent is laid over
  white; CMYK is converted without colour profiles, which are not looked at anywhere.
- With a size, its short side is brought to it (antialiased, bilinear) and the middle is cut out.

The same comes of another order, but for rounding, and that is taken: laid over white and turned when it is small.
"""

import errno
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpunet.data.pnm import MOST_HEADER_BYTES, has_long_header
from gpunet.data.raw import opened
from gpunet.data.room import Room
from gpunet.data.see_through import names_deep_colour, split_deep_grey, with_transparency
from gpunet.errors import DataError
from gpunet.system.files import write_whole

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF")
"""Those that Pillow may try; it knows dozens, and each is code that a stranger's file would reach."""
SUFFIXES = frozenset((".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff"))
BEGINNING = re.compile(
    rb"\xff\xd8\xff"  # JPEG
    rb"|\x89PNG\r\n\x1a\n"
    rb"|RIFF....WEBP"
    rb"|BM.{4}\0{4}.{4}[\x0c-\x7c]\0\0\0"  # BMP: nothing for programs, the bytes of the header behind it
    rb"|P[1-6](?:\s|#)[\s\d#]"  # PPM and its kin
    rb"|II[*+]\0|MM\0[*+]",  # TIFF
    re.DOTALL,
)
"""How files of these formats begin."""
HEAD_BYTES = 18
"""Of a file, in which that is seen."""
MOST_PIXELS = 89_478_485
"""Pillow warns above, as such a file may be a decompression bomb (256 MiB as RGB); here that is the end."""
WEIGHTS = {"WEBP": 2, "TIFF": 2}
"""What a pixel counts for, if not one: the decoder of WebP keeps four copies of them all, that of TIFF a strip, which
may be the whole."""
ROOM = Room(MOST_PIXELS)
"""For the pixels that all threads decode at once. They take up to 12 bytes each (a progressive JPEG in CMYK; most take
4 to 8), about 1 GB together, whatever the files are."""
MACHINE = errno.EMFILE, errno.ENFILE, errno.ENOMEM
"""Errors of the system that say nothing of a file."""
STRIP_PIXELS = 1 << 20
BLOCK_BYTES = 1 << 26
"""In which Pillow takes memory: what is larger than 32 MiB the C library gives back to the system, while every thread
would keep the smaller blocks of its largest picture."""
MOST_FILE_BYTES = 1 << 28

IMAGE_WIDTH, IMAGE_LENGTH, ORIENTATION = 0x0100, 0x0101, 0x0112
STEPS = ((1, 1), (1, -1), (-1, -1), (-1, 1))
"""Down and to the right in an upright picture, by its EXIF orientation: 1 to 4, and 5 to 8 with rows for columns."""

Size = tuple[int, int]
Extent = tuple[float, float]
"""Both are H, W; extents are those of pictures decoded at a fraction."""


class BrokenPicture(DataError):
    """A file that is no picture, not all of one, or that cannot be read; the message names it."""


def begins_like_a_picture(head: bytes) -> bool:
    """Whether the first HEAD_BYTES of a file are those of a format that is read."""
    return BEGINNING.match(head) is not None


def parse_size(text: str) -> Size:
    """H, W from "224x224". Raises DataError for anything else."""
    H, _, W = text.partition("x")
    if not (
        text.isascii()
        and H.isdecimal()
        and W.isdecimal()
        and len(text) < 14
        and 0 < int(H) < 65_536
        and 0 < int(W) < 65_536
    ):
        raise DataError(f"a size is height x width, like 224x224; got {text!r}")
    return int(H), int(W)


def picture_size(path: Path) -> Size:
    """H, W of a picture once it is upright, from the beginning of its file. Raises BrokenPicture."""
    with _opened(path) as image:
        W, H = image.size
        if image.format == "TIFF":  # whose size Pillow may have turned, or not, by its version
            W, H = (image.getexif()[tag] for tag in (IMAGE_WIDTH, IMAGE_LENGTH))
        return (W, H) if _orientation(image) >= 5 else (H, W)


def read_picture(path: Path, size: Size | None = None) -> np.ndarray:
    """(H, W, 3) uint8; without a `size`, as large as it is. Raises BrokenPicture, naming the file."""
    with _opened(path) as image:
        whole = image.width * image.height
        extent = _guarded(path, lambda: _drafted(image, size))
        pixels = whole if "progressive" in image.info else image.width * image.height * _weight(image)
        with ROOM.taken(pixels), closing(image):  # which frees its memory while that is still counted
            picture: np.ndarray = _guarded(path, lambda: _decoded(image, size, extent))
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
    """Write (H, W, 1) or (H, W, 3) uint8 as a PNG, whole or not at all. Raises DataError where that is not possible."""
    flat = picture[..., 0] if picture.shape[2] == 1 else picture
    content = BytesIO()
    _pillow().fromarray(flat).save(content, format="PNG")
    write_whole(path, content.getvalue())


@cache
def _pillow() -> Any:
    """Pillow's module Image, imported where there are pictures."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(f"pictures need Pillow, which cannot be imported ({error}); pip install pillow") from None
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of bombs, which are refused here, and of odd EXIF
    images: Any = Image  # whose types leave out core
    images.core.set_block_size(BLOCK_BYTES)
    return images


@contextmanager
def _opened(path: Path) -> Iterator["Image"]:
    """The picture in a file, before it is decoded. Raises BrokenPicture for whatever is wrong with the file."""
    _pillow()  # whose absence is no file's fault
    try:
        with opened(path) as (file, file_bytes):
            if file_bytes > MOST_FILE_BYTES:
                raise BrokenPicture(f"{path} has {file_bytes:,} bytes; a picture may have {MOST_FILE_BYTES:,}")
            if has_long_header(file):
                raise BrokenPicture(f"{path} has a header of more than {MOST_HEADER_BYTES:,} bytes, as no picture has")
            image: Image = _guarded(path, lambda: _pillow().open(file, formats=FORMATS))
            most = MOST_PIXELS // _weight(image)
            if image.width * image.height > most:
                raise BrokenPicture(
                    f"{path} claims {image.height:,}x{image.width:,} pixels; such a picture may have {most:,} of them"
                )
            yield image
    except BrokenPicture:
        raise
    except DataError as error:
        if _of_the_machine(error.__context__):
            raise
        raise BrokenPicture(str(error)) from None


def _of_the_machine(cause: BaseException | None) -> bool:
    """Whether it is no fault of the file: it must not be taken for a broken one."""
    return isinstance(cause, MemoryError) or getattr(cause, "errno", None) in MACHINE


def _weight(image: "Image") -> int:
    return 3 if names_deep_colour(image) else WEIGHTS.get(image.format or "", 1)


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
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _drafted(image: "Image", size: Size | None) -> Extent:
    """Have a JPEG decoded at a half, a quarter or an eighth, as long as twice the size is left.

    Returns what there is of it then: the last row and column may be only partly of the picture.
    """
    drafted = None if size is None else image.draft(None, (2 * max(size), 2 * max(size)))
    _, _, width, height = drafted[1] if drafted else (0, 0, image.width, image.height)
    return height, width


def _decoded(image: "Image", size: Size | None, extent: Extent) -> np.ndarray:
    """(H, W, 3): the picture upright and of its size."""
    if image.format == "TIFF":  # which Pillow turns upright as it decodes
        image.load()
        extent = image.height, image.width
    orientation = _orientation(image)
    image = with_transparency(image)
    lying = size[::-1] if size and orientation >= 5 else size
    if lying is not None and lying != (image.height, image.width):
        image = _fitted(_plain(image), lying, extent)
    picture = _pixels(image)
    down, right = STEPS[(orientation - 1) % 4]
    turned = picture.swapaxes(0, 1) if orientation >= 5 else picture
    return np.ascontiguousarray(turned[::down, ::right])


def _plain(image: "Image") -> "Image":
    """L, RGB, or, where anything is transparent, La or RGBa: values times their alpha, which may be averaged."""
    if image.mode == "F":
        raise ValueError("its values are of mode F, not bytes")
    if image.mode.startswith("I"):
        image = split_deep_grey(image)
    if image.mode in ("L", "RGB", "La", "RGBa") and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        image = image if image.mode in ("LA", "RGBA") else image.convert("RGBA")
        values = image.mode.removesuffix("A")
        least, _ = image.getchannel("A").getextrema()
        return image.convert(values if least == 255 else f"{values}a")
    return image.convert("L" if image.mode == "1" else "RGB")


def _fitted(image: "Image", size: Size, extent: Extent) -> "Image":
    """The short side, measured by `size`, brought to it; then the middle."""
    (H, W), (whole_height, whole_width) = size, extent
    scale = max(H / whole_height, W / whole_width)
    height, width = min(whole_height, H / scale), min(whole_width, W / scale)
    top, left = (whole_height - height) / 2, (whole_width - width) / 2
    # the middle is resized and nothing else: a strip of 1x60,000 would take gigabytes as a whole
    box = (left, top, left + width, top + height)
    return image.resize((W, H), _pillow().Resampling.BILINEAR, box=box)


def _pixels(image: "Image") -> np.ndarray:
    """(H, W, 3): what is transparent laid over white; a few rows at a time, so that copies are small."""
    picture = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image if rows >= image.height else image.crop((0, top, image.width, min(top + rows, image.height)))
        strip = _plain(strip)
        values = np.asarray(strip).reshape(strip.height, strip.width, -1)
        if strip.mode in ("La", "RGBa"):
            values = values[..., :-1] + (255 - values[..., -1:])
        picture[top : top + rows] = values
    return picture
