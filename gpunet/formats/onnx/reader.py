"""A net and its weights from an ONNX file: what `gpunet import` takes."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np

from gpunet.data.raw import clean_name
from gpunet.errors import DataError, GpunetError
from gpunet.formats.foreign import NOTHING, Asked, Foreign
from gpunet.formats.layout import TORCH
from gpunet.formats.onnx.axes import MAPS_LAST, significant
from gpunet.formats.onnx.constants import MOST_FILLED
from gpunet.formats.onnx.curves import POINTS
from gpunet.formats.onnx.entering import cut_of, entered, entering, entry_said, images_of, scale_of
from gpunet.formats.onnx.file import File, read_file
from gpunet.formats.onnx.growing import Array, Entry, sound
from gpunet.formats.onnx.importing import Importer, Value
from gpunet.formats.onnx.schema import CLASSES, ENTERS, WHITE
from gpunet.layers.by_map import Scale
from gpunet.layers.merge import Concat
from gpunet.net.augment import Augment
from gpunet.net.graph import INPUT
from gpunet.net.net import Net
from gpunet.net.net import Node as Layered
from gpunet.net.pattern import MOST_LAYERS
from gpunet.program.volume import Volume

MOST_TOLD, MOST_OUTPUTS = 50, 8
"""Nodes that are told, and outputs that are looked at."""


def read(path: Path, asked: Asked = NOTHING) -> Foreign:
    """The net, its weights, and what the file says beside.

    `asked`  its `input`, where the file leaves height and width open

    Raises DataError where it is damaged, or, naming all of it at once, where it has what cannot be said here.
    """
    file = read_file(path)
    slot, values = entered(file, asked.input)
    importer = Importer(file, N=images_of(slot))
    importer.values[slot.name] = importer.by_number.setdefault(0, values)
    importer.curves[slot.name] = {0: POINTS}
    importer.take(file.nodes)
    end, said = _end(importer)
    numbers = importer.growing.needed(end.number)
    start, image = cut_of(importer, numbers, values.known)
    _refuse(importer, [number for number in numbers if number != start])
    if (layers := len(numbers) - 1) > MOST_LAYERS:
        raise DataError(f"{path} would have {layers:,} layers, and a net has {MOST_LAYERS:,} at most")
    nodes, arrays = importer.growing.nodes(numbers, start)
    _check_size(file, arrays)
    net, notes = _net(file, importer.by_number[start].known, image, nodes, arrays)
    there = {node.name for node in net.nodes}
    kept = {parameter: array for parameter, array in arrays.items() if parameter.rpartition(".")[0] in there}
    names = _names(kept)
    layouts = {names[parameter]: array.layout for parameter, array in kept.items() if array.layout}
    return Foreign(
        path,
        "ONNX",
        {names[parameter]: array.values for parameter, array in kept.items()},
        TORCH,
        names,
        net,
        _classes(file),
        notes=(*([f"written by {file.producer}"] if file.producer else []), *said, *_order_note(end), *notes),
        layouts=layouts,
        white=_white(file),
    )


# -- how it ends


def _end(importer: Importer) -> tuple[Value, list[str]]:
    """The value that holds the scores, those of several outputs side by side, and what is to be said of it.

    Raises DataError where there is none.
    """
    values = {slot.name: importer.values[slot.name] for slot in importer.file.outputs if slot.name in importer.values}
    if not values:
        raise DataError(f"{importer.file.path} has no output that comes of its input")
    ends = {name: _before_softmax(importer, value) for name, value in list(values.items())[:MOST_OUTPUTS]}
    notes = []
    if any(end is not values[name] for name, end in ends.items()):
        notes.append("the softmax at the end left out: it belongs to the loss")
    (name, first), *others = ends.items()
    beside = {first.number: first} | {end.number: end for _, end in others if _stands_beside(importer, end, first)}
    left = [clean_name(other) for other, end in others if end.number not in beside]
    if left:
        notes.append(f"its scores are the output {clean_name(name)}; left out: {', '.join(left)}")
    if len(beside) == 1:
        return first, notes
    told = ", ".join(f"{clean_name(name)} {end.known}" for name, end in ends.items() if end.number in beside)
    notes.append(f"{len(beside)} outputs stand side by side in the scores: {told}")
    volumes = [end.known for end in beside.values()]
    number = importer.growing.add(Entry(tuple(beside), Concat(), "outputs"))
    joined = Value(number, Concat().output(*volumes), MAPS_LAST)
    importer.by_number[joined.number] = joined
    return joined, notes


def _before_softmax(importer: Importer, value: Value) -> Value:
    entry = importer.growing.entries[value.number]
    return importer.by_number[entry.inputs[0]] if entry.only == "softmax" else value


def _stands_beside(importer: Importer, value: Value, first: Value) -> bool:
    """Whether all that another output needs can be said, and it has the rows and columns of the first."""
    if not value.number or value.volume is None or first.volume is None:
        return False
    if value.volume.shape[:2] != first.volume.shape[:2]:
        return False
    return not any(importer.growing.entries[number].why for number in importer.growing.needed(value.number))


def _refuse(importer: Importer, numbers: list[int]) -> None:
    """Raise DataError with all that the scores need and that cannot be said."""
    whys = [importer.growing.entries[number].why for number in numbers]
    told = list(dict.fromkeys(filter(None, whys)))
    if not told:
        if not numbers:
            raise DataError(f"{importer.file.path} has no layer between its input and its output")
        return
    lines = [f"  {line}" for line in told[:MOST_TOLD]]
    lines += [f"  ... and {len(told) - MOST_TOLD} more"] * (len(told) > MOST_TOLD)
    raise DataError("\n".join([f"{importer.file.path} has nodes that cannot be said here:", *lines]))


# -- the net


def _net(
    file: File, input: Volume, cut: Augment | None, nodes: list[Layered], arrays: Mapping[str, Array]
) -> tuple[Net, list[str]]:
    """The net, and what is to be said of it: a scale of the images at its beginning is how pixels enter."""
    takers = [node for node in nodes if INPUT in node.inputs]
    within, notes = None, []
    if len(takers) == 1 < len(nodes) and isinstance(takers[0].layer, Scale) and ENTERS not in file.about:
        within = scale_of(file, takers[0].name, arrays)
    if within is not None:
        (first,) = takers
        nodes = [_without(node, first.name) for node in nodes if node is not first]
        notes.append(f"{first.name}, a scale of the images, is how pixels enter")
        augment = entering(cut, within)
    else:
        augment = entry_said(file, input) or cut
    try:
        return Net(input, nodes, name=_name(file), augment=augment), notes
    except GpunetError as error:
        raise DataError(f"{file.path} holds what is no net here: {error}") from None


def _without(node: Layered, name: str) -> Layered:
    return replace(node, inputs=tuple(INPUT if one == name else one for one in node.inputs))


def _name(file: File) -> str:
    return sound(file.path.stem) or "net"


# -- arrays


def _check_size(file: File, arrays: Mapping[str, Array]) -> None:
    """Raise DataError where weights would be far more than the file holds: many layers may have the same array."""
    count = sum(array.values.size for array in arrays.values())
    if count > file.nbytes + MOST_FILLED:
        raise DataError(f"{file.path} has {file.nbytes:,} bytes and would be {count:,} weights")
    for parameter, array in arrays.items():
        if array.values.dtype.kind not in "fiu":
            raise DataError(f"{file.path}: {clean_name(array.name)} of {parameter} holds {array.values.dtype} values")


def _names(arrays: Mapping[str, Array]) -> dict[str, str]:
    """The name of the array of each parameter; one that several have, in different ways, has as many names."""
    names: dict[str, str] = {}
    seen: dict[str, Array] = {}
    for parameter, array in arrays.items():
        first = seen.setdefault(array.name, array)
        same = first.layout == array.layout and first.values.shape == array.values.shape
        same = same and first.values.strides == array.values.strides and np.shares_memory(first.values, array.values)
        names[parameter] = array.name if first is array or same else f"{array.name} of {parameter}"
    return names


# -- beside


def _classes(file: File) -> tuple[str, ...]:
    """The names of classes that a file of ours says."""
    try:
        said = json.loads(file.about.get(CLASSES, ""))
    except (ValueError, RecursionError):
        return ()
    named = isinstance(said, list) and all(isinstance(name, str) for name in said)
    return tuple(clean_name(name) for name in said) if named else ()


def _white(file: File) -> int:
    """The value of white that a file of ours says."""
    said = file.about.get(WHITE, "")
    return int(said) if re.fullmatch("[0-9]{1,3}", said) and 0 < int(said) < 255 else 255


def _order_note(end: Value) -> list[str]:
    """That scores of a volume come in another order than there, where they do."""
    volume = end.known
    order = significant("".join(end.axes[1:]), volume)
    if prod(volume.shape[:2]) == 1 or order == significant("HWD", volume):
        return []
    return [f"its scores are {volume}, and come here in the order rows, columns, maps"]
