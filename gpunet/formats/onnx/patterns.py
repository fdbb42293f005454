"""What takes several nodes there and is one layer here, told at its last node.

LRN as exporters take it apart; and what our own exports make of layers for which ONNX has no node: filters of their own
for every position, and averages of parts that are not all of a size.
"""

from dataclasses import replace

import numpy as np

from gpunet.errors import ShapeError
from gpunet.formats.onnx.axes import MAPS_FIRST, is_held
from gpunet.formats.onnx.curves import plain
from gpunet.formats.onnx.file import Node
from gpunet.formats.onnx.growing import Array
from gpunet.formats.onnx.importing import NOTHING, Importer, Value
from gpunet.layers.average_pool import AdaptiveAvgPool
from gpunet.layers.conv import Conv
from gpunet.layers.local import LocallyConnected
from gpunet.layers.lrn import LRN
from gpunet.program.volume import FitPolicy, Volume, pair, sides

PASSING = ("Cast", "Identity", "Pad", "Reshape", "Squeeze", "Unsqueeze")
"""What stands between the parts of an LRN and changes no number."""


def whole(importer: Importer, node: Node) -> Value | None:
    """The layer that a node ends; None where it ends none of these."""
    if node.op == "Div":
        return _lrn(importer, node)
    return _local(importer, node) if node.op == "Add" else None


# -- x / (k + alpha * average of squares)**beta


def _lrn(importer: Importer, node: Node) -> Value | None:
    x, below = node.input(0), node.input(1)
    power = importer.maker(below, "Pow", "Sqrt")
    found = importer.affines.get(power.input(0)) if power else None
    if power is None or found is None or not found.plain or x not in importer.values:
        return None
    beta = 0.5 if power.op == "Sqrt" else _number(importer, power.input(1))
    average, padded = _beneath(importer, found.base, "AveragePool")
    if average is None or beta is None or not _is_square(importer, average.input(0), x):
        return None
    value, alpha, k = importer.value(x), float(found.scale), float(found.shift)
    n = _neighbours(average, padded)
    if n is None or not is_held(value.axes, MAPS_FIRST, value.known):
        return None
    size, over = n
    count = size if over == "maps" else size * size
    layer = LRN(size, plain(alpha) / count, plain(beta), plain(k), over)  # type: ignore[arg-type]
    return importer.layer(node, layer, value, axes=MAPS_FIRST)


def _neighbours(average: Node, padded: bool) -> tuple[int, str] | None:
    """How many neighbours an average is of, and where they stand; None where they are not around the middle."""
    kernel, pads = average.integers("kernel_shape") or (), average.integers("pads") or ()
    if {*(average.integers("strides") or (1,))} != {1}:
        return None
    if len(kernel) == 3 and kernel[1:] == (1, 1) and padded:
        return kernel[0], "maps"
    inside = len(kernel) == 2 and kernel[0] == kernel[1] and {*pads} <= {kernel[0] // 2}
    counted = average.integer("count_include_pad", 0) == 1 or kernel == (1, 1)
    return (kernel[0], "map") if inside and counted and (pads or kernel == (1, 1)) else None


def _is_square(importer: Importer, name: str, x: str) -> bool:
    node, _ = _beneath(importer, name, "Mul", "Pow")
    if node is None:
        return False
    if node.op == "Mul":
        return node.inputs == (x, x)
    return node.input(0) == x and _number(importer, node.input(1)) == 2


def _beneath(importer: Importer, name: str, *ops: str) -> tuple[Node | None, bool]:
    """The node of one of these ops that a value comes of, and whether it was padded on the way."""
    padded = False
    for _ in range(8):
        node = importer.maker(name, *ops, *PASSING, "If")
        if node is None or node.op in ops:
            return node, padded or bool(node and node.op == "AveragePool" and _is_padded(importer, node))
        padded = padded or node.op == "Pad"
        name = _branches_take(importer, node) if node.op == "If" else node.input(0)
    return None, padded


def _is_padded(importer: Importer, average: Node) -> bool:
    """Whether zeros come before and behind the maps that are averaged, half of them each."""
    size = (average.integers("kernel_shape") or (0,))[0]
    name = average.input(0)
    for _ in range(4):
        node = importer.maker(name, *PASSING)
        if node is not None and node.op == "Pad":
            amounts = importer.argument(node, 1, "pads")
            numbers = [] if amounts is None else [int(number) for number in np.ravel(amounts) if number]
            return (numbers == [size // 2] * 2 and size % 2 == 1) or size == 1
        if node is None:
            break
        name = node.input(0)
    own = average.integers("pads") or ()
    return len(own) == 6 and own == (size // 2, 0, 0, size // 2, 0, 0) and average.integer("count_include_pad", 0) == 1


def _branches_take(importer: Importer, node: Node) -> str:
    """The value that both branches hand on, squeezed or not; "" where they do more."""
    found = set()
    for branch in ("then_branch", "else_branch"):
        if not isinstance(node.attributes.get(branch), bytes | memoryview):
            return ""
        nodes, _, _ = importer.file.reader.graph(node.attributes[branch])
        passing = [one for one in nodes if one.op != "Constant"]
        found |= {one.input(0) if one.op in PASSING else "" for one in passing} if len(passing) == 1 else {""}
    return found.pop() if len(found) == 1 else ""


def _number(importer: Importer, name: str) -> float | None:
    values = importer.constants.get(name)
    return float(values.reshape(())) if values is not None and values.size == 1 else None


# -- our own


def parts_of(size: int, count: int) -> np.ndarray:
    """(count, size): each row the average of a part of an axis, as AdaptiveAvgPool has them."""
    made = np.zeros((count, size), np.float32)
    for part in range(count):
        start, end = part * size // count, -(-(part + 1) * size // count)
        made[part, start:end] = 1 / (end - start)
    return made


def averaged(importer: Importer, node: Node) -> Value | None:
    """Averages of parts: rows (K, H) times maps times columns (W, K)."""
    inner = importer.maker(node.input(1), "MatMul")
    rows, columns = importer.constants.get(node.input(0)), importer.constants.get(inner.input(1) if inner else "")
    if inner is None or rows is None or columns is None or rows.ndim != 2 or columns.ndim != 2:
        return None
    value = importer.values.get(inner.input(0))
    if value is None or value.volume is None or not is_held(value.axes, MAPS_FIRST, value.volume):
        return None
    H, W, _ = value.volume.shape
    K = len(rows), columns.shape[1]
    if (rows.shape[1], len(columns)) != (H, W) or max(H * K[0], W * K[1]) > rows.size + columns.size:
        return None
    if not np.array_equal(rows, parts_of(H, K[0])) or not np.array_equal(columns.T, parts_of(W, K[1])):
        return None
    return importer.layer(node, AdaptiveAvgPool(K), value, axes=MAPS_FIRST)


def windows_as_maps(F: int, D: int) -> np.ndarray:
    """(D*F*F, D, F, F): filters that make maps of the values of a window, those of a map side by side."""
    return np.eye(D * F * F, dtype=np.float32).reshape(D * F * F, D, F, F)


LOCAL = ("Reshape", "Transpose", "MatMul", "Transpose", "Reshape", "Conv")
"""What comes before the biases of filters of their own, from the last on."""


def _local(importer: Importer, node: Node) -> Value | None:
    """Windows as maps, a product with filters (positions, D*F*F, K) for each position, and biases (K, H2, W2)."""
    chain, name = [], node.input(0)
    for op in LOCAL:
        found = importer.maker(name, op)
        if found is None:
            return None
        chain.append(found)
        name = found.input(0)
    product, conv = chain[2], chain[-1]
    arrays = {"w": product.input(1), "b": node.input(1), "windows": conv.input(1)}
    if any(array not in importer.constants for array in arrays.values()):
        return None
    entry = importer.growing.entries[importer.values[conv.outputs[0]].number]
    if not isinstance(entry.layer, Conv):
        return None
    value = importer.held(conv.input(0))
    w, b, windows = (importer.constants[array] for array in arrays.values())
    layer = _of_positions(entry.layer, value.known, importer.values[conv.outputs[0]].known, w, b)
    F, D = pair(entry.layer.F)[0], value.known.D
    if layer is None or windows.size != D**2 * F**4 or not np.array_equal(windows, windows_as_maps(F, D)):
        return None
    H2, W2, K = layer.output(value.known).shape
    ours = w.reshape(H2, W2, D, F, F, K).transpose(0, 1, 5, 3, 4, 2)
    given = {"w": Array(arrays["w"], ours), "b": Array(arrays["b"], b.reshape(K, H2, W2).transpose(1, 2, 0))}
    return importer.layer(node, layer, replace(value, around=NOTHING), arrays=given, axes=MAPS_FIRST)


def _of_positions(conv: Conv, volume: Volume, made: Volume, w: np.ndarray, b: np.ndarray) -> LocallyConnected | None:
    """The layer with windows as a convolution has them, and arrays of these shapes; None where there is none."""
    (F, across), (S, over), (top, _, left, _) = pair(conv.F), pair(conv.S), sides(conv.padding)
    if w.ndim != 3 or w.shape[:2] != (made.H * made.W, volume.D * F * F) or b.size != made.H * made.W * w.shape[2]:
        return None
    if (F, S, top) != (across, over, left) or (conv.groups, conv.dilation) != (1, 1):
        return None
    fits: tuple[FitPolicy, ...] = ("error", "crop", "pad")
    for fit in fits:
        layer = LocallyConnected(w.shape[2], F, S, top, fit)
        try:
            if layer.output(volume).shape[:2] == made.shape[:2]:
                return layer
        except ShapeError:
            continue
    return None
