"""Arrays of any device as rows of values, which is all that goes between ranks."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from gpunet.devices.device import Array, Call, Device


def flat(array: Array, first: int = 0, last: int | None = None) -> Array:
    """The values [first, last) of an array, as they lie."""
    values = array.reshape(-1)
    last = values.size if last is None else last
    return values[first:last] if isinstance(values, np.ndarray) else values.rows(first, last)


def added(device: Device, part: Array, total: Array, more: bool) -> list[Call]:
    """The calls that put a part in the place of a total, or, where there is `more` already, add it to that.

    On the CPU by NumPy itself: this may go on beside ops, whose threads are not to be waited for.
    """
    if isinstance(part, np.ndarray):
        return [partial(_sum, total, part, total) if more else partial(np.copyto, total, part)]
    return device.bind("add_part", [part, total], {"accumulate": int(more)})


def summed(device: Device, rows: Sequence[Array], total: Array) -> list[Call]:
    """The calls that put the sum of rows, in their order, in the place of a total, which is none behind the second."""
    if len(rows) > 1 and isinstance(total, np.ndarray):
        return [partial(_sum, rows[0], rows[1], total), *(partial(_sum, total, row, total) for row in rows[2:])]
    return [call for number, row in enumerate(rows) for call in added(device, row, total, number > 0)]


def _sum(one: np.ndarray, other: np.ndarray, total: np.ndarray) -> None:
    with np.errstate(all="ignore"):  # of a run that diverges the loss tells
        np.add(one, other, total)
