"""Takes known files out of a .tar.gz, and nothing else: no links, no paths that climb out, no more than is stated.

tarfile.open reads whole what stands before a member, long names and attributes, though it may be of a gigabyte. Nothing
that is wanted needs them: here they are passed over in blocks, and a member is known by the name in its own header.
"""

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from gpunet.errors import DataError

BLOCK_BYTES = 1 << 20
MOST_BYTES = 1 << 32
"""Of all that an archive holds, what is left alone included: STL-10 has 3.2 GB."""

FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
NOTES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME)
"""Longer names, and attributes, of the members behind them."""


def unpack(
    archive: Path, folder: Path, members: Mapping[str, int], watch: Callable[[str, int, int], None] = lambda *_: None
) -> None:
    """Write the `members` of `archive`, most bytes of each by its path in there, into `folder` by their last names.

    Other plain files and folders are passed over. Raises DataError for an archive that is damaged, lacks one of
    them, or holds what no data set needs: a link, a device, an absolute path, one with "..", too many bytes.
    """
    left, passed, total = dict(members), 0, archive.stat().st_size
    try:
        with archive.open("rb") as file, gzip.GzipFile(fileobj=file) as tar:
            while member := _header(tar):
                watch(f"unpacking {archive.name}", file.tell(), total)
                padding = -member.size % tarfile.BLOCKSIZE
                passed += tarfile.BLOCKSIZE + member.size + padding
                _require_harmless(archive, member, passed)
                content = _blocks(tar, member.size)
                if member.name in left and member.type in FILES:
                    _write(content, member, folder / PurePosixPath(member.name).name, left.pop(member.name), archive)
                for _ in content:  # what was not written
                    pass
                tar.read(padding)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{archive} is cut short or damaged ({error})") from None
    if left:
        raise DataError(f"{archive} lacks {', '.join(left)}")


def _header(tar: gzip.GzipFile) -> tarfile.TarInfo | None:
    """The next one; none behind the last member."""
    block = tar.read(tarfile.BLOCKSIZE)
    if not block.strip(b"\0"):
        return None
    member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    if member.isdir():
        member.size = 0  # it has no content, whatever its header says
    return member


def _require_harmless(archive: Path, member: tarfile.TarInfo, passed: int) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise DataError(f"{archive} holds {member.name!r}, a path that leads out of its folder; nothing of it is used")
    if member.type not in (*FILES, *NOTES, tarfile.DIRTYPE):
        raise DataError(f"{archive} holds {member.name!r}, a link, a device or a sparse file; nothing of it is used")
    if member.size < 0 or passed > MOST_BYTES:
        raise DataError(f"{archive} holds more than {MOST_BYTES:,} bytes; nothing of it is used")


def _write(content: Iterator[bytes], member: tarfile.TarInfo, target: Path, most_bytes: int, archive: Path) -> None:
    if member.size > most_bytes:
        raise DataError(f"{archive}: {member.name} has {member.size:,} bytes; it should have {most_bytes:,} at most")
    with target.open("xb") as file:
        file.writelines(content)


def _blocks(tar: gzip.GzipFile, nbytes: int) -> Iterator[bytes]:
    """The next bytes of an archive. Raises EOFError if it ends before."""
    while nbytes:
        block = tar.read(min(nbytes, BLOCK_BYTES))
        if not block:
            raise EOFError(f"{nbytes:,} bytes are missing at its end")
        nbytes -= len(block)
        yield block
