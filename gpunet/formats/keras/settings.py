"""What the settings of a Keras layer say, in the ways in which they were written over the years."""

from collections.abc import Mapping
from typing import Any

from gpunet.formats.values import Cannot, Maps, Value
from gpunet.values.given import MOST_SIZE

Settings = Mapping[str, Any]


def sizes(said: Settings, name: str, otherwise: int | None = None) -> tuple[int, int]:
    """Along rows and along columns, of one number or of two."""
    found = said.get(name)
    found = otherwise if found is None else found
    rows, columns = found if isinstance(found, list | tuple) else (found, found)
    for size in (rows, columns):
        if isinstance(size, bool) or not isinstance(size, int) or not 0 < size <= MOST_SIZE:
            raise Cannot(f"{name} must be one or two integers of at least 1")
    return rows, columns


def whole(said: Settings, *names: str) -> int:
    """An integer, under the first of the names that is there: those that it had over the years."""
    found = next((said[name] for name in names if name in said), None)
    if isinstance(found, bool) or not isinstance(found, int):
        raise KeyError(names[0])
    return found


def number(said: Settings, name: str, otherwise: float | None = None) -> float:
    """A number, perhaps as an array of one."""
    (found,) = numbers(said, name, otherwise)
    return found


def numbers(said: Settings, name: str, otherwise: float | None = None) -> Maps:
    """One number, or several in however many lists; NumPy's are dicts with their `value`."""
    found = said.get(name)
    found = otherwise if found is None else found
    if found is None:
        raise KeyError(name)
    while isinstance(found, dict):
        found = found["value"] if "value" in found else found["config"]["value"]
    while isinstance(found, list) and len(found) == 1 and isinstance(found[0], list):
        (found,) = found
    return tuple(map(float, found if isinstance(found, list) else (found,)))


def flag(said: Settings, name: str, otherwise: bool) -> bool:
    """True or false."""
    found = said.get(name)
    return bool(otherwise if found is None else found)


def padded(said: Settings) -> bool:
    """Whether windows are padded as SAME has it; else not at all."""
    word = said.get("padding", said.get("border_mode", "valid"))
    if word not in ("same", "valid"):
        raise Cannot(f"padding={str(word)[:40]} is neither same nor valid")
    return bool(word == "same")


def axis_is_of_maps(said: Settings, value: Value) -> None:
    """Raise Cannot unless `axis` is that of the maps."""
    axis = said.get("axis", -1)
    (axis,) = axis if isinstance(axis, list) else [axis]
    if axis not in (value.maps_axis, value.maps_axis - value.rank):
        raise Cannot(f"axis={axis}: it works along the maps, axis {value.maps_axis}, alone here")
