"""`gpunet live` in a process of its own, for tests: how it is begun, asked and ended."""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any

SMALL = "INPUT[8x8x1] -> CONV3-4 -> RELU -> POOL2 -> FC-10"
WAIT = 30.0
BEGIN = """
from gpunet.cli import live
from gpunet.cli.app import app
live.PATIENCE = {patience}
app({words})
"""


@dataclass
class Living:
    """A server: its process, its link and what it said."""

    process: subprocess.Popen[str]
    link: str
    folder: Path
    said: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.link.split(":")[2].split("/")[0])

    @property
    def token(self) -> str:
        return self.link.rstrip("/").rpartition("/")[2]

    def request(
        self, path: str, body: bytes | None = None, *, token: str | None = None, **headers: str
    ) -> tuple[int, bytes]:
        """(status, body) of an answer; POST where there is a body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)
        try:
            connection.request(
                "GET" if body is None else "POST",
                f"/{self.token if token is None else token}/{path}",
                body,
                {name.capitalize(): value for name, value in headers.items()},
            )
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def ask(self, path: str, **asked: Any) -> list[Any]:
        """The parts of an answer."""
        status, body = self.request(path, json.dumps(asked).encode())
        assert status == 200, (status, body)
        return [json.loads(line) for line in body.splitlines()]

    def news(self) -> dict[str, Any]:
        """What the training says now."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)
        try:
            connection.request("GET", f"/{self.token}/news?began=0&after=0")
            line = connection.getresponse().readline()
            found: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
            return found
        finally:
            connection.close()

    def until(self, state: str) -> dict[str, Any]:
        """What the training says once it is in a state."""
        end = monotonic() + WAIT
        while (news := self.news())["state"] != state:
            assert monotonic() < end, news
            sleep(0.05)
        return news


@contextmanager
def living(folder: Path, *words: object, patience: float = 600.0) -> Iterator[Living]:
    """A server in that folder, ended behind the tests if it has not ended by itself."""
    code = BEGIN.format(patience=patience, words=["live", *map(str, words), "--device", "cpu"])
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert "http://" in first, (first, process.stderr.read() if process.stderr else "")
        yield Living(process, first.split()[-1], folder)
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=WAIT)
