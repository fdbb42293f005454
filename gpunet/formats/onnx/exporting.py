"""From a net and its weights to an ONNX file: a node a layer, called as the layer, for all that ONNX has a node for."""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from gpunet.errors import ConfigError
from gpunet.formats.halves import FileType
from gpunet.formats.onnx.said import SAYINGS, Saying
from gpunet.formats.onnx.schema import CLASSES, ENTERS, WHITE
from gpunet.formats.onnx.writing import BATCH, MOST_BYTES, Graph, Sizes
from gpunet.formats.protobuf import Bytes
from gpunet.layers.dropout import Dropout
from gpunet.layers.elementwise import Elementwise
from gpunet.layers.fc import FC
from gpunet.net.graph import INPUT
from gpunet.net.net import Net, Node

IMAGES, SCORES = "images", "scores"
"""What the file calls its input and its output, unless layers are called so."""


def onnx_file(
    net: Net,
    weights: Mapping[str, np.ndarray],
    classes: Sequence[str] = (),
    *,
    pixels: bool = False,
    white: int = 255,
    dtype: FileType = "float32",
) -> list[Bytes]:
    """The bytes of the file, in pieces.

    Images go in as float32 (N, D, H, W), as they enter the net; scores come out, (N, classes).

    `pixels`  whether images go in as uint8 (N, H, W, D), as large as the net takes them, and are prepared within

    `white`   the value of white in images of bytes, which the file says where it is not 255

    `dtype`   of the weights; of halves they become float32 where they are read

    Raises ConfigError, naming all layers that ONNX cannot say, or where the file would be too large for the format.
    """
    missing = [f"{node.name} ({node.layer.word})" for node in net.trunk if type(node.layer) not in SAYINGS]
    if missing:
        raise ConfigError(f"{net.name} has layers that are not said in ONNX here: {', '.join(missing)}")
    names = {node.name for node in net.trunk}
    images, scores = (name if name not in names else f"/{name}" for name in (IMAGES, SCORES))
    graph, about = Graph(dtype=dtype), {CLASSES: json.dumps(list(classes))} if classes else {}
    about |= {} if white == 255 else {WHITE: str(white)}
    first = _prepare(graph, net, images) if pixels else images
    last = _layers(graph, net, weights, first)
    _score(graph, net, last, scores)
    image, volume = net.image, net.input
    slot: tuple[str, type, Sizes] = (images, np.uint8, (BATCH, image.H, image.W, image.D))
    if not pixels:
        slot = (images, np.float32, (BATCH, volume.D, volume.H, volume.W))
        about[ENTERS] = json.dumps(_entry(net))
    pieces = graph.file(net.name or "net", slot, (scores, (BATCH, net.classes)), about)
    if (size := sum(memoryview(piece).nbytes for piece in pieces)) > MOST_BYTES:
        raise ConfigError(f"{net.name} would take {size:,} bytes, and an ONNX file has {MOST_BYTES:,} at most")
    return pieces


def _layers(graph: Graph, net: Net, weights: Mapping[str, np.ndarray], first: str) -> str:
    """Say all layers; the name of the last value."""
    values, flat = {INPUT: first}, {INPUT: False}
    for node in net.trunk:
        flat[node.name] = isinstance(node.layer, FC) or (_either(node) and flat[node.inputs[0]])
        inputs = []
        for place, name in enumerate(node.inputs):
            as_maps = flat[name] and not _either(node) and not isinstance(node.layer, FC)
            inputs.append(_as_maps(graph, node, place, values[name]) if as_maps else values[name])
        arrays = {one.name: weights[f"{node.name}.{one.name}"] for one in net.weights(node)}
        SAYINGS[type(node.layer)](Saying(graph, node.name, node.layer, tuple(inputs), net.inputs(node), arrays))
        values[node.name] = node.name
        if not flat[node.name]:
            graph.maps(node.name, net.volumes[node.name])
    return values[net.trunk[-1].name]


def _either(node: Node) -> bool:
    """Whether vectors, as FC layers give them, are as good as maps to a layer."""
    return isinstance(node.layer, Elementwise | Dropout)


def _as_maps(graph: Graph, node: Node, place: int, name: str) -> str:
    """A vector as a volume of one position."""
    here = f"{node.name}/maps{place + 1}"
    return graph.node("Reshape", here, [name, graph.integers(f"{here}/shape", 0, -1, 1, 1)])


def _score(graph: Graph, net: Net, last: str, scores: str) -> None:
    """The scores of an image in a row, those of a volume in the order rows, columns, maps."""
    if net.output.H * net.output.W > 1:
        last = graph.node("Transpose", f"{scores}/last", [last], perm=(0, 2, 3, 1))
    graph.node("Flatten", scores, [last], axis=1)


# -- how images enter


def _prepare(graph: Graph, net: Net, images: str) -> str:
    """From images of bytes to what enters the net: the middle of them, each map times its scale plus its shift."""
    value = graph.node("Cast", f"{INPUT}/float", [images], to=1)
    size, input, pad = net.image, net.input, 0 if net.augment is None else net.augment.pad
    if pad:
        pads = graph.integers(f"{INPUT}/pads", 0, pad, pad, 0, 0, pad, pad, 0)
        value = graph.node("Pad", f"{INPUT}/padded", [value, pads])
    starts = [(big + 2 * pad - small) // 2 for big, small in ((size.H, input.H), (size.W, input.W))]
    if (size.H + 2 * pad, size.W + 2 * pad) != (input.H, input.W):
        ends = [start + small for start, small in zip(starts, (input.H, input.W), strict=True)]
        bounds = [
            graph.integers(f"{INPUT}/{name}", *numbers)
            for name, numbers in (("starts", starts), ("ends", ends), ("axes", [1, 2]))
        ]
        value = graph.node("Slice", f"{INPUT}/middle", [value, *bounds])
    for op, key, numbers in zip(("Mul", "Add"), ("scale", "shift"), _numbers(net), strict=True):
        constant = graph.constant(f"{INPUT}/{key}/by_map", np.array(numbers, np.float32))
        value = graph.node(op, f"{INPUT}/{key}", [value, constant])
    return graph.maps(graph.node("Transpose", f"{INPUT}/maps", [value], perm=(0, 3, 1, 2)), input)


def _numbers(net: Net) -> tuple[list[float], list[float]]:
    """A pixel p of a map enters as p*scale + shift: scales and shifts of all maps."""
    scales, shifts = [net.scale] * 3, [net.shift] * 3
    if net.augment is not None:
        scales, shifts = net.augment.normal(net.scale, net.shift)
    return tuple([*some, *[some[-1]] * net.input.D][: net.input.D] for some in (scales, shifts))  # type: ignore[return-value]


def _entry(net: Net) -> dict[str, object]:
    """What a file says of that beside, where it is not within."""
    scales, shifts = _numbers(net)
    alike = len({*scales}) == len({*shifts}) == 1
    said: dict[str, object] = {"scale": scales[:1] if alike else scales, "shift": shifts[:1] if alike else shifts}
    if net.image != net.input:
        said |= {"size": [net.image.H, net.image.W], "pad": 0 if net.augment is None else net.augment.pad}
    return said
