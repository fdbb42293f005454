"""What ranks do for each other while their devices compute: begun at one op, awaited at another."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from gpunet.compile.between import AWAIT, goes_beside
from gpunet.devices.device import Call, Device
from gpunet.program.program import Op


class Beside:
    """The ops under way, by the tensor that each begins with; ops of the wire that cannot go beside wait for all.

    So all ranks send in the order of the program, whatever each is at.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._under_way: dict[str, Any] = {}

    def bind(self, op: Op, calls: Sequence[Call]) -> list[Call]:
        """What an op between ranks, which is these calls, comes to at its place in a step."""
        name = op.inputs[0].name
        if op.name == AWAIT:
            return [partial(self._wait, name)]
        if goes_beside(op):
            return [partial(self._begin, name, calls)]
        return [self._wait_for_all, *calls]

    def _begin(self, name: str, calls: Sequence[Call]) -> None:
        self._under_way[name] = self._device.beside(calls)

    def _wait(self, name: str) -> None:
        if name in self._under_way:
            self._device.wait_for(self._under_way.pop(name))

    def _wait_for_all(self) -> None:
        for name in list(self._under_way):
            self._wait(name)
