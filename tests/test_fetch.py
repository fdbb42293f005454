"""`gpunet data`, from a server on this machine that breaks off, lies and redirects."""

import errno
import gzip
import hashlib
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gpunet.cli.app import app
from gpunet.data import fetch as module
from gpunet.data import load
from gpunet.data.fetch import fetch
from gpunet.data.sources import SOURCES, Remote, Source
from gpunet.errors import DataError
from tests import data_files
from tests.archives import leftovers, tar

LOCAL = "http://127.0.0.1"
LOGIN = b"<html>please log in</html>" * 70
PART = ".cifar10.part"
ARCHIVE = "cifar-10-binary.tar.gz"


@dataclass
class Server:
    """What is served by path; how it misbehaves; what it was asked for: (path, Range)."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    break_after: list[int] = field(default_factory=list)
    """Bytes after which the next answers end, one after another."""
    ranges: bool = True
    lengths: bool = True
    """Whether answers say how long they are."""
    portal: bool = False
    """Whether everything is answered with a page to log in."""
    failures: list[int] = field(default_factory=list)
    """Codes of the next answers."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def remote(self, name: str) -> Remote:
        content = self.files[f"/{name}"]
        return Remote(f"{self.address}/{name}", hashlib.md5(content).hexdigest(), len(content))


def answer(server: Server, request: BaseHTTPRequestHandler) -> None:
    wanted = request.headers["Range"]
    server.asked.append((request.path, wanted))
    if server.failures:
        request.send_error(server.failures.pop(0))
        return
    if server.portal:
        request.send_response(200)
        request.send_header("Content-Length", str(len(LOGIN)))
        request.end_headers()
        request.wfile.write(LOGIN)
        return
    if request.path in server.redirects:
        request.send_response(302)
        request.send_header("Location", server.redirects[request.path])
        request.end_headers()
        return
    if request.path not in server.files:
        request.send_error(404)
        return
    content = server.files[request.path]
    first = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and server.ranges else 0
    request.send_response(206 if first else 200)
    if first:
        total = len(content) if server.lengths else "*"
        request.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{total}")
    if server.lengths:
        request.send_header("Content-Length", str(len(content) - first))
    request.end_headers()
    until = first + server.break_after.pop(0) if server.break_after else len(content)
    request.wfile.write(content[first:until])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
    served = Server("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(served, self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        served.address = f"{LOCAL}:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield served
        listening.shutdown()
        thread.join()


def small_cifar(tmp_path: Path, rng: np.random.Generator) -> bytes:
    """CIFAR-10 as it is given out, but of six images."""
    folder = tmp_path / "made"
    folder.mkdir()
    data_files.write_cifar10(folder, *data_files.some(rng, 6, 32, 32, 10))
    top = "cifar-10-batches-bin"
    return tar(*((f"{top}/{path.name}", path.read_bytes()) for path in folder.iterdir()), (f"{top}/readme.html", b"hi"))


@pytest.fixture
def cifar(server: Server, tmp_path: Path, rng: np.random.Generator) -> dict[str, Source]:
    """The table of sources, with CIFAR-10 on this machine."""
    server.files["/cifar-10-binary.tar.gz"] = small_cifar(tmp_path, rng)
    return {"cifar10": replace(SOURCES["cifar10"], files=(server.remote("cifar-10-binary.tar.gz"),))}


def refusal(folder: Path, sources: dict[str, Source], name: str = "cifar10") -> str:
    def there() -> list[str] | None:
        return leftovers(folder / name) if (folder / name).exists() else None

    before = there()
    with pytest.raises(DataError) as caught:
        fetch(name, folder, sources=sources)
    assert there() == before
    return str(caught.value)


# -- what goes well --------------------------------------------------------------------------------


def test_an_archive_is_fetched_unpacked_and_read(server: Server, cifar: dict[str, Source], tmp_path: Path) -> None:
    told = []
    place, fetched = fetch("cifar10", tmp_path / "data", lambda *what: told.append(what), cifar)
    assert fetched and place == tmp_path / "data/cifar10"
    assert leftovers(tmp_path / "data") == ["cifar10"]
    assert leftovers(place) == sorted([*SOURCES["cifar10"].kept])  # and no readme.html
    assert len(load(place).train) == 5
    total = len(server.files["/cifar-10-binary.tar.gz"])
    assert ("fetching cifar-10-binary.tar.gz", total, total) in told
    assert {what for what, _, _ in told} == {
        f"{verb} cifar-10-binary.tar.gz" for verb in ("fetching", "checking", "unpacking")
    }
    assert fetch("cifar10", tmp_path / "data", sources=cifar) == (place, False)
    assert len(server.asked) == 1


def test_single_files_are_kept_as_they_are_with_the_names_of_classes(
    server: Server, tmp_path: Path, rng: np.random.Generator
) -> None:
    for remote, shape in zip(SOURCES["fashion-mnist"].files, [(3, 4, 4), (3,), (2, 4, 4), (2,)], strict=True):
        content = data_files.idx(rng.integers(0, 10, shape, dtype=np.uint8))
        server.files[f"/{remote.name}"] = gzip.compress(content)
    files = tuple(server.remote(remote.name) for remote in SOURCES["fashion-mnist"].files)
    sources = {"fashion-mnist": replace(SOURCES["fashion-mnist"], files=files)}
    place, _ = fetch("fashion-mnist", tmp_path, sources=sources)
    data = load(place)
    assert (len(data.train), len(data.test)) == (3, 2)
    assert data.classes[0] == "T-shirt/top" and data.classes[9] == "Ankle boot" and len(data.classes) == 10


def test_a_redirect_is_followed_with_what_was_asked_for(
    server: Server, cifar: dict[str, Source], tmp_path: Path
) -> None:
    server.files["/moved"] = server.files.pop("/cifar-10-binary.tar.gz")
    server.redirects["/cifar-10-binary.tar.gz"] = f"{server.address}/moved"
    server.break_after = [100]
    place, _ = fetch("cifar10", tmp_path, sources=cifar)
    assert (place / "test_batch.bin").is_file()
    assert server.asked[-1] == ("/moved", "bytes=100-")


# -- broken downloads ------------------------------------------------------------------------------


def test_a_download_that_breaks_off_goes_on_where_it_stopped(
    server: Server, cifar: dict[str, Source], tmp_path: Path
) -> None:
    server.break_after = [1000, 500]
    fetch("cifar10", tmp_path, sources=cifar)
    assert [wanted for _, wanted in server.asked] == [None, "bytes=1000-", "bytes=1500-"]


def test_a_download_that_keeps_breaking_off_is_kept_for_the_next_call(
    server: Server, cifar: dict[str, Source], tmp_path: Path
) -> None:
    server.break_after = [10, 20, 30, 40]
    message = refusal(tmp_path, cifar)
    assert "broke off after 100 of" in message and "run the same command again" in message
    assert (tmp_path / PART / ARCHIVE).stat().st_size == 100
    fetch("cifar10", tmp_path, sources=cifar)
    assert server.asked[-1][1] == "bytes=100-"


def test_a_server_that_knows_no_ranges_is_asked_for_the_whole(
    server: Server, cifar: dict[str, Source], tmp_path: Path
) -> None:
    server.break_after, server.ranges = [1000], False
    place, _ = fetch("cifar10", tmp_path, sources=cifar)
    assert len(load(place).train) == 5


def test_a_server_that_is_busy_is_asked_again(server: Server, cifar: dict[str, Source], tmp_path: Path) -> None:
    server.failures = [503, 500]
    fetch("cifar10", tmp_path, sources=cifar)
    assert len(server.asked) == 3


@pytest.mark.parametrize("lengths", [True, False])
def test_answers_that_do_not_say_how_long_they_are_are_read(
    server: Server, cifar: dict[str, Source], tmp_path: Path, lengths: bool
) -> None:
    server.lengths, server.break_after = lengths, [1000]
    fetch("cifar10", tmp_path, sources=cifar)
    assert [wanted for _, wanted in server.asked] == [None, "bytes=1000-"]


def test_a_server_that_was_asked_too_often_is_asked_again_and_told_of(
    server: Server, cifar: dict[str, Source], tmp_path: Path
) -> None:
    server.failures = [429] * 4
    assert refusal(tmp_path, cifar).endswith("answers 429 Too Many Requests; try again later")
    server.failures = [429]
    fetch("cifar10", tmp_path, sources=cifar)
    assert len(server.asked) == 6


def test_the_page_of_a_network_that_wants_a_login_is_told_and_not_kept(
    server: Server, cifar: dict[str, Source], tmp_path: Path
) -> None:
    server.break_after = [100, 0, 0, 0]
    refusal(tmp_path, cifar)
    server.portal = True
    message = refusal(tmp_path, cifar)
    assert f"gives out {len(LOGIN):,} bytes" in message and "a network shows before a login" in message
    assert (tmp_path / PART / ARCHIVE).stat().st_size == 100
    server.portal = False
    fetch("cifar10", tmp_path, sources=cifar)
    assert server.asked[-1] == (f"/{ARCHIVE}", "bytes=100-")


def test_a_file_that_became_another_at_its_source_is_told_also_in_the_middle(
    server: Server, cifar: dict[str, Source], tmp_path: Path
) -> None:
    server.break_after = [100, 0, 0, 0]
    refusal(tmp_path, cifar)
    server.files[f"/{ARCHIVE}"] = server.files[f"/{ARCHIVE}"][:-1]
    total = cifar["cifar10"].files[0].nbytes
    assert f"gives out {total - 1:,} bytes, the data set's file has {total:,}" in refusal(tmp_path, cifar)


def test_a_download_that_the_server_cannot_go_on_with_begins_anew(
    server: Server, cifar: dict[str, Source], tmp_path: Path
) -> None:
    (tmp_path / PART).mkdir()
    (tmp_path / PART / ARCHIVE).write_bytes(LOGIN)
    server.failures = [416]
    fetch("cifar10", tmp_path, sources=cifar)
    assert [wanted for _, wanted in server.asked] == [f"bytes={len(LOGIN)}-", None]
    assert leftovers(tmp_path) == ["cifar10", "made"]


def stop_in_unpacking(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    def stopped(archive: Path, folder: Path, *_: object) -> None:
        (folder / "half").touch()
        os.kill(os.getpid(), number)

    monkeypatch.setattr(module, "unpack", stopped)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_the_command_with_a_message_and_nothing_half_unpacked(
    cifar: dict[str, Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    monkeypatch.setitem(SOURCES, "cifar10", cifar["cifar10"])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with monkeypatch.context() as patch:
            stop_in_unpacking(patch, number)
            result = CliRunner().invoke(app, ["data", "cifar10", "--to", str(tmp_path / "data")])
    finally:
        signal.signal(signal.SIGINT, before)
    assert (result.exit_code, result.stderr) == (
        code,
        "gpunet: stopped; run the same command again to go on from there\n",
    )
    assert signal.getsignal(signal.SIGTERM) is handler
    assert leftovers(tmp_path / "data") == [PART] and leftovers(tmp_path / "data" / PART) == [ARCHIVE]


def test_what_a_killed_call_left_is_swept_up_or_gone_on_with(
    server: Server, cifar: dict[str, Source], tmp_path: Path
) -> None:
    work = tmp_path / "data" / PART
    (work / "cifar10").mkdir(parents=True)
    (work / "cifar10" / "half").touch()
    (work / "lock").touch()
    (work / ARCHIVE).write_bytes(server.files[f"/{ARCHIVE}"][:500])
    place, _ = fetch("cifar10", tmp_path / "data", sources=cifar)
    assert leftovers(tmp_path / "data") == ["cifar10"] and "half" not in leftovers(place)
    assert server.asked == [(f"/{ARCHIVE}", "bytes=500-")]


def test_a_second_call_at_the_same_time_is_told_who_works_there(
    cifar: dict[str, Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first: list[str] = []

    def watch(*_: object) -> None:
        if not first:
            first.append(refusal(tmp_path, cifar))

    fetch("cifar10", tmp_path, watch, cifar)
    assert f"{tmp_path / PART} is busy: another gpunet data cifar10 works in there" in first[0]
    assert leftovers(tmp_path) == ["cifar10", "made"]


# -- what others put there -------------------------------------------------------------------------


def test_an_archive_that_lies_there_is_used_and_stays(server: Server, cifar: dict[str, Source], tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / ARCHIVE).write_bytes(server.files[f"/{ARCHIVE}"])
    place, _ = fetch("cifar10", folder, sources=cifar)
    assert len(load(place).train) == 5 and not server.asked
    assert leftovers(folder) == sorted([ARCHIVE, "cifar10"])


@pytest.mark.parametrize("same_size", [True, False])
def test_a_file_of_the_same_name_is_neither_used_nor_touched(
    server: Server, cifar: dict[str, Source], tmp_path: Path, same_size: bool
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    mine = b"m" * (cifar["cifar10"].files[0].nbytes if same_size else 9)
    (folder / ARCHIVE).write_bytes(mine)
    place, _ = fetch("cifar10", folder, sources=cifar)
    assert len(load(place).train) == 5
    assert (folder / ARCHIVE).read_bytes() == mine and leftovers(folder) == sorted([ARCHIVE, "cifar10"])


def test_links_in_the_way_are_not_followed(cifar: dict[str, Source], tmp_path: Path) -> None:
    mine, folder = tmp_path / "mine", tmp_path / "data"
    mine.write_bytes(b"mine")
    work = folder / PART
    work.mkdir(parents=True)
    (work / ARCHIVE).symlink_to(mine)
    assert "cannot write to" in refusal(folder, cifar)
    (work / ARCHIVE).unlink()
    work.rmdir()
    work.symlink_to(tmp_path / "made")
    before = leftovers(tmp_path / "made")
    assert f"{work} is a link" in refusal(folder, cifar)
    assert mine.read_bytes() == b"mine" and leftovers(tmp_path / "made") == before


def test_empty_files_and_files_of_a_wrong_size_do_not_count_as_there(tmp_path: Path) -> None:
    for name, empty in (("cifar10", "data_batch_1.bin"), ("mnist", "train-images-idx3-ubyte.gz")):
        (tmp_path / name).mkdir()
        for kept in SOURCES[name].kept:
            (tmp_path / name / kept).touch()
        assert f"{empty} is missing, empty or of a wrong size" in refusal(tmp_path, dict(SOURCES), name)
    for file in SOURCES["mnist"].files:
        os.truncate(tmp_path / "mnist" / file.name, file.nbytes)
    assert fetch("mnist", tmp_path) == (tmp_path / "mnist", False)
    os.truncate(tmp_path / "mnist" / file.name, file.nbytes - 1)
    assert f"{file.name} is missing" in refusal(tmp_path, dict(SOURCES), "mnist")


def test_ctrl_c_leaves_what_was_downloaded_and_nothing_half_unpacked(
    server: Server, cifar: dict[str, Source], tmp_path: Path
) -> None:
    def stop(at: str) -> Callable[[str, int, int], None]:
        def watch(what: str, done: int, total: int) -> None:
            if what.startswith(at):
                raise KeyboardInterrupt

        return watch

    folder = tmp_path / "data"
    with pytest.raises(KeyboardInterrupt):
        fetch("cifar10", folder, stop("fetching"), cifar)
    assert leftovers(folder) == [PART] and leftovers(folder / PART) == [ARCHIVE]
    with pytest.raises(KeyboardInterrupt):
        fetch("cifar10", folder, stop("unpacking"), cifar)
    assert leftovers(folder) == [PART] and leftovers(folder / PART) == [ARCHIVE]
    asked = len(server.asked)
    fetch("cifar10", folder, sources=cifar)
    assert leftovers(folder) == ["cifar10"] and len(server.asked) == asked


# -- what must not come through --------------------------------------------------------------------


def test_a_wrong_sum_is_refused_and_the_file_removed(server: Server, cifar: dict[str, Source], tmp_path: Path) -> None:
    path = "/cifar-10-binary.tar.gz"
    right = server.files[path]
    server.files[path] = right[:-1] + bytes([right[-1] ^ 1])
    folder = tmp_path / "data"
    message = refusal(folder, cifar)
    assert "its MD5 sum is" in message and hashlib.md5(right).hexdigest() in message
    assert leftovers(folder) == []


def test_more_bytes_than_there_should_be_are_not_taken(
    server: Server, cifar: dict[str, Source], tmp_path: Path
) -> None:
    server.lengths = False
    server.files["/cifar-10-binary.tar.gz"] += b"x"
    assert "gives more than the" in refusal(tmp_path / "data", cifar)
    assert leftovers(tmp_path / "data") == []


def test_an_address_that_is_gone_and_one_that_leads_to_a_file_are_told(
    server: Server, cifar: dict[str, Source], tmp_path: Path
) -> None:
    content = server.files.pop("/cifar-10-binary.tar.gz")
    assert "answers 404 Not Found" in refusal(tmp_path, cifar)
    (tmp_path / "here").write_bytes(content)
    server.redirects["/cifar-10-binary.tar.gz"] = (tmp_path / "here").as_uri()
    assert "answers 302" in refusal(tmp_path, cifar)
    server.redirects["/cifar-10-binary.tar.gz"] = f"{server.address}/cifar-10-binary.tar.gz"
    message = refusal(tmp_path, cifar)
    assert "answers 302" in message and "infinite loop" in message and "\n" not in message


def test_no_network_is_told(server: Server, cifar: dict[str, Source], tmp_path: Path) -> None:
    nowhere = replace(cifar["cifar10"].files[0], url=f"{LOCAL}:1/cifar.tar.gz")
    message = refusal(tmp_path, {"cifar10": replace(cifar["cifar10"], files=(nowhere,))})
    assert "cannot reach http://127.0.0.1:1/cifar.tar.gz" in message and "is there a network?" in message


def test_a_full_disk_is_told(
    server: Server, cifar: dict[str, Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "disk_usage", lambda _: shutil_usage(free=10))
        assert "has 10 bytes free" in refusal(tmp_path, cifar)
    write = Path.mkdir

    def full(self: Path, *arguments: object, **options: object) -> None:
        if self.name.endswith(".part"):
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        write(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", full)
    assert "the disk is full; make room" in refusal(tmp_path, cifar)


def shutil_usage(free: int) -> object:
    from collections import namedtuple

    return namedtuple("Usage", "total used free")(100, 90, free)


def test_a_folder_that_cannot_be_made_and_one_that_is_in_the_way_are_told(
    server: Server, cifar: dict[str, Source], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert "cannot write to" in refusal(tmp_path / "file", cifar)
    (tmp_path / "data/cifar10").mkdir(parents=True)
    assert "is there but not all of CIFAR-10 is in it" in refusal(tmp_path / "data", cifar)
    assert "there is no data set 'cifar11' to fetch; there are cifar10" in refusal(tmp_path, cifar, "cifar11")


# -- the table and the command ---------------------------------------------------------------------


def test_the_table_of_sources_is_whole() -> None:
    for name, source in SOURCES.items():
        assert re.fullmatch(r"[a-z0-9-]+", name) and source.kept and source.home.startswith("http")
        for remote in source.files:
            assert re.fullmatch(r"https?://[\w.~/-]+", remote.url) and re.fullmatch(r"[0-9a-f]{32}", remote.md5)
            assert 1000 < remote.nbytes < 2**32
        assert not source.members or len(source.files) == 1
    sums = [remote.md5 for source in SOURCES.values() for remote in source.files]
    assert len(set(sums)) == len(sums) == 11


def test_the_command_fetches_and_says_how_to_train(
    server: Server, cifar: dict[str, Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(SOURCES, "cifar10", cifar["cifar10"])
    result = CliRunner().invoke(app, ["data", "cifar10", "--to", "sets"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("CIFAR-10 is in sets/cifar10; train on it with --data sets/cifar10\n")
    again = CliRunner().invoke(app, ["data", "cifar10", "--to", "sets"])
    assert again.stdout.startswith("CIFAR-10 is already in sets/cifar10")
    wrong = CliRunner().invoke(app, ["data", "imagenet"])
    assert wrong.exit_code == 2 and "there are cifar10, cifar100, mnist" in wrong.stderr
