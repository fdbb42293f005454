"""A process beside the server that plans, or looks into nets: `python -m gpunet.live.child plans`.

Requests come as lines of JSON on standard input and answers leave so on standard output. Where several requests wait,
the newest is answered; between two pieces of an answer the process looks whether there is a newer one, and what is
searched for behind a plan is broken off for it. What a text of the page does to this process, it does not do to the
training.
"""

import json
import os
import signal
import sys
from _thread import interrupt_main
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic, process_time, sleep
from types import FrameType
from typing import Any

from gpunet.errors import GpunetError

KINDS = {
    "plans": {
        "plan": "gpunet.live.plans:plans",
        "json": "gpunet.live.plans:texts",
        "snapshot": "gpunet.live.plans:snapshots",
    },
    "looks": {
        "layers": "gpunet.live.looks:layers",
        "examples": "gpunet.live.looks:examples",
        "saliency": "gpunet.live.looks:saliency",
        "judged": "gpunet.live.looks:judged",
        "lesson": "gpunet.live.lessons:lesson",
    },
}
"""What a process of each name answers, by the kind of the request."""

SEARCH = "gpunet.compile.frontier"
"""What a search imports, NumPy with it: before there is anything to break off."""

PAUSE = 0.15
"""Seconds without a newer request before a search begins: somebody who types is not searched for."""

PLANNED, SEARCHED = "plan", "search"
"""The stage behind which an answer may be broken off, and the one behind which it takes long."""

TICK = 0.01
"""Seconds between two looks whether a request waits."""

IMPORT = "<frozen importlib._bootstrap>"

NICE = 5
"""Training comes first."""

Request = dict[str, Any]
Answers = dict[str, Callable[[Request], Iterator[Request]]]


class Newer(BaseException):
    """What is under way is left, as a newer request waits."""


class Waiting:
    """The requests that wait, read by a thread; one that comes breaks off the work that may be broken off."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Request | None] = SimpleQueue()
        self._may_break = False
        signal.signal(signal.SIGINT, self._broken)
        Thread(target=self._listen, daemon=True).start()

    def next(self) -> Request | None:
        """The newest request, once there is one; None at the end."""
        newest = self._queue.get()
        with suppress(Empty):
            while newest is not None:
                newest = self._queue.get_nowait()
        return newest

    def within(self, seconds: float) -> bool:
        """Whether a request waits, after so many seconds at most."""
        end = monotonic() + seconds
        while self._queue.empty() and monotonic() < end:
            sleep(TICK)
        return not self._queue.empty()

    def unless_newer(self, work: Callable[[], Request | None]) -> Request | None:
        """What the work returns. Raises Newer, wherever it is, as soon as a request waits."""
        try:
            self._may_break = True
            if not self._queue.empty():
                raise Newer
            return work()
        finally:
            self._may_break = False

    def _listen(self) -> None:
        for line in sys.stdin:
            self._put(json.loads(line))
        self._put(None)

    def _put(self, request: Request | None) -> None:
        self._queue.put(request)
        if self._may_break:
            interrupt_main()

    def _broken(self, _: int, frame: FrameType | None) -> None:
        if self._may_break and not _imports(frame):
            self._may_break = False
            raise Newer


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported there, which cannot be done by halves."""
    while frame is not None:
        if frame.f_code.co_filename == IMPORT:
            return True
        frame = frame.f_back
    return False


def main(name: str) -> None:
    """Answer requests until standard input ends."""
    with suppress(OSError):
        os.nice(NICE)
    answers = {kind: _loaded(place) for kind, place in KINDS[name].items()}
    import_module(SEARCH)
    waiting = Waiting()
    _tell({"ready": True})
    while (request := waiting.next()) is not None:
        with suppress(Newer):
            _answer(request, answers, waiting)


def _loaded(place: str) -> Callable[[Request], Iterator[Request]]:
    module, _, name = place.partition(":")
    function: Callable[[Request], Iterator[Request]] = getattr(import_module(module), name)
    return function


def _answer(request: Request, answers: Answers, waiting: Waiting) -> None:
    """Answer a request. Raises Newer where another one waits."""
    number, began = request["id"], process_time()
    _tell({"id": number, "stage": "begun"})
    try:
        for part in _parts(answers[request["kind"]](request["asked"]), waiting):
            _tell({"id": number, **part})
            if waiting.within(PAUSE if part["stage"] == SEARCHED else 0):
                raise Newer
        _tell({"id": number, "stage": "end", "ms": 1e3 * (process_time() - began)})
    except (GpunetError, MemoryError, RecursionError) as error:
        words = str(error) or "this machine has not enough memory for that net"
        _tell({"id": number, "stage": "error", "words": words})
    except Exception as error:
        _tell({"id": number, "stage": "error", "words": f"a fault of gpunet's own: {type(error).__name__}: {error}"})


def _parts(answer: Iterator[Request], waiting: Waiting) -> Iterator[Request]:
    """The parts of an answer; what comes behind the first plan is broken off where a newer request waits."""
    for part in answer:
        yield part
        if part["stage"] == PLANNED:
            break
    while (more := waiting.unless_newer(lambda: next(answer, None))) is not None:
        yield more


def _tell(part: Request) -> None:
    sys.stdout.write(json.dumps(part, separators=(",", ":")) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
