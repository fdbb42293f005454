"""A net and its weights from an ONNX file: what `gpunet import` takes."""

import json
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np

from gpunet.data.raw import clean_name
from gpunet.errors import DataError, GpunetError
from gpunet.formats.foreign import Foreign
from gpunet.formats.layout import TORCH
from gpunet.formats.onnx import elementwise, windows
from gpunet.formats.onnx.axes import MAPS_FIRST, MAPS_LAST, Axes, significant
from gpunet.formats.onnx.constants import MOST_FILLED
from gpunet.formats.onnx.curves import POINTS
from gpunet.formats.onnx.file import Dims, File, Slot, read_file
from gpunet.formats.onnx.growing import Array, sound
from gpunet.formats.onnx.importing import Importer, Value
from gpunet.layers.by_map import Scale
from gpunet.net.augment import Augment
from gpunet.net.graph import INPUT
from gpunet.net.net import Net
from gpunet.net.net import Node as Layered
from gpunet.program.volume import Volume

MOST_TOLD = 50
UINT8 = 2
FEW_MAPS = (1, 3, 4)
"""Of pictures: where no transpose tells, axes of such a size are those of maps."""

CLASSES = "classes"
"""The key under which a file of ours names its classes."""

ENTRY = "entry"
"""The key under which it says how pixels enter, where its nodes do not."""


def read(path: Path, input: Volume | None = None) -> Foreign:
    """The net, its weights, and what the file says beside.

    `input`  where the file leaves height and width open

    Raises DataError where it is damaged, or, naming all of it at once, where it has what cannot be said here.
    """
    file = read_file(path)
    slot, values = _entered(file, input)
    importer = Importer(file, N=_images(slot))
    importer.values[slot.name] = importer.by_number.setdefault(0, values)
    importer.curves[slot.name] = {0: POINTS}
    importer.take(file.nodes)
    end = _end(importer)
    numbers = importer.growing.needed(end.number)
    start, image = _cut(importer, numbers, values.known)
    _refuse(importer, [number for number in numbers if number != start])
    nodes, arrays = importer.growing.nodes(numbers, start)
    _check_size(file, arrays)
    net, notes = _net(file, importer.by_number[start].known, image, nodes, arrays)
    there = {node.name for node in net.nodes}
    kept = {parameter: array for parameter, array in arrays.items() if parameter.rpartition(".")[0] in there}
    names = _names(kept)
    layouts = {names[parameter]: array.layout for parameter, array in kept.items() if array.layout}
    return Foreign(
        path,
        f"ONNX{f' of {file.producer}' if file.producer else ''}",
        {names[parameter]: array.values for parameter, array in kept.items()},
        TORCH,
        names,
        net,
        _classes(file),
        notes=(*_notes(file, importer, end), *notes),
        layouts=layouts,
    )


# -- how images enter


def _entered(file: File, input: Volume | None) -> tuple[Slot, Value]:
    """The input of the graph as a value. Raises DataError where it is no image of a known size."""
    if len(file.inputs) != 1:
        names = ", ".join(clean_name(slot.name) for slot in file.inputs[:5])
        raise DataError(f"{file.path} takes {len(file.inputs)} inputs ({names}), and a net here takes images alone")
    (slot,) = file.inputs
    dims: Dims = slot.dims or ()
    if len(dims) not in (2, 3, 4):
        shown = "x".join(map(str, dims)) or "of no said size"
        raise DataError(f"{file.path}: its input is {shown}, and a net here takes images (N, maps, rows, columns)")
    axes: Axes = {2: ("N", "D"), 3: ("N", "H", "W"), 4: _order(file, slot)}[len(dims)]
    sizes = {letter: size for letter, size in zip(axes, dims, strict=True) if isinstance(size, int)}
    if input is not None:
        said = {"H": input.H, "W": input.W, "D": input.D}
        wrong = [letter for letter in "HWD" if sizes.get(letter, said[letter]) != said[letter]]
        if wrong or any(said[letter] > 1 for letter in "HWD" if letter not in axes):
            raise DataError(f"{file.path}: its input is {'x'.join(map(str, dims))}, which is not {input}")
        sizes |= said
    if any(letter not in sizes for letter in axes[1:]):
        raise DataError(
            f"{file.path}: its input is {'x'.join(map(str, dims))}, of no fixed size; say it as --input, like 224x224x3"
        )
    return slot, Value(0, Volume(*(sizes.get(letter, 1) for letter in "HWD")), axes)


def _order(file: File, slot: Slot) -> Axes:
    """Whether maps come last: where a transpose says so, or where only that axis has as many as pictures."""
    turned: dict[tuple[int, ...], Axes] = {(0, 3, 1, 2): MAPS_LAST, (0, 2, 3, 1): MAPS_FIRST}
    names = {slot.name}
    for node in file.nodes:
        if not names & {*node.inputs}:
            continue
        if node.op == "Transpose" and node.integers("perm") in turned:
            return turned[node.integers("perm") or ()]
        if node.op in PASSED and len(node.outputs) == 1:
            names |= {*node.outputs}
    assert slot.dims is not None
    first, last = slot.dims[1], slot.dims[3]
    slides = any(node.op in windows.RULES for node in file.nodes)  # over rows and columns, which come last
    return MAPS_LAST if last in FEW_MAPS and first not in FEW_MAPS and not slides else MAPS_FIRST


PASSED = ("Cast", "Identity", "Pad", "Slice", *elementwise.RULES)
"""What may be done to images before their axes are turned."""


def _images(slot: Slot) -> int:
    """How many images the graph is for; 1 where it leaves that open."""
    first = slot.dims[0] if slot.dims else 1
    return first if isinstance(first, int) else 1


def _cut(importer: Importer, numbers: list[int], image: Volume) -> tuple[int, Augment | None]:
    """The entry that the layers take, 0 or a cut of the images, and how these are cut."""
    takers = [number for number in numbers if 0 in importer.growing.entries[number].inputs]
    if len(takers) != 1 or importer.growing.entries[takers[0]].only != "cut":
        return 0, None
    (cut,) = takers
    return cut, Augment(size=image.shape[:2], pad=importer.cuts[cut])


# -- how it ends


def _end(importer: Importer) -> Value:
    """The value that holds the scores: what is before a softmax. Raises DataError where there is none."""
    names = [slot.name for slot in importer.file.outputs]
    if not names or names[0] not in importer.values:
        raise DataError(f"{importer.file.path} has no output that comes of its input")
    value = importer.values[names[0]]
    entry = importer.growing.entries[value.number]
    return importer.by_number[entry.inputs[0]] if entry.only == "softmax" else value


def _refuse(importer: Importer, numbers: list[int]) -> None:
    """Raise DataError with all that the scores need and that cannot be said."""
    whys = [importer.growing.entries[number].why for number in numbers]
    told = list(dict.fromkeys(filter(None, whys)))
    if not told:
        if not numbers:
            raise DataError(f"{importer.file.path} has no layer between its input and its output")
        return
    lines = [f"  {line}" for line in told[:MOST_TOLD]] + [f"  ... and {len(told) - MOST_TOLD} more"] * (
        len(told) > MOST_TOLD
    )
    raise DataError("\n".join([f"{importer.file.path} has nodes that cannot be said here:", *lines]))


# -- the net


def _net(
    file: File, input: Volume, cut: Augment | None, nodes: list[Layered], arrays: Mapping[str, Array]
) -> tuple[Net, list[str]]:
    """The net, and what is to be said of it: a scale of the images at its beginning is how pixels enter."""
    first = next((node for node in nodes if INPUT in node.inputs), None)
    alone = sum(INPUT in node.inputs for node in nodes) == 1 < len(nodes)
    within = _entry(file, first.name, arrays) if first and alone and isinstance(first.layer, Scale) else None
    notes = []
    if first is not None and within is not None:
        nodes = [_without(node, first.name) for node in nodes if node is not first]
        notes.append(f"{first.name}, a scale of the images, is how pixels enter")
        augment = _entering(cut, within)
    else:
        augment = _said_entry(file, input) or cut
    try:
        return Net(input, nodes, name=_name(file), augment=augment), notes
    except GpunetError as error:
        raise DataError(f"{file.path} holds what is no net here: {error}") from None


Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and deviation of pixels of 0..1, by map or the same for all."""

AS_THEY_ARE: Statistics = ((0.0,), (1.0,))


def _entry(file: File, layer: str, arrays: Mapping[str, Array]) -> Statistics | None:
    """What a scale of the images says of pixels, of 0..255 or of 0..1 as the numbers tell; None where it is neither."""
    scales = arrays[f"{layer}.scale"].values.astype(np.float64)
    shift = arrays.get(f"{layer}.shift")
    shifts = np.zeros(len(scales)) if shift is None else shift.values.astype(np.float64)
    if not (np.isfinite(scales).all() and np.isfinite(shifts).all() and (scales > 0).all()):
        return None
    pixels = file.inputs[0].dtype == UINT8 or np.abs(shifts / scales).max() > 2 or scales.max() < 0.1
    return _statistics(scales if pixels else scales / 255, shifts)


def _statistics(scales: np.ndarray, shifts: np.ndarray) -> Statistics | None:
    """Mean and deviation for which a pixel p enters as p*scale + shift; None where a net cannot say them."""
    pairs = np.stack([-shifts / (scales * 255), 1 / (scales * 255)])
    if (pairs == pairs[:, :1]).all():
        pairs = pairs[:, :1]
    elif pairs.shape[1] > 3:
        return None
    mean, std = (tuple(float(f"{number + 0:.7g}") for number in row) for row in pairs)
    return mean, std


def _entering(cut: Augment | None, statistics: Statistics) -> Augment | None:
    """How images enter, cut or not."""
    if statistics == AS_THEY_ARE:
        return cut
    return replace(cut or Augment(), mean=statistics[0], std=statistics[1])


def _said_entry(file: File, input: Volume) -> Augment | None:
    """How images enter where a file of ours says it beside its nodes; None where it does not."""
    try:
        said = json.loads(file.about.get(ENTRY, ""))
        scales, shifts = (np.array(said[key], float).reshape(-1) for key in ("scale", "shift"))
        size = tuple(said["size"]) if "size" in said else None
        good = len(scales) == len(shifts) in (1, input.D) and (scales > 0).all() and np.isfinite([scales, shifts]).all()
        statistics = _statistics(scales, shifts) if good else None
        if statistics is None:
            return None
        augment = _entering(Augment(size=size, pad=said.get("pad", 0)) if size else None, statistics)
        _ = augment and augment.image(input)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, GpunetError):
        return None
    return augment


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


def _notes(file: File, importer: Importer, end: Value) -> list[str]:
    """What was left out, a line each."""
    notes = []
    first = file.outputs[0].name
    if importer.values[first].number != end.number:
        notes.append("the softmax at the end left out: it belongs to the loss")
    if len(file.outputs) > 1:
        others = ", ".join(clean_name(slot.name) for slot in file.outputs[1:6])
        notes.append(f"its scores are the output {clean_name(first)}; left out: {others}")
    volume = end.known
    order = significant("".join(end.axes[1:]), volume)
    if prod(volume.shape[:2]) > 1 and order != significant("HWD", volume):
        notes.append(f"its scores are {volume}, and come here in the order rows, columns, maps")
    return notes
