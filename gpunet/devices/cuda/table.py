"""One launch for several arrays of a kind, as updates of all parameters are: cuda/table.cuh."""

from collections.abc import Sequence

from gpunet.devices.cuda.arrays import Argument, DeviceArray, Table
from gpunet.devices.cuda.launch import BLOCK

__all__: tuple[str, ...] = ()  # no ops here

MOST_NUMBERS = 480
"""Of a table."""

SHARE = 16 * BLOCK
"""Values that a block does; both as in cuda/table.cuh."""

Entry = tuple[DeviceArray, ...]


def launch_each(file: str, kernel: str, entries: Sequence[Entry], *arguments: Argument) -> None:
    """Launch `kernel` of cuda/`file`.cu for all entries, each some arrays of as many values, as seldom as that goes.

    The kernel takes the table, how many entries there are, and these arguments.
    """
    most = MOST_NUMBERS // (len(entries[0]) + 2)
    for first in range(0, len(entries), most):
        some = entries[first : first + most]
        numbers, blocks = _table(some)
        array = some[0][0]
        if blocks:
            array.driver.launch(file, kernel, blocks, BLOCK, numbers, len(some), *arguments, real=array.dtype)


def _table(entries: Sequence[Entry]) -> tuple[Table, int]:
    """The table of these entries, and how many blocks they take."""
    numbers: list[DeviceArray | int] = []
    blocks = 0
    for entry in entries:
        count = entry[0].size
        blocks += -(-count // SHARE)
        numbers += [*entry, count, blocks]
    return (*numbers, *[0] * (MOST_NUMBERS - len(numbers))), blocks
