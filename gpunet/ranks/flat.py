"""Arrays of any device as rows of values, which is all that goes between ranks."""

import numpy as np

from gpunet.devices.device import Array, Call, Device


def flat(array: Array, first: int = 0, last: int | None = None) -> Array:
    """The values [first, last) of an array, as they lie."""
    values = array.reshape(-1)
    last = values.size if last is None else last
    return values[first:last] if isinstance(values, np.ndarray) else values.rows(first, last)


def added(device: Device, part: Array, total: Array, more: bool) -> list[Call]:
    """The calls that put a part in the place of a total, or, where there is `more` already, add it to that."""
    return device.bind("add_part", [part, total], {"accumulate": int(more)})
