"""Of an archive the known files are taken, and nothing else."""

import gzip
import io
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from gpunet.data.unpack import unpack
from gpunet.errors import DataError
from tests.archives import leftovers, special, tar


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("../a.bin", b"x")], "leads out of its folder"),
        ([("set/../../a.bin", b"x")], "leads out of its folder"),
        ([("/tmp/a.bin", b"x")], "leads out of its folder"),
        ([("set\\..\\a.bin", b"x")], "leads out of its folder"),
        ([("set/a.bin", special("set/a.bin", tarfile.SYMTYPE, "/etc/passwd"))], "a link, a device or a sparse file"),
        ([("set/a.bin", special("set/a.bin", tarfile.LNKTYPE, "../b"))], "a link, a device or a sparse file"),
        ([("set/other", special("set/other", tarfile.FIFOTYPE))], "a link, a device or a sparse file"),
        ([("set/other", special("set/other", tarfile.CHRTYPE))], "a link, a device or a sparse file"),
        ([("set/other", special("set/other", tarfile.GNUTYPE_SPARSE))], "a link, a device or a sparse file"),
        ([("set/a.bin", b"x" * 101)], "has 101 bytes; it should have 100 at most"),
        ([("set/b.bin", b"x")], "lacks set/a.bin"),
        ([("set/a.bin", special("set/a.bin", tarfile.DIRTYPE))], "lacks set/a.bin"),
        ([], "lacks set/a.bin"),
    ],
)
def test_archives_with_anything_but_the_known_files_are_refused(
    tmp_path: Path, members: list[tuple[str, bytes]], words: str
) -> None:
    archive, folder = tmp_path / "a.tar.gz", tmp_path / "into"
    folder.mkdir()
    archive.write_bytes(tar(*members))
    with pytest.raises(DataError) as caught:
        unpack(archive, folder, {"set/a.bin": 100})
    assert words in str(caught.value) and str(archive) in str(caught.value)
    assert leftovers(tmp_path) == ["a.tar.gz", "into"]
    assert leftovers(folder) == []


def test_damaged_archives_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    archive, folder = tmp_path / "a.tar.gz", tmp_path / "into"
    folder.mkdir()
    whole = tar(("set/a.bin", rng.bytes(5000)))
    for number, wrong in enumerate((b"", b"x" * 600, whole[:-300], whole[:30])):
        archive.write_bytes(wrong)
        inner = folder / str(number)
        inner.mkdir()
        with pytest.raises(DataError, match=r"cut short or damaged|lacks set/a\.bin"):
            unpack(archive, inner, {"set/a.bin": 5000})


def test_an_archive_that_would_fill_the_disk_is_not_followed_to_its_end(tmp_path: Path) -> None:
    member = tarfile.TarInfo("set/other")
    member.size = 1 << 40
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(gzip.compress(member.tobuf(tarfile.GNU_FORMAT)))
    with pytest.raises(DataError, match="holds more than 4,294,967,296 bytes"):
        unpack(archive, tmp_path, {"set/a.bin": 100})


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_long_notes_before_a_member_take_no_memory(tmp_path: Path, kind: bytes) -> None:
    note = special("note", kind)
    note.size = 32 << 20
    archive, folder = tmp_path / "a.tar.gz", tmp_path / "into"
    folder.mkdir()
    with gzip.open(archive, "wb", compresslevel=1) as file:
        file.write(note.tobuf(tarfile.GNU_FORMAT) + bytes(note.size))
        file.write(gzip.decompress(tar(("set/a.bin", b"abc"))))
    tracemalloc.start()
    try:
        unpack(archive, folder, {"set/a.bin": 100})
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert (folder / "a.bin").read_bytes() == b"abc"


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_all_kinds_are_read_beside_members_with_long_names(tmp_path: Path, kind: int) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", format=kind) as archive:
        for name in ("set", "set/" + "long/" * 25 + "name", "set/a.bin", "set/b.bin"):
            member = special(name, tarfile.DIRTYPE if name == "set" else tarfile.REGTYPE)
            member.size, member.mtime = (0 if member.isdir() else 700), 1.5
            archive.addfile(member, io.BytesIO(name.encode().ljust(member.size)))
    path = tmp_path / "a.tar.gz"
    path.write_bytes(packed.getvalue())
    unpack(path, tmp_path, {"set/a.bin": 700, "set/b.bin": 700})
    assert (tmp_path / "a.bin").read_bytes() == b"set/a.bin".ljust(700)
    assert (tmp_path / "b.bin").read_bytes() == b"set/b.bin".ljust(700)
