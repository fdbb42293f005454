"""How images enter the net of an ONNX file: its input, what is cut out of them, and how pixels are scaled."""

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from gpunet.data.raw import clean_name
from gpunet.errors import DataError, GpunetError
from gpunet.formats.onnx import elementwise, windows
from gpunet.formats.onnx.axes import MAPS_FIRST, MAPS_LAST, Axes
from gpunet.formats.onnx.file import Dims, File, Slot
from gpunet.formats.onnx.growing import Array
from gpunet.formats.onnx.importing import Importer, Value
from gpunet.formats.onnx.schema import ENTERS
from gpunet.formats.onnx.tensors import DTYPES
from gpunet.net.augment import Augment
from gpunet.program.volume import Volume

UINT8 = 2
PIXELS = (0, 1, UINT8, 10, 11)
"""Types that images may have: not said, floats or bytes."""

FEWER: dict[int, Axes] = {2: ("N", "D"), 3: ("N", "H", "W")}
"""The axes of what is no volume."""

FEW_MAPS = (1, 3, 4)
"""Of pictures: where no transpose tells, axes of such a size are those of maps."""


def entered(file: File, input: Volume | None) -> tuple[Slot, Value]:
    """The input of the graph as a value. Raises DataError where it is no image of a known size."""
    if len(file.inputs) != 1:
        names = ", ".join(clean_name(slot.name) for slot in file.inputs[:5])
        raise DataError(f"{file.path} takes {len(file.inputs)} inputs ({names}), and a net here takes images alone")
    (slot,) = file.inputs
    if slot.dtype not in PIXELS:
        raise DataError(
            f"{file.path}: its input holds {DTYPES.get(slot.dtype, 'strange')} values, and images are floats"
        )
    dims: Dims = slot.dims or ()
    if len(dims) not in (2, 3, 4):
        shown = "x".join(map(str, dims)) or "of no said size"
        raise DataError(f"{file.path}: its input is {shown}, and a net here takes images (N, maps, rows, columns)")
    axes = _order(file, slot) if len(dims) == 4 else FEWER[len(dims)]
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
    few = isinstance(last, int) and last in FEW_MAPS and not (isinstance(first, int) and first <= last)
    return MAPS_LAST if few and not slides else MAPS_FIRST


PASSED = ("Cast", "Identity", "Pad", "Slice", *elementwise.RULES)
"""What may be done to images before their axes are turned."""


def images_of(slot: Slot) -> int:
    """How many images the graph is for; 1 where it leaves that open."""
    first = slot.dims[0] if slot.dims else 1
    return first if isinstance(first, int) else 1


def cut_of(importer: Importer, numbers: list[int], image: Volume) -> tuple[int, Augment | None]:
    """The entry that the layers take, 0 or a cut of the images, and how these are cut."""
    takers = [number for number in numbers if 0 in importer.growing.entries[number].inputs]
    if len(takers) != 1 or importer.growing.entries[takers[0]].only != "cut":
        return 0, None
    (cut,) = takers
    return cut, Augment(size=image.shape[:2], pad=importer.cuts[cut])


Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and deviation of pixels of 0..1, by map or the same for all."""

AS_THEY_ARE: Statistics = ((0.0,), (1.0,))


def scale_of(file: File, layer: str, arrays: Mapping[str, Array]) -> Statistics | None:
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


def entering(cut: Augment | None, statistics: Statistics) -> Augment | None:
    """How images enter, cut or not."""
    if statistics == AS_THEY_ARE:
        return cut
    return replace(cut or Augment(), mean=statistics[0], std=statistics[1])


def entry_said(file: File, input: Volume) -> Augment | None:
    """How images enter where a file of ours says it beside its nodes; None where it does not."""
    try:
        said = json.loads(file.about.get(ENTERS, ""))
        scales, shifts = (np.array(said[key], float).reshape(-1) for key in ("scale", "shift"))
        size = tuple(said["size"]) if "size" in said else None
        good = len(scales) == len(shifts) in (1, input.D) and (scales > 0).all() and np.isfinite([scales, shifts]).all()
        statistics = _statistics(scales, shifts) if good else None
        if statistics is None:
            return None
        augment = entering(Augment(size=size, pad=said.get("pad", 0)) if size else None, statistics)
        _ = augment and augment.image(input)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, GpunetError):
        return None
    return augment
