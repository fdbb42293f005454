"""What a module of Torch7 says of itself."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpunet.formats.values import Cannot

Said = Mapping[Any, Any]


def whole(said: Said, name: str, otherwise: int | None = None, least: int = 1) -> int:
    """An integer. Raises KeyError where it is neither said nor known otherwise."""
    found = said.get(name)
    found = otherwise if found is None else found
    if found is None:
        raise KeyError(name)
    if isinstance(found, bool) or not isinstance(found, int) or found < least:
        raise Cannot(f"{name} must be an integer of at least {least}")
    return found


def number(said: Said, name: str, otherwise: float | None = None) -> float:
    """A number. Raises as `whole`."""
    found = said.get(name)
    found = otherwise if found is None else found
    if found is None:
        raise KeyError(name)
    return float(found)


def pair(said: Said, letter: str, otherwise: Any = None) -> tuple[int, int]:
    """Along rows and along columns: kH and kW."""
    rows, columns = otherwise if isinstance(otherwise, tuple) else (otherwise, otherwise)
    return whole(said, f"{letter}H", rows), whole(said, f"{letter}W", columns)


def padding(said: Said) -> tuple[int, int, int, int]:
    """Old files say one number for both axes, or none."""
    columns = whole(said, "padW", whole(said, "padding", 0, 0), 0)
    rows = whole(said, "padH", columns, 0)
    return rows, rows, columns, columns


def array(said: Said, name: str) -> np.ndarray | None:
    """Numbers, where there are any."""
    found = said.get(name)
    return found if isinstance(found, np.ndarray) and found.size else None
