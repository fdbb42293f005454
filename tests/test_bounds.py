"""What a file may cost whoever reads it: memory and time go with what it holds, not with what it claims."""

import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpunet import DataError
from gpunet.data import load
from gpunet.data.picture import BrokenPicture, picture_size, read_picture
from gpunet.data.pnm import MOST_HEADER_BYTES


def peak_of(work: Any) -> int:
    """Bytes that Python and NumPy took at most meanwhile."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


KINDS: dict[str, Any] = {
    "bytes": lambda values: values,
    "another machine's floats": lambda values: values[:3000].astype(">f4"),
    "in Fortran's order": lambda values: np.asfortranarray(values[:2000].astype(np.float64)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_takes_at_most_one_and_a_half_times_what_it_holds(kind: str, save: Any, tmp_path: Path) -> None:
    images = KINDS[kind](np.random.default_rng(0).integers(0, 3, (12_000, 16, 16, 3), np.uint8))
    labels = np.arange(len(images)) % 10
    arrays = dict(images=images, labels=labels, test_images=images[:500], test_labels=labels[:500])
    save(tmp_path / "x.npz", **arrays)
    held = sum(array.nbytes for array in arrays.values())
    assert peak_of(lambda: load(str(tmp_path / "x.npz"))) <= 1.5 * held


def test_an_npz_of_a_hundred_thousand_entries_is_refused_before_they_are_made_objects(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(30_000):
            archive.writestr(zipfile.ZipInfo(f"{number}.npy"), b"")
    refused = pytest.raises(DataError, match=r"its directory has [\d,]+ bytes; one of arrays has 1,048,576 at most")

    def read() -> None:
        with refused:
            load(str(path))

    assert peak_of(read) < path.stat().st_size


def grey(path: Path, comment: bytes, kind: bytes = b"P5") -> Path:
    path.write_bytes(kind + b"\n" + comment + b"3 2\n255\n" + bytes(range(6)))
    return path


def test_a_comment_of_a_hundred_million_bytes_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    with path.open("wb") as file:
        file.write(b"P5\n#")
        file.truncate(100_000_000)  # a hole, which reads as zeros

    def read() -> None:
        for reading in (picture_size, lambda it: read_picture(it, (2, 3))):
            with pytest.raises(BrokenPicture, match="has a header of more than 4,096 bytes, as no picture has"):
                reading(path)

    assert peak_of(read) < 1_000_000


@pytest.mark.parametrize(
    "comment", [b"", b"# by a program\n", b"# one\n# two\n", b"#" * (MOST_HEADER_BYTES - 20) + b"\n"]
)
def test_comments_of_a_line_or_many_are_read_over(comment: bytes, tmp_path: Path) -> None:
    assert read_picture(grey(tmp_path / "a.pgm", comment), None)[..., 0].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("kind", [b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"])
def test_every_kind_with_a_header_that_does_not_end_is_refused(kind: bytes, tmp_path: Path) -> None:
    for comment in (b"#" * 5000 + b"\n", b"# line\n" * 1000, b" " * 5000):
        with pytest.raises(BrokenPicture, match="has a header of more than"):
            picture_size(grey(tmp_path / "a.ppm", comment, kind))


def test_pictures_larger_than_a_header_are_read_as_before(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 256, (80, 90, 3), np.uint8)
    for name in ("a.ppm", "a.png"):
        Image.fromarray(values).save(tmp_path / name)
        assert (read_picture(tmp_path / name, None) == values).all()
    Image.fromarray(values[..., 0]).save(tmp_path / "a.pgm")
    assert (read_picture(tmp_path / "a.pgm", None)[..., 0] == values[..., 0]).all()
    Image.fromarray(values[..., 0] > 99).save(tmp_path / "a.pbm", format="PPM")
    assert picture_size(tmp_path / "a.pbm") == (80, 90)
