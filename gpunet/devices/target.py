"""What the planner needs to know of a device without opening it."""

from abc import ABC, abstractmethod
from typing import ClassVar

MIB = 2**20


class DeviceTarget(ABC):
    """Constants of a device and the scratch that its algorithms want.

    `reserve_bytes`        what the process holds outside the arena where nobody has measured it
    `scratch_limit_bytes`  how large an im2col matrix pays on this device
    """

    name: ClassVar[str]
    alignment: ClassVar[int] = 256
    reserve_bytes: ClassVar[int]
    scratch_limit_bytes: ClassVar[int]

    @abstractmethod
    def gemm_workspace_bytes(self, rows: int, columns: int, itemsize: int, *, accumulate: bool) -> int:
        """Bytes a (rows, columns) matrix product wants beside its operands; `accumulate`: added to what is there."""
