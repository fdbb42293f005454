"""Nodes about maps: which of them, side by side, and normalized."""

from dataclasses import replace

import numpy as np

from gpunet.formats.onnx.axes import MAPS_FIRST, MAPS_LAST, Axes, dims_of, is_held, order_of
from gpunet.formats.onnx.constants import slices_of
from gpunet.formats.onnx.curves import plain
from gpunet.formats.onnx.file import Node
from gpunet.formats.onnx.growing import Array
from gpunet.formats.onnx.importing import NOTHING, Cannot, Importer, Rules, Value
from gpunet.layers.batch_norm import BatchNorm
from gpunet.layers.by_map import PReLU
from gpunet.layers.lrn import LRN
from gpunet.layers.maps import Slice
from gpunet.layers.merge import Concat
from gpunet.program.volume import Volume

BROADCASTS = 9
"""From that version of the ops on, slopes are stretched over the last axes; before, they were those of the maps."""


def _concat(importer: Importer, node: Node) -> list[Value]:
    values = [importer.value(name) for name in node.inputs if name]
    if len(values) == 1:
        return [values[0]]
    axes = _common(values)
    axis = node.integer("axis", 1) % len(axes)
    if axes[axis] != "D":
        raise Cannot(f"axis={axis} puts {axes[axis] or 'images'} behind one another, and here maps are")
    return [importer.layer(node, Concat(), *values, axes=axes)]


def _common(values: list[Value]) -> Axes:
    """The order of axes in which all values have their volumes."""
    orders = [order_of(value.axes, value.known) for value in values]
    for order in dict.fromkeys(orders):
        if order is not None and all(order in _orders(value) for value in values):
            return order
    has = "; ".join(", ".join(letters or "1" for letters in value.axes) for value in values)
    raise Cannot(f"its inputs have other axes than one another: {has}")


def _orders(value: Value) -> list[Axes]:
    return [one for one in (MAPS_FIRST, MAPS_LAST, ("N", "D")) if is_held(value.axes, one, value.known)]


def _slice(importer: Importer, node: Node) -> list[Value]:
    value = importer.padded(node.input(0))
    given = [importer.constant(name, "bounds") if name else np.zeros(0, int) for name in node.inputs[1:]]
    dims = dims_of(value.axes, value.dims, importer.N)
    parts = {
        axis: part
        for axis, part in slices_of(node, [np.zeros(0), *given], dims).items()
        if (part.start, part.stop, part.step) != (0, dims[axis], 1)
    }
    if value.number == 0 and any(value.axes[axis] in ("H", "W") for axis in parts):
        return [_cut(importer, node, value, parts)]
    for axis, part in parts.items():
        value = _sliced(importer, node, importer.value(node.input(0)), axis, part)
    return [value]


def _sliced(importer: Importer, node: Node, value: Value, axis: int, part: slice) -> Value:
    order = order_of(value.axes, value.known)
    if order is None or order[axis] != "D" or part.step != 1 or part.stop <= part.start:
        said = f"{part.start}:{part.stop}" + f":{part.step}" * (part.step != 1)
        raise Cannot(f"it takes {said} of axis {axis}, and here neighbouring maps are taken alone")
    last = part.stop if part.stop < value.known.D else None
    return importer.layer(node, Slice(part.start, last), value, axes=order)


def _cut(importer: Importer, node: Node, value: Value, parts: dict[int, slice]) -> Value:
    """A part of the images, before anything else is done to them: the middle, as a net here cuts it out."""
    big, bounds = value.dims, {"H": (0, value.dims.H), "W": (0, value.dims.W)}
    for axis, part in parts.items():
        if value.axes[axis] not in bounds or part.step != 1 or part.stop <= part.start:
            raise Cannot("it takes some maps, or every other pixel, of images")
        bounds[value.axes[axis]] = part.start, part.stop
    H, W = (end - start for start, end in bounds.values())
    small = Volume(H, W, big.D)
    middle = [(size - part) // 2 for size, part in zip(big.shape[:2], small.shape[:2], strict=True)]
    if [start for start, _ in bounds.values()] != middle or len({*value.around}) > 1:
        raise Cannot("it does not cut out the middle of images, as is done here")
    number = importer.only("cut", node, value, "images are cut where more than one layer takes them").number
    importer.cuts[number] = value.around[0]
    return replace(value, number=number, volume=small, around=NOTHING)


def _split(importer: Importer, node: Node) -> list[Value]:
    value = importer.value(node.input(0))
    axis = node.integer("axis", 0) % len(value.axes)
    said = importer.argument(node, 1, "split")
    size = dims_of(value.axes, value.known, importer.N)[axis]
    each = -(-size // len(node.outputs))
    sizes = [each] * len(node.outputs) if said is None else [int(n) for n in said.reshape(-1)]
    ends = np.minimum(np.cumsum(sizes), size).tolist()
    parts = [slice(start, end, 1) for start, end in zip([0, *ends], ends, strict=False)]
    return [_sliced(importer, node, value, axis, part) for part in parts]


def _batch_norm(importer: Importer, node: Node) -> list[Value]:
    value = importer.value(node.input(0))
    order = order_of(value.axes, value.known)
    if order is None or order[1] != "D" or node.integer("training_mode", 0):
        raise Cannot("it normalizes other axes than maps, or by the statistics of a batch")
    arrays = {}
    for place, parameter in enumerate(("scale", "shift", "mean", "variance"), 1):
        values = importer.constant(node.input(place), "statistics")
        if values.size != value.known.D:
            raise Cannot(f"it has {values.size:,} numbers for {value.known.D:,} maps")
        arrays[parameter] = Array(node.input(place), values.reshape(-1))
    eps, momentum = plain(node.number("epsilon", 1e-5)), plain(1 - node.number("momentum", 0.9))
    return [importer.layer(node, BatchNorm(eps, min(max(momentum, 0.0), 1.0)), value, arrays=arrays, axes=order)]


def _lrn(importer: Importer, node: Node) -> list[Value]:
    """Alpha there is shared among the neighbours."""
    value, n = _bare(importer, node), node.integer("size", 5)
    alpha, beta = node.number("alpha", 1e-4), node.number("beta", 0.75)
    layer = LRN(n, plain(alpha) / n, plain(beta), plain(node.number("bias", 1)))
    return [importer.layer(node, layer, value, axes=MAPS_FIRST)]


def _bare(importer: Importer, node: Node) -> Value:
    importer.value(node.input(0))  # which has nothing around it
    return importer.held(node.input(0))


def _prelu(importer: Importer, node: Node) -> list[Value]:
    value = importer.value(node.input(0))
    slopes, D = importer.constant(node.input(1), "slopes"), value.known.D
    shared = slopes.size == 1 and (D > 1 or slopes.ndim < 2)
    of_maps = importer.file.opset < BROADCASTS and slopes.shape == (D,)
    if not (shared or of_maps or by_map(slopes, value)):
        raise Cannot(
            f"its slopes are {'x'.join(map(str, slopes.shape))}, and here there is one for each map, or for all"
        )
    return [importer.layer(node, PReLU(shared), value, arrays={"a": Array(node.input(1), slopes.reshape(-1))})]


def by_map(values: np.ndarray, value: Value) -> bool:
    """Whether an array has a number for each map of a value, where it is stretched over the axes of that."""
    order = order_of(value.axes, value.known) or value.axes
    axes = order[len(order) - values.ndim :] if values.ndim <= len(order) else ()
    wanted = tuple(value.known.D if letters == "D" else 1 for letters in axes)
    return values.ndim > 0 and values.shape == wanted and "D" in axes


RULES: Rules = {
    "BatchNormalization": _batch_norm,
    "Concat": _concat,
    "LRN": _lrn,
    "PRelu": _prelu,
    "Slice": _slice,
    "Split": _split,
}
