"""One picture: what becomes of it, how much of memory it takes, and what is refused in which words."""

import errno
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from PIL import Image

from gpunet.data import picture
from gpunet.data.loader import in_order
from gpunet.data.picture import BrokenPicture, parse_size, picture_size, read_picture
from gpunet.data.room import Room
from gpunet.errors import DataError
from tests.fuzzing import FEW_CASES, edited, fuzz
from tests.picture_files import broken_files, png, save


def test_rgb_comes_as_it_is(tmp_path: Path, rng: np.random.Generator) -> None:
    values = rng.integers(0, 256, (7, 5, 3), dtype=np.uint8)
    for name in ("a.png", "a.bmp", "a.ppm", "A.PNG"):
        np.testing.assert_array_equal(read_picture(save(tmp_path / name, values)), values)
    lossless = save(tmp_path / "a.webp", values, lossless=True)
    np.testing.assert_array_equal(read_picture(lossless), values)


def test_grey_is_three_equal_maps_and_of_16_bits_the_upper_8(tmp_path: Path) -> None:
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3) * 50
    wanted = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_picture(save(tmp_path / "a.png", grey)), wanted)
    deep = grey.astype(np.uint16) * 256 + 200
    np.testing.assert_array_equal(read_picture(save(tmp_path / "b.png", deep)), wanted)
    bits = read_picture(save(tmp_path / "c.png", grey > 100))
    np.testing.assert_array_equal(bits, np.where(wanted > 100, 255, 0))


@pytest.mark.parametrize(
    ("most", "values", "wanted"),
    [
        (65_535, [0, 255, 256, 51_455, 65_535], [0, 0, 1, 200, 255]),
        (1023, [0, 4, 512, 1019, 1023], [0, 1, 128, 254, 255]),
    ],
)
def test_a_pgm_of_more_than_8_bits_is_read_whatever_its_white_is(
    tmp_path: Path, most: int, values: list[int], wanted: list[int]
) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5\n5 1\n%d\n" % most + struct.pack(">5H", *values))
    for size in (None, (1, 5)):
        np.testing.assert_array_equal(read_picture(path, size)[0], np.repeat(np.array(wanted)[:, None], 3, axis=1))


def test_a_jpeg_in_cmyk_becomes_rgb(tmp_path: Path) -> None:
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[:, :8, 0], inks[:, 8:, 3] = 255, 102
    Image.fromarray(inks, "CMYK").save(tmp_path / "a.jpg", quality=100, subsampling=0)
    found = read_picture(tmp_path / "a.jpg").astype(int)
    wanted = np.where(np.arange(16)[:, None] < 8, [0, 255, 255], [153, 153, 153])
    assert abs(found - wanted).max() <= 3


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_of_an_animated_picture_the_first_frame_is_taken(tmp_path: Path, rng: np.random.Generator, format: str) -> None:
    frames = rng.integers(0, 256, (3, 6, 5, 3), dtype=np.uint8)
    first, *others = map(Image.fromarray, frames)
    first.save(tmp_path / "a.png", format, save_all=True, append_images=others, lossless=True)
    with Image.open(tmp_path / "a.png") as whole:
        assert whole.n_frames == 3
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), frames[0])


@pytest.mark.parametrize(("full", "options"), [((240, 330), {}), ((333, 241), {"progressive": True})])
def test_a_jpeg_decoded_at_a_fraction_is_near_the_whole_one_resized(
    tmp_path: Path, rng: np.random.Generator, full: tuple[int, int], options: dict[str, bool]
) -> None:
    """Smooth, as photographs are; the square in the middle resized by Pillow is the oracle."""
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    coarse.resize(full[::-1], Image.Resampling.BICUBIC).save(tmp_path / "a.jpg", quality=95, **options)
    (height, width), side = full, min(full)
    box = (width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2
    with Image.open(tmp_path / "a.jpg") as whole:
        wanted = np.asarray(whole.resize((30, 30), Image.Resampling.BILINEAR, box=box)).astype(int)
    assert abs(read_picture(tmp_path / "a.jpg", (30, 30)) - wanted).max() <= 6


def test_what_is_transparent_is_laid_over_white(tmp_path: Path) -> None:
    values = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], np.uint8)
    found = read_picture(save(tmp_path / "a.png", values))
    assert found.tolist() == [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]]
    image = Image.new("P", (2, 1))
    image.putpalette([9, 8, 7, 200, 100, 50])
    image.putdata([0, 1])
    image.save(tmp_path / "b.png", transparency=0)
    assert read_picture(tmp_path / "b.png").tolist() == [[[255, 255, 255], [200, 100, 50]]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_cutting_and_resizing_first_differ_from_laying_over_white_first_by_rounding(
    tmp_path: Path, rng: np.random.Generator, mode: str
) -> None:
    """What is transparent is red: were it averaged as it stands, it would show."""
    values = rng.integers(0, 256, (40, 60, 4), dtype=np.uint8)
    values[..., 3] *= rng.integers(0, 2, (40, 60), dtype=np.uint8)
    values[values[..., 3] == 0] = 255, 0, 0, 0
    image = Image.fromarray(values).convert(mode)
    image.save(tmp_path / "a.png")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    flat = save(tmp_path / "flat.png", np.asarray(white.convert("RGB")))
    for size in ((40, 60), (17, 13), (50, 90), (2, 3)):
        assert abs(read_picture(tmp_path / "a.png", size).astype(int) - read_picture(flat, size)).max() <= 2


@pytest.mark.parametrize("colour", [4, 6])
def test_16_bits_with_alpha_are_laid_over_white(tmp_path: Path, colour: int) -> None:
    """A PNG of three pixels, opaque, transparent and a fifth opaque; Pillow writes none such."""
    rows = [[0x50FF, 0xFFFF], [0x50FF, 0], [0, 0x3333]]
    samples = [value for grey, alpha in rows for value in [grey] * (colour // 2 * 2 - 3) + [alpha]]
    (tmp_path / "a.png").write_bytes(png(3, 1, b"\0" + struct.pack(f">{len(samples)}H", *samples), 16, colour))
    for size in (None, (1, 3)):
        assert read_picture(tmp_path / "a.png", size)[0].tolist() == [[80] * 3, [255] * 3, [204] * 3]


def packed(samples: list[int], bits: int) -> bytes:
    """A row of samples as a PNG holds it, the first in the upper bits."""
    text = "".join(f"{sample:0{bits}b}" for sample in samples)
    return bytes(int(text[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(text), 8))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_a_png_is_compared_at_its_own_depth(tmp_path: Path, bits: int) -> None:
    """White where a sample is the named one and nowhere else: for 16 bits also where the upper 8 are equal."""
    most = (1 << bits) - 1
    samples = sorted({0, 1, most // 3, most // 2, 0x50 & most, most})
    deep = [*samples, 0x5000, 0x5001] if bits == 16 else samples
    for named in deep:
        chunk = struct.pack(">H", named)
        content = png(len(deep), 1, b"\0" + packed(deep, bits), bits, 0, transparent=chunk)
        (tmp_path / "a.png").write_bytes(content)
        wanted = [255 if value == named else value >> 8 if bits == 16 else value * 255 // most for value in deep]
        for size in (None, (1, len(deep))):
            found = read_picture(tmp_path / "a.png", size)
            assert found[0].tolist() == [[value] * 3 for value in wanted], named


@pytest.mark.parametrize("bits", [8, 16])
def test_the_transparent_colour_of_a_png_is_compared_at_its_own_depth(
    tmp_path: Path, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = (0x12, 0x34, 0x56) if bits == 8 else (0x1234, 0x5678, 0x9ABC)
    pixels = [named, (*named[:2], named[2] ^ 1), (named[0] ^ (1 << bits - 1), *named[1:]), (0, 0, 0)]
    for row in (pixels, pixels[::-1], pixels[:1]):
        chunk = struct.pack(">3H", *named)
        samples = [sample for pixel in row for sample in pixel]
        (tmp_path / "a.png").write_bytes(
            png(len(row), 2, (b"\0" + packed(samples, bits)) * 2, bits, 2, transparent=chunk)
        )
        wanted = [[255] * 3 if pixel == named else [sample >> bits - 8 for sample in pixel] for pixel in row]
        for strip in (1 << 20, 1):
            monkeypatch.setattr(picture, "STRIP_PIXELS", strip)
            assert read_picture(tmp_path / "a.png").tolist() == [wanted] * 2


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_deflate"}])
def test_of_a_tiff_the_first_frame_is_read(tmp_path: Path, rng: np.random.Generator, options: dict[str, str]) -> None:
    frames = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((6, 5, 3), (3, 3, 3))]
    first, second = map(Image.fromarray, frames)
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second], **options)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), frames[0])
    assert picture_size(tmp_path / "a.tif") == (6, 5)
    deep = rng.integers(0, 1 << 16, (4, 7), dtype=np.uint16)
    found = read_picture(save(tmp_path / "deep.tiff", deep, **options))
    np.testing.assert_array_equal(found, np.repeat(deep[..., None] >> 8, 3, axis=2))
    with pytest.raises(BrokenPicture, match=r"floats.tif cannot be read as a picture: its values are of mode F"):
        read_picture(save(tmp_path / "floats.tif", deep.astype(np.float32)))


@FEW_CASES
@pytest.mark.filterwarnings("ignore")
def test_a_tiff_from_a_stranger_is_read_or_refused(tmp_path: Path, rng: np.random.Generator, cases: int) -> None:
    wholes = []
    for compression in (None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg"):
        Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8)).save(tmp_path / "whole.tif", compression=compression)
        wholes.append((tmp_path / "whole.tif").read_bytes())
    fuzz(tmp_path, "a.tif", cases, edited(*wholes), lambda path: (picture_size(path), read_picture(path, (4, 4))))


def test_large_pictures_come_in_strips_as_small_ones_come_whole(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [save(tmp_path / f"{maps}.png", rng.integers(0, 256, (7, 5, maps), np.uint8)) for maps in (2, 3, 4)]
    paths.append(save(tmp_path / "deep.png", rng.integers(0, 1 << 16, (7, 5), np.uint16)))
    whole = [read_picture(path) for path in paths]
    monkeypatch.setattr(picture, "STRIP_PIXELS", 10)
    for path, wanted in zip(paths, whole, strict=True):
        np.testing.assert_array_equal(read_picture(path), wanted)


def test_threads_decode_no_more_pixels_at_once_than_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = (6, 6, 8, 3, 3, 8, 5, 2)
    paths = [save(tmp_path / f"{n}.png", np.zeros((side, side), np.uint8)) for n, side in enumerate(sides)]
    decode, lock, under_way, most = picture._decoded, threading.Lock(), [0], [0]

    def watched(image: Image.Image, *others: Any) -> np.ndarray:
        with lock:
            under_way[0] += image.width * image.height
            most[0] = max(most[0], under_way[0])
        time.sleep(0.005)
        try:
            return decode(image, *others)
        finally:
            with lock:
                under_way[0] -= image.width * image.height

    monkeypatch.setattr(picture, "ROOM", Room(64))
    monkeypatch.setattr(picture, "_decoded", watched)
    (read,) = in_order(read_picture, [paths], 8, 1)
    assert [len(found) for found in read] == list(sides) and 36 <= most[0] <= 64


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, lambda a: a.swapaxes(0, 1)[:, ::-1]),
        (7, lambda a: a[::-1, ::-1].swapaxes(0, 1)),
        (8, lambda a: a.swapaxes(0, 1)[::-1]),
        (99, lambda a: a),
    ],
)
def test_pictures_are_turned_as_exif_says(
    tmp_path: Path, rng: np.random.Generator, orientation: int, turn: Callable[[np.ndarray], np.ndarray], ending: str
) -> None:
    """From the EXIF standard: which side of the scene the first row and the first column of the file are."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    values = rng.integers(0, 256, (4, 7, 3), dtype=np.uint8)
    path = save(tmp_path / f"a.{ending}", values, exif=exif)
    wanted = turn(np.asarray(Image.open(path)) if ending == "jpg" else values)
    np.testing.assert_array_equal(read_picture(path), wanted)
    assert picture_size(path) == wanted.shape[:2]
    resized = read_picture(save(tmp_path / "upright.png", wanted), (3, 2)).astype(int)
    assert abs(read_picture(path, (3, 2)) - resized).max() <= 1


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_an_exif_that_cannot_be_read_is_none(tmp_path: Path, rng: np.random.Generator) -> None:
    values = rng.integers(0, 256, (4, 7, 3), dtype=np.uint8)
    path = save(tmp_path / "a.jpg", values, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert read_picture(path).shape == (4, 7, 3) and picture_size(path) == (4, 7)


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (50, 50), (11, 90), (7, 7)])
def test_the_short_side_is_brought_to_a_size_and_the_middle_cut_out(tmp_path: Path, shape: tuple[int, int]) -> None:
    """A ramp from the top left: after resizing still a ramp, whose middle is that of the picture."""
    H, W = shape
    rows, columns = np.mgrid[:H, :W]
    values = np.stack([rows * 255 / (H - 1), columns * 255 / (W - 1), rows * 0], axis=-1).round().astype(np.uint8)
    found = read_picture(save(tmp_path / "a.png", values), (20, 10)).astype(float)
    assert found.shape == (20, 10, 3)
    scale = max(20 / H, 10 / W)
    for map_, (extent, kept, axis) in enumerate(((H, 20 / scale, 1), (W, 10 / scale, 0))):
        line = found[..., map_].mean(axis)
        wanted = 255 * kept / (extent - 1) * (1 - 1 / len(line))  # from the middle of the first to that of the last
        assert line.mean() == pytest.approx(127.5, abs=1.5)
        assert line[-1] - line[0] == pytest.approx(wanted, abs=0.12 * wanted)


def test_a_picture_that_has_the_size_is_left_as_it_is(tmp_path: Path, rng: np.random.Generator) -> None:
    values = rng.integers(0, 256, (4, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(read_picture(save(tmp_path / "a.png", values), (4, 7)), values)


def test_a_long_strip_takes_no_more_room_than_its_middle(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.zeros((1, 60_000, 3), np.uint8))
    assert read_picture(path, (2000, 10)).shape == (2000, 10, 3)


def test_what_is_no_picture_is_named(tmp_path: Path, rng: np.random.Generator) -> None:
    for name, content in broken_files(rng).items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(BrokenPicture) as caught:
            read_picture(path)
        assert str(path) in str(caught.value)
        if name in ("warned.png", "bomb.png", "vast.webp"):
            assert "pixels" in str(caught.value)
        if name == "gif.png":
            assert "it is none of JPEG, PNG" in str(caught.value)


def test_without_pillow_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", np.zeros((2, 2), np.uint8))
    picture._pillow.cache_clear()
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match="pip install pillow"):
        read_picture(path)
    picture._pillow.cache_clear()


@pytest.mark.parametrize("text", ["", "224", "x", "0x5", "5x0", "-3x5", "2.5x3", "70000x3", "224x224x3", "²x3"])
def test_a_size_is_height_x_width(text: str) -> None:
    with pytest.raises(DataError, match="like 224x224"):
        parse_size(text)
    assert parse_size("224x192") == (224, 192)


def test_a_lack_of_memory_or_of_files_is_no_fault_of_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    for error, broken in (
        (MemoryError(), False),
        (OSError(errno.EMFILE, "Too many open files"), False),
        (PermissionError(errno.EACCES, "Permission denied"), True),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", raising(error))
            with pytest.raises(DataError) as caught:
                read_picture(tmp_path / "a.png")
        assert isinstance(caught.value, BrokenPicture) == broken


def raising(error: BaseException) -> Callable[..., NoReturn]:
    def fail(*arguments: object) -> NoReturn:
        raise error

    return fail
