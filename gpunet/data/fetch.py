"""Fetches the data sets of `sources`: goes on where a download broke off, checks sums, leaves nothing half done behind.

A file is written to `.NAME.part` beside its place, which stays when the network or the person breaks off; the next time
only the rest of it is asked for. Once its sum is right it is renamed. What is in an archive goes to a folder of its own
that is renamed when all of it is there.
"""

import errno
import hashlib
import http.client
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from gpunet.data.sources import SOURCES, Remote, Source
from gpunet.data.unpack import unpack
from gpunet.errors import DataError

ATTEMPTS = 4
"""How often a download that breaks off is taken up again by itself."""
PAUSE_SECONDS = 1.0
TIMEOUT_SECONDS = 30.0
BLOCK_BYTES = 1 << 18

FULL = (errno.ENOSPC, errno.EDQUOT)
DISK = (*FULL, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EISDIR, errno.ENOTDIR)
"""What a disk says and no network."""

Watch = Callable[[str, int, int], None]
"""Is told what is being done, how many bytes of it are done, and how many there are."""


def fetch(
    name: str, folder: Path, watch: Watch = lambda *_: None, sources: Mapping[str, Source] = SOURCES
) -> tuple[Path, bool]:
    """The data set `name` in `folder`/`name`, and whether anything had to be fetched for that.

    Raises DataError: no such data set, no network, an address that is gone, a wrong sum, a full disk. What was
    downloaded stays for the next time, unless its sum is wrong.
    """
    if name not in sources:
        raise DataError(f"there is no data set {name!r} to fetch; there are {', '.join(sources)}")
    source, place = sources[name], folder / name
    if all((place / kept).is_file() for kept in source.kept):
        return place, False
    if place.exists() and source.members:
        raise DataError(f"{place} is there but not all of {source.title} is in it; remove it or give another --to")
    with _on_disk(folder):
        work = folder if source.members else place
        work.mkdir(parents=True, exist_ok=True)
        files = [_downloaded(file, work, watch) for file in source.files]
        if source.members:
            _unpacked(files[0], place, source, watch)
        for text, content in source.texts.items():
            (place / text).write_text(content, "utf-8")
    return place, True


def _unpacked(archive: Path, place: Path, source: Source, watch: Watch) -> None:
    part = place.with_name(f".{place.name}.{token_hex(4)}.part")
    try:
        part.mkdir()
        unpack(archive, part, source.members, watch)
        part.rename(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)  # not there where all went well
    archive.unlink()


def _downloaded(file: Remote, folder: Path, watch: Watch) -> Path:
    """The file in `folder`, with the right sum."""
    path, part = folder / file.name, folder / f".{file.name}.part"
    if path.is_file() and _md5(path, file, watch) == file.md5:
        return path
    _require_space(folder, file.nbytes - _size(part))
    _download(file, part, watch)
    found = _md5(part, file, watch)
    if found != file.md5:
        part.unlink()
        raise DataError(
            f"{file.url} is not what it should be: its MD5 sum is {found}, that of the data set is {file.md5}; "
            "it was removed; try again, and if that does not help the file has changed at its source"
        )
    part.replace(path)
    return path


def _download(file: Remote, part: Path, watch: Watch) -> None:
    """Get all bytes of a file, in several goes if need be. Raises DataError, OSError for what the disk says."""
    for attempt in range(1, ATTEMPTS + 1):
        before = _size(part)
        try:
            _continue(file, part, watch)
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) in DISK:
                raise
            if isinstance(error, urllib.error.HTTPError):
                error.close()
                if error.code < 500:
                    words = f"{file.url} answers {error.code} {error.reason}: it is not given out there"
                    raise DataError(words) from None
            if attempt == ATTEMPTS or (not _size(part) and not before and _no_network(error)):
                raise _broken_off(file, part, error) from None
            time.sleep(PAUSE_SECONDS * attempt)
        else:
            return


def _no_network(error: Exception) -> bool:
    return isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError)


def _broken_off(file: Remote, part: Path, error: Exception) -> DataError:
    reason = getattr(error, "reason", None) or error or type(error).__name__
    done = _size(part)
    if not done:
        return DataError(f"cannot reach {file.url}: {reason}; is there a network?")
    return DataError(
        f"the download of {file.url} broke off after {done:,} of {file.nbytes:,} bytes: {reason}; "
        "run the same command again to go on from there"
    )


def _continue(file: Remote, part: Path, watch: Watch) -> None:
    """Download what `part` lacks. Raises OSError or HTTPException when that breaks off, DataError when it gets more."""
    done = _size(part)
    if done >= file.nbytes:
        return
    headers = {"User-Agent": "gpunet", "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    with _OPENER.open(urllib.request.Request(file.url, headers=headers), timeout=TIMEOUT_SECONDS) as answer:
        start = answer.headers.get("Content-Range", "")
        if answer.status != 206 or not start.startswith(f"bytes {done}-"):  # it begins from the beginning
            done = 0
        with part.open("r+b" if part.exists() else "xb") as target:
            target.truncate(done)
            target.seek(done)
            while block := answer.read(BLOCK_BYTES):
                done += len(block)
                if done > file.nbytes:
                    break
                target.write(block)
                watch(f"fetching {file.name}", done, file.nbytes)
    if done > file.nbytes:
        part.unlink()
        raise DataError(f"{file.url} gives more than the {file.nbytes:,} bytes that it should have; it was removed")
    if done < file.nbytes:
        raise ConnectionError("the other side stopped")


def _opener() -> urllib.request.OpenerDirector:
    """HTTP and HTTPS alone, through proxies if the environment says so: a redirect leads to no file and no FTP."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


_OPENER = _opener()


def _md5(path: Path, file: Remote, watch: Watch) -> str:
    found, done = hashlib.md5(usedforsecurity=False), 0
    with path.open("rb") as content:
        while block := content.read(BLOCK_BYTES):
            found.update(block)
            done += len(block)
            watch(f"checking {file.name}", done, file.nbytes)
    return found.hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _require_space(folder: Path, nbytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < nbytes:
        raise DataError(f"{folder} has {free:,} bytes free, {nbytes:,} are needed; make room or give another --to")


@contextmanager
def _on_disk(folder: Path) -> Iterator[None]:
    """What the disk refuses, in words."""
    try:
        yield
    except OSError as error:
        full = error.errno in FULL
        words = "the disk is full; make room or give another --to" if full else error.strerror or error
        raise DataError(f"cannot write to {error.filename or folder}: {words}") from None
