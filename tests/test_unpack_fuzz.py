"""Archives from strangers: whatever is in them, they are unpacked or refused, soon and in little memory."""

import gzip
import io
import shutil
import tarfile
from pathlib import Path

from hypothesis import strategies as st

from gpunet.data.unpack import unpack
from tests.fuzzing import FEW_CASES, edited, fuzz

KINDS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
MEMBERS = {"set/a.bin": 100, "set/b.bin": 2000}


def archive(kind: int) -> bytes:
    """A .tar, not compressed: two wanted files, a folder, and a file with a long name."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=kind) as tar:
        for name, nbytes in {"set/": 0, "set/a.bin": 3, "set/" + "long/" * 25: 9, "set/b.bin": 1000}.items():
            member = tarfile.TarInfo(name)
            member.size, member.type = nbytes, tarfile.REGTYPE if nbytes else tarfile.DIRTYPE
            tar.addfile(member, io.BytesIO(bytes(nbytes)))
    return packed.getvalue().rstrip(b"\0") + bytes(2048)  # not the ten kilobytes that tar fills up


def with_right_sums(content: bytes) -> bytes:
    """The sum of each header that still stands in its place made right again, so that what it says is looked at."""
    blocks = [bytearray(content[at : at + 512]) for at in range(0, len(content), 512)]
    for block in blocks:
        if block[257:262] == b"ustar" and len(block) == 512:
            block[148:156] = b"%06o\0 " % (sum(block[:148]) + sum(block[156:]) + 8 * ord(" "))
    return b"".join(blocks)


WHOLE = [archive(kind) for kind in KINDS]
CONTENTS = st.one_of(
    edited(*WHOLE).map(with_right_sums).map(lambda content: gzip.compress(content, 1)),
    edited(*WHOLE).map(lambda content: gzip.compress(content, 1)),
    edited(*map(gzip.compress, WHOLE)),
    st.binary(max_size=30),
)


@FEW_CASES
def test_archives(tmp_path: Path, cases: int) -> None:
    folder = tmp_path / "into"

    def read(path: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            unpack(path, folder, MEMBERS)
        finally:
            assert all(file.stat().st_size <= 2000 for file in folder.iterdir())
            assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "into"]

    fuzz(tmp_path, "a.tar.gz", cases, CONTENTS, read)
