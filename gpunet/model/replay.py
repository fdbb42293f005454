"""Runs that come again and again: the first time call by call, from the second on as one graph, where there is one."""

from collections.abc import Sequence

from gpunet.devices.device import Call, Device

MOST_GRAPHS = 16
"""Each takes memory of the device outside of the arena. Training needs one for each size of a batch and each of two
buffers for images, and evaluation as many; runs beyond that are made call by call."""


class Replay:
    """The calls of a run. The first time wakes up what cannot be captured: kernels that load, libraries that choose.

    `between`  called on the host after the calls `before` and before those `after`; before all of them in a graph
    """

    def __init__(
        self, device: Device, before: Sequence[Call], after: Sequence[Call], between: Call | None, *, graph: bool
    ) -> None:
        self._device = device
        self._parts = before, after
        self._between = between
        self._graph: Call | None = None
        self._to_capture = graph
        self._fresh = True

    def __call__(self) -> None:
        """Make all calls, in order."""
        before, after = self._parts
        if self._to_capture and not self._fresh:
            self._graph, self._to_capture = self._device.capture([*before, *after]), False
        before, after = (before, after) if self._graph is None else ((), [self._graph])
        self._device.run(before)
        if self._between is not None:
            self._between()
        self._device.run(after)
        self._fresh = False
