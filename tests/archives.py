"""Archives of a few files, to be unpacked, and what lies where they were."""

import io
import tarfile
from pathlib import Path


def tar(*members: tuple[str, bytes | tarfile.TarInfo]) -> bytes:
    """A .tar.gz of files by path; of what else there may be, the member itself."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in members:
            if isinstance(content, bytes):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            else:
                archive.addfile(content)
    return packed.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
