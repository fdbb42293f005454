"""Files of pictures for tests: whole ones, claimed ones, broken ones."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def save(path: Path, values: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)
    return path


def noise_folder(folder: Path, classes: tuple[str, ...], size: tuple[int, int], each: int = 4) -> Path:
    """Pictures of noise of `size` (height, width) in folders of classes, to learn from and to test on."""
    rng = np.random.default_rng(7)
    for part in ("train", "test"):
        for name in classes:
            for number in range(each):
                save(folder / part / name / f"{number}.png", rng.integers(0, 256, (*size, 3), np.uint8))
    return folder


def png(width: int, height: int, content: bytes, bits: int = 8, colour: int = 2, transparent: bytes = b"") -> bytes:
    """A PNG that claims a size, and whose pixels are `content`; with the colour that is `transparent`."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    named = chunk(b"tRNS", transparent) if transparent else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + named
        + chunk(b"IDAT", zlib.compress(content))
        + chunk(b"IEND", b"")
    )


def webp_of(width: int, height: int) -> bytes:
    """The beginning of a lossless WebP that claims a size."""
    bits = (width - 1) | (height - 1) << 14
    chunk = b"VP8L" + struct.pack("<I", 24) + b"\x2f" + struct.pack("<I", bits) + bytes(19)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def broken_files(rng: np.random.Generator) -> dict[str, bytes]:
    whole = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(whole, "JPEG")
    gif = io.BytesIO()
    Image.new("RGB", (5, 5)).save(gif, "GIF")
    return {
        "cut.jpg": whole.getvalue()[:-60],
        "empty.jpg": b"",
        "text.png": b"not a picture",
        "gif.png": gif.getvalue(),
        "hollow.png": png(30, 30, bytes(99)),
        "warned.png": png(10_000, 10_000, bytes(99)),
        "bomb.png": png(60_000, 60_000, bytes(99)),
        "vast.webp": webp_of(7000, 7000),
    }
