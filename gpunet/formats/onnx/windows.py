"""Nodes whose windows slide: convolutions, pools, and what is put around volumes for them."""

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np

from gpunet.formats.layout import TORCH
from gpunet.formats.onnx.axes import MAPS_FIRST, Axes, significant
from gpunet.formats.onnx.file import Node
from gpunet.formats.onnx.growing import Array
from gpunet.formats.onnx.importing import NOTHING, Cannot, Importer, Rules, Sides, Value
from gpunet.layers.average_pool import AvgPool, GlobalAvgPool
from gpunet.layers.conv import Conv
from gpunet.layers.l2_pool import L2Pool
from gpunet.layers.layer import Layer, squared
from gpunet.layers.pool import GlobalMaxPool, MaxPool
from gpunet.layers.relu import ReLU
from gpunet.layers.squash import Sigmoid
from gpunet.layers.units import HardSigmoid, ReLU6
from gpunet.program.volume import Pair, Volume, fits, pair, windows

NEVER_BELOW_0 = (ReLU, ReLU6, Sigmoid, HardSigmoid)
MOST_OF_A_POOL = 255
"""What a pooling window may have."""


def _conv(importer: Importer, node: Node) -> list[Value]:
    value = importer.held(node.input(0))
    if value.fill != 0:
        raise Cannot(f"around what it takes there is {value.fill:g}, not 0")
    weights = importer.constant(node.input(1), "weights")
    if weights.ndim != 4:
        raise Cannot(f"its filters have {weights.ndim - 2} axes, and here two")
    groups, volume = node.integer("group", 1), value.known
    if weights.shape[1] * groups != volume.D:
        raise Cannot(f"its filters are for {weights.shape[1] * groups:,} maps, and it takes {volume.D:,}")
    rows, columns = weights.shape[2:]
    dilation = squared(*(node.integers("dilations") or (1, 1)))
    F, S = squared(rows, columns), squared(*_strides(node))
    P = _sides(value.around, _pads(node, value, F, S, dilation))
    arrays = {"w": Array(node.input(1), weights, TORCH)}
    if node.input(2):
        arrays["b"] = Array(node.input(2), importer.constant(node.input(2), "biases"))
    layer = Conv(len(weights), F, S, P, dilation, groups, "b" in arrays)
    return [importer.layer(node, _ending(layer, volume, ceil=False), _bare(value), arrays=arrays, axes=MAPS_FIRST)]


def _max_pool(importer: Importer, node: Node) -> list[Value]:
    if len([name for name in node.outputs if name]) > 1:
        raise Cannot("it gives the places of maxima, too")
    value = importer.held(node.input(0))
    if value.around != NOTHING and value.fill > -1e30:
        entry = importer.growing.entries[value.number]
        if value.fill != 0 or not isinstance(entry.layer, NEVER_BELOW_0):
            raise Cannot(f"around what it takes there is {value.fill:g}, which may be the maximum")
    F, S, P, ceil = _windows(node, value)
    if _is_whole(F, P, value):
        return [importer.layer(node, GlobalMaxPool(), _bare(value), axes=MAPS_FIRST)]
    layer = MaxPool(F, S, P)
    return [importer.layer(node, _ending(layer, value.known, ceil=ceil), _bare(value), axes=MAPS_FIRST)]


def _average_pool(importer: Importer, node: Node) -> list[Value]:
    value = importer.held(node.input(0))
    counted = bool(node.integer("count_include_pad", 0))
    F, S, P, ceil = _windows(node, value)
    if value.around != NOTHING:
        if value.fill != 0:
            raise Cannot(f"around what it takes there is {value.fill:g}, not 0")
        if not counted and value.around != P:
            P, ceil = value.around, _only_hangs_over(value, F, S, _pads(node, value, F, S))
        counted = True
    if _is_whole(F, P, value):
        return [importer.layer(node, GlobalAvgPool(), _bare(value), axes=MAPS_FIRST)]
    layer = AvgPool(F, S, P, counts="padding" if counted and P != NOTHING else "seen")
    return [importer.layer(node, _ending(layer, value.known, ceil=ceil), _bare(value), axes=MAPS_FIRST)]


def _lp_pool(importer: Importer, node: Node) -> list[Value]:
    value = importer.held(node.input(0))
    if node.number("p", 2) != 2 or value.fill != 0:
        raise Cannot(f"p={node.number('p', 2):g}: here the lengths of windows are those of p=2, with 0 around")
    F, S, P, ceil = _windows(node, value)
    return [importer.layer(node, _ending(L2Pool(F, S, P), value.known, ceil=ceil), _bare(value), axes=MAPS_FIRST)]


def _only_hangs_over(value: Value, F: Pair, S: Pair, pads: Sides) -> bool:
    """Whether that padding is for the last window alone, which hangs over the edge. Raises Cannot for any other."""
    hanging = []
    for window, size in zip(windows(F, S, 0), (value.dims.H, value.dims.W), strict=True):
        hanging += [0, -(size - window.F) % window.S]
    if pads != tuple(hanging):
        raise Cannot(f"zeros around it count, and its own pads {list(pads)} do not")
    return any(hanging)


# -- all of a map


def _global(layer: Layer) -> Callable[[Importer, Node], list[Value]]:
    def rule(importer: Importer, node: Node) -> list[Value]:
        return [importer.layer(node, layer, _nothing_around(importer.held(node.input(0))), axes=MAPS_FIRST)]

    return rule


def _reduced(layer: Layer) -> Callable[[Importer, Node], list[Value]]:
    """A mean or a maximum over axes, which must be rows and columns."""

    def rule(importer: Importer, node: Node) -> list[Value]:
        value = importer.value(node.input(0))
        said = importer.argument(node, 1, "axes")
        if said is None or not said.size:
            raise Cannot("it is over all axes, those of the images, too")
        away = {int(axis) % len(value.axes) for axis in said.reshape(-1)}
        seen = "".join(value.axes[axis] for axis in sorted(away))
        if {*significant(seen, value.known)} != {*significant("HW", value.known)} or "N" in seen:
            raise Cannot(f"it is over the axes {', '.join(seen) or '1'}, and here over all rows and columns")
        keeps = node.integer("keepdims", 1)
        axes: Axes = tuple("" if place in away else letters for place, letters in enumerate(value.axes))
        kept = axes if keeps else tuple(letters for place, letters in enumerate(axes) if place not in away)
        if not significant("HW", value.known):
            return [importer.same(value, kept)]
        return [importer.layer(node, layer, value, axes=kept)]

    return rule


# -- around


def _pad(importer: Importer, node: Node) -> list[Value]:
    value = importer.padded(node.input(0))
    amounts = importer.argument(node, 1, "pads" if "paddings" not in node.attributes else "paddings")
    fill = importer.argument(node, 2, "value")
    assert amounts is not None
    places = [int(axis) for axis in np.ravel(importer.constant(node.input(3), "axes"))] if node.input(3) else None
    numbers = [int(number) for number in np.ravel(amounts)]
    if not any(numbers):
        return [value]
    mode = node.text("mode", "constant")
    if mode != "constant":
        raise Cannot(f"mode={mode}: here there are zeros around a volume, or nothing")
    return [_padded(value, numbers, places, 0.0 if fill is None else float(np.ravel(fill)[0]))]


def _padded(value: Value, amounts: list[int], places: list[int] | None, fill: float) -> Value:
    """The value with so much around it: the beginnings of the axes, then the ends."""
    count = len(amounts) // 2
    around = {"H": (0, 0), "W": (0, 0)}
    for number, axis in enumerate(range(count) if places is None else places):
        pads = amounts[number], amounts[number + count]
        letters = significant(value.axes[axis], value.known) or value.axes[axis]
        if any(pads) and (letters not in ("H", "W") or min(pads) < 0):
            raise Cannot(f"pads {list(amounts)}: here zeros stand around rows and columns alone")
        if any(pads):
            around[letters] = pads
    sides = (*around["H"], *around["W"])
    if value.around != NOTHING and value.fill != fill:
        raise Cannot("two different values stand around it")
    return replace(value, around=_sides(value.around, sides), fill=fill)


# -- numbers


def _strides(node: Node) -> tuple[int, int]:
    found = node.integers("strides") or (1, 1)
    if len(found) != 2:
        raise Cannot(f"it has {len(found)} strides, and here two")
    return found[0], found[1]


def _windows(node: Node, value: Value) -> tuple[Pair, Pair, Sides, bool]:
    """Extent, stride and padding of a pool, what is around included; and whether the last window may hang over."""
    F = node.integers("kernel_shape") or ()
    if len(F) != 2:
        raise Cannot(f"its windows have {len(F)} axes, and here two")
    if {*(node.integers("dilations") or (1,))} != {1}:
        raise Cannot(f"dilations {list(node.integers('dilations') or ())}: here the windows of pools have no gaps")
    sizes, strides = squared(*F), squared(*_strides(node))
    pads = _pads(node, value, sizes, strides)
    return sizes, strides, _sides(value.around, pads), bool(node.integer("ceil_mode", 0))


def _pads(node: Node, value: Value, F: Pair, S: Pair, dilation: Pair = 1) -> Sides:
    """Top, bottom, left, right of a window's own padding."""
    way = node.text("auto_pad", "NOTSET")
    if way in ("NOTSET", ""):
        top, left, bottom, right = node.integers("pads") or NOTHING
        return top, bottom, left, right
    if way == "VALID":
        return NOTHING
    if way not in ("SAME_UPPER", "SAME_LOWER"):
        raise Cannot(f"auto_pad={way} is not known")
    found: list[int] = []
    for window, size in zip(windows(F, S, 0, dilation), (value.dims.H, value.dims.W), strict=True):
        total = max((-(-size // window.S) - 1) * window.S + window.extent - size, 0)
        found += sorted((total // 2, total - total // 2), reverse=way == "SAME_LOWER")
    return cast("Sides", tuple(found))


def _sides(one: Sides, other: Sides) -> Sides:
    return cast("Sides", tuple(a + b for a, b in zip(one, other, strict=True)))


def _bare(value: Value) -> Value:
    """The value without what is around it, which the layer has as its padding."""
    return replace(value, around=NOTHING, fill=0.0)


def _nothing_around(value: Value) -> Value:
    if value.around != NOTHING:
        raise Cannot("what it takes has something around it")
    return value


def _is_whole(F: Pair, P: Sides, value: Value) -> bool:
    """Whether a window sees all of a map, and is larger than those of pools may be."""
    whole = pair(F) == value.known.shape[:2] and P == NOTHING
    return whole and max(pair(F)) > MOST_OF_A_POOL


def _ending(layer: Layer, volume: Volume, *, ceil: bool) -> Layer:
    """The layer, with what it does at the edge where its windows do not end there."""
    axes = zip(layer.window(volume), volume.shape[:2], strict=True)
    if all(fits(window, size) for window, size in axes):
        return layer
    return replace(layer, fit="pad" if ceil else "crop")  # type: ignore[call-arg]


RULES: Rules = {
    "AveragePool": _average_pool,
    "Conv": _conv,
    "GlobalAveragePool": _global(GlobalAvgPool()),
    "GlobalMaxPool": _global(GlobalMaxPool()),
    "LpPool": _lp_pool,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "ReduceMax": _reduced(GlobalMaxPool()),
    "ReduceMean": _reduced(GlobalAvgPool()),
}
