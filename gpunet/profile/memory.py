"""Memory in use while something runs: before, at the peak and after, as the machine tells it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Event, Thread
from typing import Self

POLL_SECONDS = 0.002

Meter = Callable[[], Mapping[str, int]]
"""Bytes in use now, by who is counted: "device" (everything on a GPU), "process" where it is told, "pool" (CuPy's)."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a meter told before the device was opened, at the peak, and after the arena was given back.

    `told_by`  who told it, in words
    `opening`  whether what opening the device took is within the figures
    """

    told_by: str
    opening: bool
    before: Mapping[str, int]
    peak: Mapping[str, int]
    after: Mapping[str, int]

    @property
    def used_bytes(self) -> int | None:
        """What the process took at the peak; None where nobody tells.

        Where a GPU's driver does not tell of single processes: how much more was in use on it than before.
        """
        if "process" in self.peak:
            return self.peak["process"]
        return self.peak["device"] - self.before["device"] if "device" in self.peak else None


class Peak:
    """Asks a meter again and again, in a thread of its own, and keeps the most of each."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._stop = Event()
        self._thread = Thread(target=self._watch, daemon=True)
        self.bytes = dict(meter())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self.look()

    def look(self) -> None:
        """Ask now."""
        for who, count in self._meter().items():
            self.bytes[who] = max(self.bytes.get(who, 0), count)

    def _watch(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            self.look()
