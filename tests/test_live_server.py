"""The server of the page: who is let in, what is refused, how it ends; the training goes on unharmed."""

import http.client
import json
import signal
import socket
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import sleep

import pytest

from gpunet.train.weights import load_weights
from tests.conftest import Run
from tests.living import SMALL, Living, living


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Living]:
    with living(tmp_path_factory.mktemp("live"), SMALL, "--data", "digits") as server:
        server.until("ready")
        yield server


def test_the_page_and_its_parts_are_there_and_nothing_else(server: Living) -> None:
    status, page = server.request("")
    assert status == 200 and b"gpunet live" in page and b"http" not in page
    for name in ("page/main.js", "page/page.css", "page/pictures/arena.js", "page/drawing.js", "net/vgg16", "start"):
        assert server.request(name)[0] == 200, name
    for name in ("page/../live.py", "page/..%2flive.py", "page/%2e%2e/live.py", "net/..%2fx", "page/", "news/x", "x"):
        assert server.request(name)[0] == 404, name


@pytest.mark.parametrize(
    ("token", "headers"),
    [
        ("", {}),
        ("x", {}),
        ("%C3%A9", {}),
        (None, {"host": "evil.example"}),
        (None, {"host": "evil.example:80"}),
        (None, {"origin": "http://evil.example"}),
        (None, {"origin": "null"}),
        (None, {"origin": "http://127.0.0.1:1"}),
    ],
)
def test_who_has_not_the_token_or_comes_from_elsewhere_is_refused(
    server: Living, token: str | None, headers: dict[str, str]
) -> None:
    before = server.news()
    for path, body in (("", None), ("start", None), ("do", b'{"do": "stop"}')):
        status, answer = server.request(path, body, token=token, **headers)
        assert status in (400, 403) and b"net" not in answer.replace(b"gpunet", b""), answer
    assert server.news()["state"] == before["state"]


def test_the_own_origin_is_let_in(server: Living) -> None:
    for host in ("127.0.0.1", "localhost"):
        here = f"{host}:{server.port}"
        assert server.request("start", host=here, origin=f"http://{here}")[0] == 200


def test_what_is_too_much_or_no_question_is_refused(server: Living) -> None:
    for body in (b"x", b"[]", b"[" * 100_000, b'{"text": "' + b"x" * (1 << 21) + b'"}', b"\xff"):
        for where in ("plan", "do", "look/layers", "file/json"):
            status, answer = server.request(where, body)
            assert status == 200 and json.loads(answer).keys() == {"words"}, (where, body[:20])
    *_, told = server.ask("plan", text="x" * 1_000_000)
    assert told["stage"] == "error" and "may have 65,536" in told["words"]
    assert server.ask("do", do="weights", folder="/tmp")[0]["words"].startswith("the page asked")
    assert server.ask("do", do={"a": 1})[0]["words"].startswith("the page asked")


def test_a_thousand_connections_and_hostile_pictures_do_not_harm_the_training(server: Living) -> None:
    server.ask("do", do="step")
    server.until("paused")
    viewer = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)  # that was there before
    viewer.request("GET", f"/{server.token}/start")
    viewer.getresponse().read()
    many = [crowding(server.port) for _ in range(1000)]
    refused = sum(one is None or is_closed(one) for one in many[-100:])
    viewer.request("GET", f"/{server.token}/start")
    assert viewer.getresponse().status == 200 and refused > 0
    viewer.close()
    for one in many:
        if one is not None:
            one.close()
    wait_until_let_in(server)
    for picture in (bomb(40_000, 40_000), b"\x89PNG\r\n\x1a\n" + b"x" * 1000, b"", b"GIF89a"):
        number = json.loads(server.request("picture", picture)[1])["picture"]
        told = server.ask("look/layers", picture=number)
        assert told[-1]["stage"] == "error" and "picture" in told[-1]["words"], told
    assert b"too much" in server.request("picture", b"x" * ((1 << 25) + 1))[1]
    assert server.ask("look/layers", picture="/etc/passwd", layers=[])[0]["stage"] == "image"  # the first of the images
    before = server.news()["progress"]["total"]
    server.ask("do", do="step")
    sleep(0.3)
    assert server.until("paused")["progress"]["total"] == before + 1


def crowding(port: int) -> socket.socket | None:
    """A connection on which nothing is said; None where this process has no more of them."""
    try:
        one = socket.socket()
    except OSError:
        return None
    with suppress(OSError):
        one.settimeout(5)
        one.connect(("127.0.0.1", port))
        return one
    one.close()
    return None


def is_closed(one: socket.socket) -> bool:
    one.settimeout(0.5)
    try:
        return one.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def wait_until_let_in(server: Living) -> None:
    for _ in range(100):
        with suppress(OSError, http.client.HTTPException):
            assert server.request("start")[0] == 200
            return
        sleep(0.1)
    raise AssertionError("nobody is let in any more")


def bomb(H: int, W: int) -> bytes:
    """A PNG of some bytes that claims so many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", W, H, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 10_000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("how", ["Ctrl-C", "nobody"])
def test_it_ends_cleanly_and_keeps_a_checkpoint(run: Run, tmp_path: Path, how: str) -> None:
    with living(
        tmp_path, SMALL, "--data", "digits", "--out", "kept", patience=1.5 if how == "nobody" else 600
    ) as server:
        server.ask("do", do="start")
        server.until("running")
        if how == "Ctrl-C":
            server.process.send_signal(signal.SIGINT)
        code = server.process.wait(30)
    assert code == {"Ctrl-C": 130, "nobody": 0}[how]
    assert (tmp_path / "kept/last.safetensors").is_file()
    assert load_weights(tmp_path / "kept/last.safetensors")


def test_without_the_extra_it_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = run("live")
    assert done.exit_code == 2 and "pip install 'gpunet[live]'" in done.output and "Traceback" not in done.output


def test_mistakes_of_the_command_are_one_sentence(run: Run, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for words, told in (
            (("nosuchnet",), "there is no net called"),
            (("INPUT[8x8x1] ->",), "^"),
            (("vgg_digits", "--port", port), "cannot be used"),
            (("vgg_digits", "--port", 70_000), "65535"),
            (("vgg_digits", "--device", "tpu"), "tpu"),
        ):
            done = run("live", *words)
            assert done.exit_code == 2 and told in done.output and "Traceback" not in done.output, done.output
