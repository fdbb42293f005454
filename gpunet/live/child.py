"""A process beside the server that plans, or looks into nets: `python -m gpunet.live.child plans`.

Requests come as lines of JSON on standard input and answers leave so on standard output. Where several requests wait,
the newest is answered; between two pieces of an answer the process looks whether there is a newer one.
What a text of the page does to this process, it does not do to the training.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from queue import Empty, SimpleQueue
from threading import Thread
from time import process_time
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

PAUSE = 0.35
"""Seconds without a newer request before a search begins: somebody who types is not searched for."""

SEARCHED_AFTER = "plan"
"""The stage behind which the rest of an answer takes long."""

NICE = 5
"""Training comes first."""

Request = dict[str, Any]


def main(name: str) -> None:
    """Answer requests until standard input ends."""
    with suppress(OSError):
        os.nice(NICE)
    answers = KINDS[name]
    found = {kind: _loaded(place) for kind, place in answers.items()}
    waiting: SimpleQueue[Request | None] = SimpleQueue()
    Thread(target=_listen, args=(waiting,), daemon=True).start()
    _tell({"ready": True})
    request = waiting.get()
    while request is not None:
        request = _answer(request, found, waiting)


def _loaded(place: str) -> Callable[[Request], Iterator[Request]]:
    module, _, name = place.partition(":")
    function: Callable[[Request], Iterator[Request]] = getattr(import_module(module), name)
    return function


def _listen(waiting: "SimpleQueue[Request | None]") -> None:
    for line in sys.stdin:
        waiting.put(json.loads(line))
    waiting.put(None)


def _answer(
    request: Request,
    found: dict[str, Callable[[Request], Iterator[Request]]],
    waiting: "SimpleQueue[Request | None]",
) -> Request | None:
    """Answer a request, or begin to; the next one, the newest of those that wait, or None at the end."""
    number, began = request["id"], process_time()
    try:
        for part in found[request["kind"]](request["asked"]):
            _tell({"id": number, **part})
            pause = PAUSE if part["stage"] == SEARCHED_AFTER else 0
            newer: Request | None = _newest(waiting, pause)
            if newer is not _NONE:
                return newer
        _tell({"id": number, "stage": "end", "ms": 1e3 * (process_time() - began)})
    except (GpunetError, MemoryError, RecursionError) as error:
        words = str(error) or "this machine has not enough memory for that net"
        _tell({"id": number, "stage": "error", "words": words})
    except Exception as error:
        _tell({"id": number, "stage": "error", "words": f"a fault of gpunet's own: {type(error).__name__}: {error}"})
    following = waiting.get()
    newer = _newest(waiting, 0)
    return following if newer is _NONE else newer


_NONE: Any = object()
"""That no request waits."""


def _newest(waiting: "SimpleQueue[Request | None]", pause: float) -> Any:
    """The newest of the requests that wait, after so many seconds at most for one; _NONE where none does."""
    newest: Any = _NONE
    with suppress(Empty):
        newest = waiting.get(timeout=pause) if pause else waiting.get_nowait()
        while newest is not None:
            newest = waiting.get_nowait()
    return newest


def _tell(part: Request) -> None:
    sys.stdout.write(json.dumps(part, separators=(",", ":")) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
