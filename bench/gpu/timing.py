"""Time on a device: marks between pieces of its work, and races in which the contenders take turns."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from time import perf_counter
from typing import Any

from gpunet.profile.steps import Clock

Call = Callable[[], object]

LEAST_MS = 2.0
"""One repetition lasts at least so long, where several calls must be put together for it: launches then overlap."""

MOST_CALLS = 100


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
