"""Takes known files out of a .tar.gz, and nothing else: no links, no paths that climb out, no more than is stated."""

import tarfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from gpunet.errors import DataError

BLOCK_BYTES = 1 << 20
MOST_BYTES = 1 << 32
"""Of all that an archive holds, what is left alone included: STL-10 has 3.2 GB."""


def unpack(
    archive: Path, folder: Path, members: Mapping[str, int], watch: Callable[[str, int, int], None] = lambda *_: None
) -> None:
    """Write the `members` of `archive`, most bytes of each by its path in there, into `folder` by their last names.

    Other plain files and folders are passed over. Raises DataError for an archive that is damaged, lacks one of
    them, or holds what no data set needs: a link, a device, an absolute path, one with "..", too many bytes.
    """
    left, passed, total = dict(members), 0, archive.stat().st_size
    try:
        with archive.open("rb") as file, tarfile.open(fileobj=file, mode="r|gz") as tar:
            for member in tar:
                watch(f"unpacking {archive.name}", file.tell(), total)
                passed += member.size
                _require_harmless(archive, member, passed)
                if member.name in left and member.isreg():
                    _write(tar, member, folder / PurePosixPath(member.name).name, left.pop(member.name), archive)
    except (tarfile.TarError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"{archive} is cut short or damaged ({error})") from None
    if left:
        raise DataError(f"{archive} lacks {', '.join(left)}")


def _require_harmless(archive: Path, member: tarfile.TarInfo, passed: int) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise DataError(f"{archive} holds {member.name!r}, a path that leads out of its folder; nothing of it is used")
    if not (member.isreg() or member.isdir()):
        raise DataError(f"{archive} holds {member.name!r}, a link or a device; nothing of it is used")
    if member.size < 0 or passed > MOST_BYTES:
        raise DataError(f"{archive} holds more than {MOST_BYTES:,} bytes; nothing of it is used")


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, most_bytes: int, archive: Path) -> None:
    if member.size > most_bytes:
        raise DataError(f"{archive}: {member.name} has {member.size:,} bytes; it should have {most_bytes:,} at most")
    source = tar.extractfile(member)
    if source is None:
        raise DataError(f"{archive}: {member.name} is no plain file")
    with target.open("xb") as file:
        while block := source.read(BLOCK_BYTES):
            file.write(block)
        if file.tell() != member.size:
            raise EOFError(f"{member.name} ends too early")
