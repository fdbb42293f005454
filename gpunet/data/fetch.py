"""Fetches the data sets of `sources`: goes on where a download broke off, checks sums, leaves nothing half done behind.

All work is done in `.NAME.part`, a folder beside the data set's place. What is downloaded stays there when the network
or the person breaks off; the next time only the rest of it is asked for. Files whose sums are right, or what is in the
archive, go to a folder in there that is renamed when all of them are there. Nothing else is ever written to or removed.
"""

import errno
import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from gpunet.data.sources import SOURCES, Remote, Source
from gpunet.data.unpack import unpack
from gpunet.errors import DataError
from gpunet.system.files import locked
from gpunet.values.visible import visible

ATTEMPTS = 4
"""How often a download that breaks off is taken up again by itself."""
PAUSE_SECONDS = 1.0
TIMEOUT_SECONDS = 30.0
BLOCK_BYTES = 1 << 18

FULL = (errno.ENOSPC, errno.EDQUOT)
DISK = (*FULL, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EISDIR, errno.ENOTDIR, errno.ELOOP)
"""What a disk says and no network."""

NO_SUCH_RANGE, TOO_MANY_REQUESTS = 416, 429

Watch = Callable[[str, int, int], None]
"""Is told what is being done, how many bytes of it are done, and how many there are."""


def fetch(
    name: str, folder: Path, watch: Watch = lambda *_: None, sources: Mapping[str, Source] = SOURCES
) -> tuple[Path, bool]:
    """The data set `name` in `folder`/`name`, and whether anything had to be fetched for that.

    Raises DataError: no such data set, no network, an address that is gone or gives out something else, a wrong sum, a
    full disk, another process that fetches it there. What was downloaded stays for the next time, unless its sum is
    wrong.
    """
    if name not in sources:
        raise DataError(f"there is no data set {name!r} to fetch; there are {', '.join(sources)}")
    source, place = sources[name], folder / name
    lacking = _lacking(place, source)
    if not lacking:
        return place, False
    if os.path.lexists(place):
        raise DataError(
            f"{place} is there but not all of {source.title} is in it: {lacking} is missing, empty or of a wrong size; "
            "remove it or give another --to"
        )
    with _on_disk(folder), _work_folder(folder, name) as (work, whole):
        for text, content in source.texts.items():
            (whole / text).write_text(content, "utf-8")
        if source.members:
            archive = _lying(source.files[0], folder, watch) or _downloaded(source.files[0], work, watch)
            unpack(archive, whole, source.members, watch)
        else:
            for path in [_downloaded(file, work, watch) for file in source.files]:
                path.rename(whole / path.name)
        whole.rename(place)
        for file in source.files:
            (work / file.name).unlink(missing_ok=True)
    return place, True


def _lacking(place: Path, source: Source) -> str:
    """The first file of a data set that is not there, empty, or of a wrong size where the right one is known."""
    sizes = {} if source.members else {file.name: file.nbytes for file in source.files}
    for name in source.kept:
        found = _size(place / name) if (place / name).is_file() else 0
        if not found or found != sizes.get(name, found):
            return name
    return ""


@contextmanager
def _work_folder(folder: Path, name: str) -> Iterator[tuple[Path, Path]]:
    """Where to work on a data set, for this process alone, and an empty folder in there for what it will hold.

    The latter goes in any case if it was not renamed, the former when no download is left in it.
    """
    work = folder / f".{name}.part"
    if work.is_symlink():
        raise DataError(f"{work} is a link; downloads would be written to where it leads; remove it")
    work.mkdir(parents=True, exist_ok=True)
    lock, whole = work / "lock", work / name
    with locked(lock, f"{work} is busy: another gpunet data {name} works in there; wait until it has ended"):
        shutil.rmtree(whole, ignore_errors=True)  # of a process that was killed
        try:
            whole.mkdir()
            yield work, whole
        finally:
            shutil.rmtree(whole, ignore_errors=True)  # not there where all went well
            lock.unlink(missing_ok=True)
            with suppress(OSError):
                work.rmdir()


def _lying(file: Remote, folder: Path, watch: Watch) -> Path | None:
    """The file that somebody put into the folder, if it is the right one."""
    path = folder / file.name
    right = path.is_file() and _size(path) == file.nbytes and _md5(path, file, watch) == file.md5
    return path if right else None


def _downloaded(file: Remote, work: Path, watch: Watch) -> Path:
    """The file in the folder for work, with the right sum."""
    path = work / file.name
    _require_space(work, file.nbytes - _size(path))
    _download(file, path, watch)
    found = _md5(path, file, watch)
    if found != file.md5:
        path.unlink()
        raise DataError(
            f"{file.url} is not what it should be: its MD5 sum is {found}, that of the data set is {file.md5}; "
            "it was removed; try again, and if that does not help the file has changed at its source"
        )
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
                if before and error.code == NO_SUCH_RANGE:  # what is here is no beginning of what is there
                    part.unlink()
                elif error.code < 500 and error.code != TOO_MANY_REQUESTS:
                    raise DataError(f"{file.url} {_refused(error)}: it is not given out there") from None
            if attempt == ATTEMPTS or (not _size(part) and not before and _no_network(error)):
                raise _broken_off(file, part, error) from None
            time.sleep(PAUSE_SECONDS * attempt)
        else:
            return


def _no_network(error: Exception) -> bool:
    return isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError)


def _refused(error: urllib.error.HTTPError) -> str:
    return f"answers {error.code} {' '.join(str(error.reason).split())}"


def _broken_off(file: Remote, part: Path, error: Exception) -> DataError:
    done = _size(part)
    if isinstance(error, urllib.error.HTTPError) and not done:
        return DataError(f"{file.url} {_refused(error)}; try again later")
    reason = getattr(error, "reason", None) or error or type(error).__name__
    if not done:
        return DataError(f"cannot reach {file.url}: {reason}; is there a network?")
    return DataError(
        f"the download of {file.url} broke off after {done:,} of {file.nbytes:,} bytes: {reason}; "
        "run the same command again to go on from there"
    )


def _continue(file: Remote, part: Path, watch: Watch) -> None:
    """Download what `part` lacks. Raises OSError or HTTPException when that breaks off, DataError for other content."""
    done = _size(part)
    if done >= file.nbytes:
        return
    headers = {"User-Agent": "gpunet", "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    with _OPENER.open(urllib.request.Request(file.url, headers=headers), timeout=TIMEOUT_SECONDS) as answer:
        start, announced = _announced(answer)
        if announced not in (None, file.nbytes):
            raise DataError(
                f"{file.url} gives out {announced:,} bytes, the data set's file has {file.nbytes:,}: it is something "
                "else, perhaps the page that a network shows before a login; nothing of it was kept"
            )
        if start != done:  # it begins from the beginning
            done = 0
        with open(part, "r+b", opener=_opened) as target:
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


def _announced(answer: http.client.HTTPResponse) -> tuple[int, int | None]:
    """The byte that an answer begins with, and how many the whole file has, if it says so."""
    if answer.status != http.client.PARTIAL_CONTENT:
        return 0, answer.length
    words = re.match(r"bytes ([0-9]{1,18})-[0-9]+/([0-9]{1,18})?", answer.headers.get("Content-Range", ""))
    return (int(words[1]), int(words[2]) if words[2] else None) if words else (0, None)


def _opened(part: str, flags: int) -> int:
    """Made if it is not there; where a link would lead is not touched."""
    return os.open(part, flags | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)


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
        raise DataError(f"cannot write to {visible(error.filename or str(folder))}: {words}") from None
