"""Nodes that change how a value lies, or nothing: here they make no layer, but for shuffles and dropout."""

from dataclasses import replace

import numpy as np

from gpunet.data.raw import clean_name
from gpunet.formats.onnx.axes import MAPS_FIRST, MAPS_LAST, Axes, dims_of, is_held, regrouped, significant
from gpunet.formats.onnx.constants import reshaped, squeezed, unsqueezed
from gpunet.formats.onnx.file import Node
from gpunet.formats.onnx.importing import Cannot, Importer, Rules, Value
from gpunet.layers.dropout import Dropout
from gpunet.layers.maps import Shuffle

DEALT: dict[tuple[int, ...], Axes] = {(0, 2, 1, 3, 4): MAPS_FIRST, (0, 1, 2, 4, 3): MAPS_LAST}
"""How a shuffle transposes the maps of the groups, by the order of the axes before."""


def _reshape(importer: Importer, node: Node) -> list[Value]:
    if shuffle := _shuffled(importer, node):
        return [shuffle]
    value = importer.value(node.input(0))
    dims = dims_of(value.axes, value.known, importer.N)
    wanted = importer.argument(node, 1, "shape")
    assert wanted is not None
    sizes = reshaped(dims, [int(size) for size in wanted.reshape(-1)], bool(node.integer("allowzero", 0)))
    return [_regrouped(importer, value, sizes)]


def _flatten(importer: Importer, node: Node) -> list[Value]:
    value = importer.value(node.input(0))
    dims, axis = dims_of(value.axes, value.known, importer.N), node.integer("axis", 1)
    axis = axis + len(dims) if axis < 0 else axis
    return [_regrouped(importer, value, (int(np.prod(dims[:axis])), int(np.prod(dims[axis:]))))]


def _squeeze(importer: Importer, node: Node) -> list[Value]:
    value = importer.value(node.input(0))
    dims, said = dims_of(value.axes, value.known, importer.N), importer.argument(node, 1, "axes")
    axes = [place for place, size in enumerate(dims) if size == 1 and place] if said is None else said.reshape(-1)
    return [_regrouped(importer, value, squeezed(dims, [int(axis) for axis in axes]))]


def _unsqueeze(importer: Importer, node: Node) -> list[Value]:
    value, said = importer.value(node.input(0)), importer.argument(node, 1, "axes")
    assert said is not None
    dims = dims_of(value.axes, value.known, importer.N)
    return [_regrouped(importer, value, unsqueezed(dims, [int(axis) for axis in said.reshape(-1)]))]


def _regrouped(importer: Importer, value: Value, dims: tuple[int, ...]) -> Value:
    axes = regrouped(value.axes, value.known, importer.N, dims)
    if axes is None:
        shown = "x".join(map(str, dims_of(value.axes, value.known, importer.N)))
        raise Cannot(f"it makes {'x'.join(map(str, dims))} of {shown}: here volumes are flattened as a whole, or not")
    return importer.same(value, axes)


def _transpose(importer: Importer, node: Node) -> list[Value]:
    value = importer.padded(node.input(0))
    order = node.integers("perm") or tuple(range(len(value.axes)))[::-1]
    axes: Axes = tuple(value.axes[place] for place in order)
    if sorted(order) != list(range(len(value.axes))) or order[0] != 0:
        raise Cannot(f"perm={list(order)} moves the axis of the images")
    return [importer.same(value, axes)]


def _shuffled(importer: Importer, node: Node) -> Value | None:
    """Groups of maps dealt out: a reshape that parts them, a transpose, and this reshape back."""
    turned = importer.maker(node.input(0), "Transpose")
    parted = turned and importer.maker(turned.input(0), "Reshape")
    order = turned and DEALT.get(turned.integers("perm") or ())
    if not parted or not order or parted.input(0) not in importer.values:
        return None
    value, wanted, back = (
        importer.value(parted.input(0)),
        *(importer.argument(one, 1, "shape") for one in (parted, node)),
    )
    assert wanted is not None and back is not None
    dims = dims_of(value.axes, value.known, importer.N)
    sizes = reshaped(dims, [int(size) for size in wanted.reshape(-1)])
    again = reshaped(sizes, [int(size) for size in back.reshape(-1)])
    volume, at = value.known, order.index("D")
    kept = tuple(size for place, size in enumerate(sizes) if place not in (at, at + 1))
    same = tuple(size for place, size in enumerate(dims) if place != at)
    if not is_held(value.axes, order, volume) or len(sizes) != 5 or kept != same or again != dims:
        return None
    return importer.layer(node, Shuffle(sizes[at]), value, axes=order)


def _nothing(importer: Importer, node: Node) -> list[Value]:
    value = importer.padded(node.input(0))
    importer.alias(node.outputs[0], node.input(0))
    return [value]


def _dropout(importer: Importer, node: Node) -> list[Value]:
    value, said = importer.value(node.input(0)), importer.argument(node, 1, "ratio")
    p = 0.5 if said is None else float(np.ravel(said)[0])
    if not p:
        return _nothing(importer, node)
    return [importer.layer(node, Dropout(p=float(str(np.float32(p)))), value)]


def _expand(importer: Importer, node: Node) -> list[Value]:
    """A gate brought to the size of what it is for; a product here does that by itself."""
    value, wanted = importer.value(node.input(0)), importer.argument(node, 1, "shape")
    assert wanted is not None
    dims = dims_of(value.axes, value.known, importer.N)
    if np.broadcast_shapes(dims, tuple(int(size) for size in wanted.reshape(-1))) == dims:
        return _nothing(importer, node)
    why = f"it repeats {'x'.join(map(str, dims))}, and here gates of products alone are repeated"
    if len(dims) != 4 or value.known.shape[:2] != (1, 1):
        raise Cannot(why)
    return [importer.only("gate", node, value, why)]


def _softmax(importer: Importer, node: Node) -> list[Value]:
    value = importer.value(node.input(0))
    axis = node.integer("axis", 1 if importer.file.opset < 13 else -1) % len(value.axes)
    letters = significant("".join(value.axes[axis:] if importer.file.opset < 13 else value.axes[axis]), value.known)
    if letters not in ("D", "") or axis == 0:
        raise Cannot(f"axis={axis} is over {', '.join(letters) or 'images'}, and here a softmax is over the maps")
    return [importer.only("softmax", node, value, "a softmax belongs to the loss here, and to the end of a net")]


def _if(importer: Importer, node: Node) -> list[Value]:
    """The branch that is taken, where that is known without an image."""
    taken = importer.constant(node.input(0), "conditions")
    content = node.attributes["then_branch" if bool(np.ravel(taken)[0]) else "else_branch"]
    nodes, constants, outputs = importer.file.reader.graph(content)
    importer.constants |= constants
    importer.take(nodes)
    return [_branch_output(importer, name) for name in outputs]


def _branch_output(importer: Importer, name: str) -> Value:
    found = importer.values.get(name)
    if found is None:
        raise Cannot(f"its branch gives {clean_name(name)}, which is no volume")
    return replace(found)


RULES: Rules = {
    "Cast": _nothing,
    "Dropout": _dropout,
    "Expand": _expand,
    "Flatten": _flatten,
    "Identity": _nothing,
    "If": _if,
    "LogSoftmax": _softmax,
    "Reshape": _reshape,
    "Softmax": _softmax,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
