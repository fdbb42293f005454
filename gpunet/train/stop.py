"""Ctrl-C, SIGTERM and their like in a run: the step under way is finished first; a second one leaves at once."""

import os
import signal
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

from gpunet.ranks.communicator import Communicator
from gpunet.train.trainer import Progress, Watcher

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGXCPU")
HEARD = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))
"""From people, and from whoever ends a job; of a terminal that is closed; from schedulers, before time is up."""

SHOW_CURSOR = b"\x1b[?25h\n"
"""To a terminal of the VT220's kind, as they all are."""


class Stopped(Exception):
    """The run was asked to stop, and is between two steps. `exit_code`: that of a program ended by the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class Stop(Watcher):
    """Hears signals while it is entered, and raises Stopped once the step is finished.

    `ranks`  the others of the run, where there are any: what one hears stops all of them after the same step
    """

    def __init__(self, ranks: Communicator | None = None) -> None:
        self.heard = 0
        self._ranks = ranks
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        ignored = [number for number in HEARD[2:] if signal.getsignal(number) is signal.SIG_IGN]  # as by nohup
        heard = [number for number in HEARD if number not in ignored]
        self._before = {number: signal.signal(number, self._hear) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def stepped(self, progress: Progress) -> None:
        self.paused()

    def paused(self) -> None:
        heard = self.heard if self._ranks is None else max(self._ranks.tell(self.heard))
        if heard:
            raise Stopped(heard)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.heard:
            if os.isatty(1):
                os.write(1, SHOW_CURSOR)  # which the live view hides
            os._exit(128 + number)  # the files are whole at any time
        self.heard = number
        with suppress(OSError):  # the terminal may be gone
            os.write(2, b"gpunet: stopping after this step; once more to leave at once\n")
