"""Where a section measures: the device, the time and the memory it has, and where its findings go."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from gpunet.devices import open_device
from gpunet.devices.device import Device
from gpunet.memory.size import format_bytes
from gpunet.profile.steps import Clock

from .findings import Findings
from .timing import peer_clock


def open_gpu() -> Device:
    """GPU 0 as a device of gpunet."""
    return open_device("cuda")


@dataclass
class Setting:
    """What a section is given.

    `findings`  where results go
    `quick`     measure less: the large nets are left out
    `ends_at`   of time.monotonic(): no further case is begun after it
    `open`      opens the device; called at the first use, so that a section can look at the GPU before
    `peer`      PyTorch's name for the same device
    """

    findings: Findings = field(default_factory=Findings)
    quick: bool = False
    ends_at: float = float("inf")
    open: Callable[[], Device] = open_gpu
    peer: str = "cuda"

    @cached_property
    def device(self) -> Device:
        return self.open()

    @property
    def clock(self) -> Clock:
        return self.device

    @cached_property
    def peer_clock(self) -> Clock:
        return peer_clock(self.peer)

    def close(self) -> None:
        """Give the device back, if it was opened."""
        if "device" in vars(self):
            self.device.close()

    @property
    def room_bytes(self) -> int:
        """Memory of the device that is free now."""
        driver = getattr(self.device, "driver", None)
        return sys.maxsize if driver is None else int(driver.memory()[0])

    def goes(self, what: str, nbytes: int) -> bool:
        """Whether there are time and memory for a case that takes `nbytes`; if not, it is noted as left out."""
        if time.monotonic() >= self.ends_at:
            self.findings.skip(f"{what}: no time left")
            return False
        room = self.room_bytes
        if nbytes > room:
            self.findings.skip(f"{what}: takes {format_bytes(nbytes)}, {format_bytes(room)} are free")
            return False
        return True
