"""What becomes of a picture in the browser is what becomes of it in `gpunet predict`: the same bytes enter the net."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpunet.data.loose import read_loose
from gpunet.data.picture import ORIENTATION
from tests.javascript import Engine, started, text_of

SHAPES = [(8, 8, 1), (17, 11, 3), (32, 32, 3), (5, 40, 1), (64, 48, 3)]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with started() as engine:
        yield engine


def drawn(rng: np.random.Generator, H: int, W: int, maps: int = 3) -> np.ndarray:
    """Smooth in places and noise in others, as pictures are."""
    small = rng.integers(0, 256, (max(1, H // 7), max(1, W // 5), maps), np.uint8)
    planes = [np.asarray(Image.fromarray(small[..., map]).resize((W, H))) for map in range(maps)]
    picture = np.stack(planes, axis=2).astype(int)
    picture[: H // 2] += rng.integers(-30, 30, (H // 2, W, maps))
    return np.clip(picture, 0, 255).astype(np.uint8)


def pixels_of(picture: np.ndarray) -> str:
    """As a browser's canvas gives them: four bytes a pixel."""
    H, W, maps = picture.shape
    whole = picture if maps == 4 else np.concatenate([picture, np.full((H, W, 1), 255, np.uint8)], axis=2)
    return f"{{data: {text_of(whole)}, height: {H}, width: {W}}}"


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[ORIENTATION] = orientation
    return made


@pytest.mark.parametrize("maps", [3, 4])
def test_the_bytes_are_those_of_predict(engine: Engine, rng: np.random.Generator, tmp_path: Path, maps: int) -> None:
    path = tmp_path / "picture.png"
    for number in range(30):
        shape = SHAPES[number % len(SHAPES)]
        picture = drawn(rng, *map(int, rng.integers(1, 90, 2)), maps)
        orientation, white = int(rng.integers(1, 9)), int(rng.choice([255, 255, 16]))
        Image.fromarray(picture).save(path, exif=exif(orientation))
        found = engine.bytes(f"prepare({pixels_of(picture)}, {orientation}, {list(shape)}, {white})")
        assert found == read_loose(path, shape, white).tobytes(), (picture.shape, shape, orientation, white)


def test_a_picture_of_the_nets_size_and_a_dark_one_stay_as_they_are(engine: Engine, rng: np.random.Generator) -> None:
    picture = rng.integers(0, 17, (9, 7, 3), np.uint8)
    assert engine.bytes(f"prepare({pixels_of(picture)}, 1, [9, 7, 3], 16)") == picture.tobytes()


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_a_large_jpeg_is_read_at_a_fraction(
    engine: Engine, rng: np.random.Generator, tmp_path: Path, subsampling: str
) -> None:
    """Browsers have no such way; the means of what they read are the same but for rounding."""
    path, halved = tmp_path / "picture.jpg", str(subsampling == "4:2:0").lower()
    for H, W in ((130, 200), (301, 262), (64, 777), (640, 515)):
        Image.fromarray(drawn(rng, H, W)).save(path, quality=90, subsampling=subsampling)
        whole = np.asarray(Image.open(path).convert("RGB"))
        engine.do(f"var small = drafted({pixels_of(whole)}, [32, 32], {halved})")
        found = engine.bytes("prepare(small.pixels, 1, [32, 32, 3], 255, small.extent)")
        wanted = read_loose(path, (32, 32, 3)).reshape(-1).astype(int)
        off = np.abs(np.frombuffer(found, np.uint8) - wanted)
        assert off.max() <= 3 and off.mean() < 0.3, (H, W, off.max(), off.mean())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [None, 1, 6, 8])
def test_a_file_without_profile_and_orientation_has_the_same_pixels(
    engine: Engine, rng: np.random.Generator, kind: str, orientation: int | None
) -> None:
    said: dict[str, Any] = {} if orientation is None else {"exif": exif(orientation), "icc_profile": b"a profile" * 99}
    content = BytesIO()
    Image.fromarray(drawn(rng, 31, 22, 3 if kind == "JPEG" else 4)).save(content, format=kind, lossless=True, **said)
    engine.do(f"var file = bare({text_of(np.frombuffer(content.getvalue(), np.uint8))})")
    assert engine.run("[file.orientation, file.jpeg]") == [
        orientation or 1,
        {"halved": True} if kind == "JPEG" else None,
    ]
    if kind == "WEBP" and engine.bytes("file.bytes")[12:16] == b"VP8X":
        assert engine.bytes("file.bytes")[20] & 0x28 == 0, "it says that there is a profile or EXIF"
    with Image.open(BytesIO(engine.bytes("file.bytes"))) as found, Image.open(content) as before:
        assert (np.asarray(found) == np.asarray(before)).all()
        assert found.format == kind and "icc_profile" not in found.info and ORIENTATION not in found.getexif()


def test_what_is_no_picture_or_breaks_off_is_left_to_the_browser(engine: Engine, rng: np.random.Generator) -> None:
    content = BytesIO()
    Image.fromarray(drawn(rng, 20, 20)).save(content, format="JPEG", exif=exif(6))
    whole = np.frombuffer(content.getvalue(), np.uint8)
    for cut in (0, 1, 3, 11, 30, 40, 200):
        assert engine.run(f"bare({text_of(whole[:cut])}).orientation") in (1, 6)
    for head in (b"\x89PNG\r\n\x1a\n", b"RIFF....WEBP", b"\xff\xd8"):
        for _ in range(20):
            garbage = np.frombuffer(head + rng.bytes(40), np.uint8)
            assert engine.run(f"bare({text_of(garbage)}).bytes.length >= 0")
