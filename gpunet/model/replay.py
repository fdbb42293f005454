"""Runs that come again and again: the first time call by call, from the second on as one graph, where there is one."""

from collections.abc import Sequence

from gpunet.devices.device import Call, Device

MOST_GRAPHS = 16
"""Each takes memory of the device outside of the arena. Training needs one for each size of a batch and each of two
buffers for images, and evaluation as many; runs beyond that are made call by call."""


class Replay:
    """The calls of a run. The first time wakes up what cannot be captured: kernels that load, libraries that choose."""

    def __init__(self, device: Device, calls: Sequence[Call], *, graph: bool) -> None:
        self._device = device
        self._calls = calls
        self._graph: Call | None = None
        self._to_capture = graph
        self._fresh = True

    def __call__(self) -> None:
        """Make all calls, in order."""
        if self._to_capture and not self._fresh:
            self._graph, self._to_capture = self._device.capture(self._calls), False
        self._device.run(self._calls if self._graph is None else [self._graph])
        self._fresh = False
