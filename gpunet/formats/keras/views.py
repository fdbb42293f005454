"""Keras's layers that make none here: they change how others look at their input, or act in training alone."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gpunet.formats.keras.call import Call
from gpunet.formats.values import FIRST, LAST, Cannot, Making, Order, Value, around
from gpunet.program.volume import Volume

ORDERS: tuple[Order, ...] = (LAST, FIRST)


def flatten(making: Making, call: Call) -> Value:
    """Told that channels come first, it brings them to the end before."""
    value = call.value
    if call.settings.get("data_format") != "channels_first" or value.rank != 4:
        return replace(value, rank=2)
    if value.order != FIRST:
        raise Cannot("it takes channels first, and what comes has them last")
    return replace(value, rank=2, order=LAST)


def reshape(making: Making, call: Call) -> Value:
    """The same volume, a vector of it, or the first layer, which says what the input is."""
    value, wanted = call.value, [int(size) for size in call.settings["target_shape"]]
    if wanted.count(-1) == 1:
        rest = -int(np.prod([float(size) for size in wanted]))
        wanted[wanted.index(-1)] = value.volume.values // rest if rest else 0
    if wanted == [value.volume.values]:
        return replace(value, rank=2)
    for order in (value.order, *(ORDERS if value.single else ())):
        if wanted == sizes_in(order, value.volume):
            return replace(value, rank=4, order=order)
    if value.still and len(wanted) == 3 and not making.graph.nodes and int(np.prod(wanted)) == value.volume.values:
        return making.reenter(value, volume_of(wanted, value.order))
    raise Cannot(f"target_shape {wanted} is another volume than {value.volume}")


def permute(making: Making, call: Call) -> Value:
    """The maps from one end to the other; no other axis moves here."""
    value, dims = call.value, list(call.settings["dims"])
    if value.rank == 4 and dims == ([3, 1, 2] if value.order == LAST else [2, 3, 1]):
        return replace(value, order=FIRST if value.order == LAST else LAST)
    if dims != sorted(dims):
        raise Cannot(f"dims={dims}: rows and columns keep their order here")
    return value


def sizes_in(order: Order, volume: Volume) -> list[int]:
    """H, W, D in that order."""
    return [volume.shape["HWD".index(axis)] for axis in order]


def volume_of(sizes: Sequence[int], order: Order) -> Volume:
    """Of three sizes in that order."""
    return Volume(*(sizes[order.index(axis)] for axis in "HWD"))


def zero_padding(making: Making, call: Call) -> Value:
    """Zeros around, which the window behind brings along."""
    said = call.settings["padding"]
    (top, bottom), (left, right) = ((one, one) if isinstance(one, int) else one for one in pair_of(said))
    if min(top, bottom, left, right) < 0 or call.value.rank != 4:
        raise Cannot("padding must be rows and columns around a volume")
    return replace(call.value, zeros=around(call.value, (top, bottom, left, right)))


def pair_of(said: Any) -> list[Any]:
    """Rows and columns; old files say four sides in a row."""
    if isinstance(said, int):
        return [said, said]
    return [list(said[:2]), list(said[2:])] if len(said) == 4 else list(said)


def code_of_others(making: Making, call: Call) -> Value:
    raise Cannot("it is code of its author's, which is never run")


def nothing(making: Making, call: Call) -> Value:
    return call.value


def left_out(making: Making, call: Call) -> Value:
    making.graph.notes.append(f"{call.name} ({call.kind}), which acts in training alone, left out")
    return call.value


def resizing(making: Making, call: Call) -> Value:
    """In front of all others: pictures come in the size of a net's input here anyway."""
    if not call.value.still or making.graph.nodes:
        raise Cannot("volumes keep their size here, but in front of all layers")
    volume = Volume(int(call.settings["height"]), int(call.settings["width"]), call.value.volume.D)
    making.graph.notes.append(f"{call.name} (Resizing) left out: pictures come in the size of the input, {volume}")
    return making.reenter(call.value, volume)
