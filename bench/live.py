"""How soon the page's plans of VGG-16 come, and what looking costs the training: `python bench/live.py`.

An edit of VGG-16 (its batch, its card, its optimizer) is asked of the server as the page asks, one after the other;
timed is what passes until the plan that needs no search is there; then the same while the ladder of the edit before
is searched for. Then images a second of vgg_digits are taken in
turns, while nobody looks and while layers are looked at as often as the page does.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from http.client import HTTPConnection
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.common import save

CARDS = ("RTX 3060 12GB", "RTX 3090", "GTX 1080 Ti")
OPTIMIZERS = ("momentum", "adam", "sgd")
MOST_MS, MOST_SHARE = 300, 0.05
"""That the 95th percentile of an edit may take, and looking of the training's speed."""

SEARCHED_SECONDS = 0.8
"""After a plan its ladder is being searched for."""

SHARE, LEAST_SECONDS = 20, 0.7
"""The page pauses so many times what a look took the processor, and so long at least."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the JSON. Exit code 1 where a figure is above what it must be."""
    options = _options(arguments)
    with TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "gpunet", "live", "vgg_digits", "--device", "cpu"]
        with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                link = server.stdout.readline().split()[-1]
                times = [_edit(link, number) for number in range(-3, options.edits)][3:]
                searching = [_edit(link, number, SEARCHED_SECONDS) for number in range(options.edits // 3)]
                free, looked = _speeds(link, options.turns, options.seconds)
            finally:
                server.terminate()
    p95s = [quantiles(one, n=20)[-1] for one in (times, searching)]
    share = 1 - median(looked) / median(free)
    print(f"an edit of VGG-16: median {median(times):.0f} ms, 95 % within {p95s[0]:.0f} ms")
    print(f"while a ladder is searched for: median {median(searching):.0f} ms, 95 % within {p95s[1]:.0f} ms")
    print(f"images/s of vgg_digits: {median(free):.0f} alone, {median(looked):.0f} looked at: {share:.1%} less")
    found = {"edit_ms": times, "p95_ms": p95s[0], "searching_ms": searching, "searching_p95_ms": p95s[1]}
    found |= {"images_per_second": {"alone": free, "looked_at": looked}, "share": share}
    print(f"written to {save('live', found, options.json)}")
    return int(max(p95s) > MOST_MS or share > MOST_SHARE)


def _edit(link: str, number: int, after: float = 0) -> float:
    """Milliseconds until the plan of an edit is there, which comes so many seconds after the one before."""
    sleep(after)
    asked = {"text": "vgg16", "batch": 16 + abs(number) % 100, "card": CARDS[number % 3]}
    began = perf_counter()
    connection, answer = _post(link, "plan", asked | {"optimizer": OPTIMIZERS[number // 3 % 3]})
    while json.loads(answer.readline())["stage"] != "plan":
        pass
    took = (perf_counter() - began) * 1e3
    connection.close()
    return took


def _speeds(link: str, turns: int, seconds: float) -> tuple[list[float], list[float]]:
    """Images a second, in turns: nobody looks, and as the page looks."""
    free: list[float] = []
    looked: list[float] = []
    _done(link, "do", {"do": "change", "epochs": 100_000})
    _done(link, "do", {"do": "start"})
    _done(link, "look/layers", {"index": 0})  # the process that looks starts
    for turn in range(2 * turns):
        first, end = _images(link), perf_counter() + seconds
        began = perf_counter()
        while perf_counter() < end:
            took = 0.0
            if turn % 2:
                took = json.loads(_done(link, "look/layers", {"index": 0}).splitlines()[-1])["ms"] / 1e3
            sleep(max(LEAST_SECONDS, SHARE * took))
        (looked if turn % 2 else free).append((_images(link) - first) / (perf_counter() - began))
    return free, looked


def _images(link: str) -> int:
    """Images that the run has learnt from, but for the last batch of epochs."""
    connection, answer = _post(link, "news?began=0&after=0", None)
    progress = json.loads(answer.readline().removeprefix(b"data: "))["progress"]
    connection.close()
    return 16 * int(progress["total"]) if progress else 0


def _done(link: str, where: str, asked: dict[str, Any]) -> bytes:
    connection, answer = _post(link, where, asked)
    content: bytes = answer.read()
    connection.close()
    return content


def _post(link: str, where: str, asked: dict[str, Any] | None) -> tuple[HTTPConnection, Any]:
    host, _, path = link.removeprefix("http://").partition("/")
    connection = HTTPConnection(host, timeout=60)
    body = None if asked is None else json.dumps(asked)
    connection.request("GET" if body is None else "POST", f"/{path}{where}", body)
    return connection, connection.getresponse()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=60, help="of VGG-16")
    parser.add_argument("--turns", type=int, default=3, help="of each way of training")
    parser.add_argument("--seconds", type=float, default=20, help="of a turn")
    parser.add_argument("--json", type=Path, help="file for the figures; default: in bench/results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
