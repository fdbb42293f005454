"""Keras's layers that make none here: they change how others look at their input, or act in training alone."""

from dataclasses import replace
from typing import Any

import numpy as np

from gpunet.formats.keras.call import Call
from gpunet.formats.values import Cannot, Making, Value, around
from gpunet.program.volume import Volume


def flatten(making: Making, call: Call) -> Value:
    return replace(call.value, rank=2)


def reshape(making: Making, call: Call) -> Value:
    """The same volume, a vector of it, or the first layer, which says what the input is."""
    value, wanted = call.value, [int(size) for size in call.settings["target_shape"]]
    if wanted.count(-1) == 1:
        rest = -int(np.prod([float(size) for size in wanted]))
        wanted[wanted.index(-1)] = value.volume.values // rest if rest else 0
    if wanted == [value.volume.values]:
        return replace(value, rank=2)
    if tuple(wanted) == value.volume.shape:
        return replace(value, rank=4)
    if value.still and len(wanted) == 3 and not making.graph.nodes and Volume(*wanted).values == value.volume.values:
        return making.reenter(value, Volume(*wanted))
    raise Cannot(f"target_shape {wanted} is another volume than {value.volume}")


def permute(making: Making, call: Call) -> Value:
    if list(call.settings["dims"]) != sorted(call.settings["dims"]):
        raise Cannot(f"dims={list(call.settings['dims'])}: axes keep their order here")
    return call.value


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
