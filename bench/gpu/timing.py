"""Time on a device: marks between pieces of its work, and races in which the contenders take turns."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from time import perf_counter
from typing import Any

from gpunet.profile.steps import Clock

from .table import number

Call = Callable[[], object]

LEAST_MS = 2.0
"""One repetition lasts at least so long, where several calls must be put together for it: launches then overlap."""

MOST_CALLS = 100

HOST_CALLS = 20
"""So few that a device takes them all without letting the host wait."""

HOST_SHARE = 0.8
"""Where the host takes that share of a call's time to ask for it, the device waited for Python."""

HOST_MARK, HOST_NOTE = "*", "* the host takes about as long to ask for the call: this is Python's time, not the GPU's"


class HostClock:
    """The host's clock, read when the device has caught up: for whole steps."""

    def __init__(self, synchronize: Call) -> None:
        self._synchronize = synchronize

    def mark(self) -> float:
        self._synchronize()
        return perf_counter()

    def milliseconds(self, first: float, last: float) -> float:
        return (last - first) * 1e3


class TorchClock:
    """Events on PyTorch's current stream: what the host does meanwhile is not in the figures."""

    def mark(self) -> Any:
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def milliseconds(self, first: Any, last: Any) -> float:
        last.synchronize()
        return float(first.elapsed_time(last))


def peer_clock(peer: str) -> Clock:
    """The clock of PyTorch on its device `peer`."""
    return TorchClock() if peer == "cuda" else HostClock(lambda: None)


def timed(clock: Clock, call: Call, calls: int = 1) -> float:
    """Milliseconds of one call, as the mean of `calls` in a row."""
    first = clock.mark()
    for _ in range(calls):
        call()
    return clock.milliseconds(first, clock.mark()) / calls


def host_ms(clock: Clock, call: Call) -> float:
    """Milliseconds that the host takes to ask for one call, whatever the device then takes to make it."""
    timed(clock, call)  # the device has caught up, and is warm
    first = perf_counter()
    for _ in range(HOST_CALLS):
        call()
    taken = (perf_counter() - first) * 1e3 / HOST_CALLS
    timed(clock, call)
    return taken


def times_host(ms: float, asking_ms: float) -> bool:
    """Whether a time of a call, measured in a row of them, is the host's: a device that is faster waits for it."""
    return asking_ms >= HOST_SHARE * ms


def shown_ms(ms: float, asking_ms: float) -> str:
    """A time for a table, marked where it is the host's."""
    return number(ms) + (HOST_MARK if times_host(ms, asking_ms) else "")


def race(
    contenders: Mapping[str, tuple[Clock, Call]], *, seconds: float, rounds: Sequence[int] = (3, 20)
) -> dict[str, list[float]]:
    """Milliseconds of one call of each contender, by round; in a round each has its turn, so drifts hit all alike.

    Every contender runs twice before. As many rounds as `seconds` allow, between the two `rounds`.
    """
    calls: dict[str, int] = {}
    round_ms = 0.0
    for name, (clock, call) in contenders.items():
        timed(clock, call)
        once = timed(clock, call)
        calls[name] = max(1, min(MOST_CALLS, round(LEAST_MS / max(once, 1e-3))))
        round_ms += once * calls[name]
    count = max(rounds[0], min(rounds[1], int(seconds * 1e3 / max(round_ms, 1e-3))))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(count):
        for name, (clock, call) in contenders.items():
            times[name].append(timed(clock, call, calls[name]))
    return times


def medians(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each contender."""
    return {name: median(values) for name, values in times.items()}
