"""The numbers of the guided tour, made by gpunet's own ops: nothing of a lesson is drawn from memory.

Source: CS231n "Convolutional Neural Networks": the 5x5x3 demo, "Implementation as Matrix Multiplication", "Pooling".
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpunet.description.facts import fields
from gpunet.devices.cpu.pool import max_pool_backward, max_pool_forward
from gpunet.errors import ConfigError
from gpunet.layers.conv import Conv
from gpunet.live.asked import Asked, integer_in, net_of, text_in
from gpunet.program.volume import Volume
from gpunet.use.im2col import im2col

Part = dict[str, Any]

MOST_SIDE, MOST_DEPTH, MOST_FILTERS = 12, 4, 4


def lesson(asked: Asked) -> Iterator[Part]:
    """What a stop of the tour shows: `conv`, `pool` or `fields`. Raises ConfigError or ShapeError."""
    kind = text_in(asked, "lesson")
    if kind == "conv":
        yield {"stage": "conv"} | _conv(asked)
    elif kind == "pool":
        yield {"stage": "pool"} | _pool(asked)
    elif kind == "fields":
        yield {"stage": "fields"} | _fields(asked)
    else:
        raise ConfigError("there is no such lesson")


def _conv(asked: Asked) -> Part:
    """A convolution in whole numbers: x, w, b, the im2col matrix, and y as its product."""
    side, depth = _within(asked, "side", 5, MOST_SIDE), _within(asked, "depth", 3, MOST_DEPTH)
    filters, F = _within(asked, "filters", 2, MOST_FILTERS), _within(asked, "F", 3, MOST_SIDE)
    S, P = _within(asked, "S", 2, MOST_SIDE), _within(asked, "P", 1, MOST_SIDE, least=0)
    layer = Conv(filters, F=F, S=S, P=P)
    volume = layer.output(Volume(side, side, depth))
    rng = np.random.default_rng(231)
    x = rng.integers(0, 3, (side, side, depth)).astype(np.float64)
    w = rng.integers(-1, 2, (filters, F, F, depth)).astype(np.float64)
    b = np.arange(filters, dtype=np.float64)[::-1] % 2
    columns = im2col(layer, x)
    y = (columns @ w.reshape(filters, -1).T + b).reshape(volume.shape)
    return {
        "sizes": {"side": side, "depth": depth, "F": F, "S": S, "P": P, "filters": filters},
        "output": list(volume.shape),
        **{name: values.astype(int).tolist() for name, values in (("x", x), ("w", w), ("b", b), ("y", y))},
        "columns": columns.astype(int).tolist(),
    }


def _pool(asked: Asked) -> Part:
    """Max-pooling by the CPU's own op: its output, the switches, and where a gradient of ones goes."""
    side, F = _within(asked, "side", 4, MOST_SIDE), _within(asked, "F", 2, MOST_SIDE)
    S = _within(asked, "S", 2, MOST_SIDE)
    if side < F or (side - F) % S:
        raise ConfigError(f"windows of {F} at stride {S} do not fit {side}: ({side} - {F})/{S} + 1 is no whole number")
    out = (side - F) // S + 1
    x = np.random.default_rng(7).permutation(side * side).astype(np.float64).reshape(1, side, side, 1)
    y, switches = np.zeros((1, out, out, 1)), np.zeros((1, out, out, 1), np.uint8)
    max_pool_forward(x, y, switches, F=F, S=S, P=0)
    dy, dx = np.arange(1.0, out * out + 1).reshape(y.shape), np.zeros_like(x)
    max_pool_backward(dy, switches, dx, F=F, S=S, P=0)
    named = (("x", x), ("y", y), ("switches", switches), ("dy", dy), ("dx", dx))
    return {"F": F, "S": S, **{name: values[0, :, :, 0].astype(int).tolist() for name, values in named}}


def _fields(asked: Asked) -> Part:
    """Of each layer of a net: its volume, and what one of its units sees of the input."""
    net = net_of(text_in(asked, "text") or "").net
    reach = fields(net)
    rows = [
        {
            "name": node.name,
            "type": node.layer.type,
            "output": list(net.volumes[node.name].shape),
            "parameters": net.layer_parameters(node),
            "field": [{"size": axis.size, "stride": axis.stride, "start": axis.start} for axis in reach[node.name]],
        }
        for node in net.nodes
    ]
    return {"input": list(net.image.shape), "layers": rows}


def _within(asked: Asked, name: str, otherwise: int, most: int, least: int = 1) -> int:
    value = integer_in(asked, name)
    value = otherwise if value is None else value
    if not least <= value <= most:
        raise ConfigError(f"{name} is from {least} to {most} here; got {value}")
    return value
