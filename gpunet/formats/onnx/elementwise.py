"""Nodes that treat all values alike: units, scales and shifts of maps, and what joins branches."""

from collections.abc import Callable

import numpy as np

from gpunet.formats.onnx.axes import order_of
from gpunet.formats.onnx.curves import STEPS, Curve, layer_of, plain
from gpunet.formats.onnx.dense import biased
from gpunet.formats.onnx.file import Node
from gpunet.formats.onnx.growing import Array
from gpunet.formats.onnx.importing import MOST_FOLLOWED, Affine, Cannot, Importer, Rules, Value
from gpunet.formats.onnx.maps import by_map
from gpunet.formats.onnx.patterns import whole
from gpunet.formats.onnx.units import PLAIN, SLOPED
from gpunet.layers.by_map import Scale
from gpunet.layers.layer import Layer
from gpunet.layers.merge import Add, Maximum, Multiply
from gpunet.layers.relu import ReLU
from gpunet.layers.units import ELU, GELU, Clip, HardSigmoid, ReLU6, SiLU

LARGEST = float(np.finfo(np.float32).max)
"""Where a Clip has no bound."""


def _plain(importer: Importer, node: Node) -> list[Value]:
    return [_unit(importer, node, PLAIN[node.op]())]


def _swish(importer: Importer, node: Node) -> list[Value]:
    if node.number("alpha", 1) != 1:
        raise Cannot(f"alpha={node.number('alpha', 1):g}, and here it is 1")
    return [_unit(importer, node, SiLU())]


def _sloped(importer: Importer, node: Node) -> list[Value]:
    kind, default = SLOPED[node.op]
    return [_unit(importer, node, kind(plain(node.number("alpha", default))))]  # type: ignore[call-arg]


def _gelu(importer: Importer, node: Node) -> list[Value]:
    approximate = node.text("approximate", "none")
    return [_unit(importer, node, GELU(approximate))]  # type: ignore[arg-type]


def _hard_sigmoid(importer: Importer, node: Node) -> list[Value]:
    """That of alpha = 1/6 is a layer; others are a line between 0 and 1."""
    alpha, beta = plain(node.number("alpha", 0.2)), plain(node.number("beta", 0.5))
    value = importer.value(node.input(0))
    if abs(alpha * 6 - 1) < 1e-6 and beta == 0.5:
        return [_unit(importer, node, HardSigmoid(), lambda x: np.asarray(np.clip(x / 6 + 0.5, 0, 1)))]
    return [importer.layer(node, Clip(0.0, 1.0), _scaled(importer, node, value, alpha, beta))]


def _selu(importer: Importer, node: Node) -> list[Value]:
    alpha, gamma = node.number("alpha", 1.6732632), node.number("gamma", 1.0507010)
    made = importer.layer(node, ELU(plain(alpha)), importer.value(node.input(0)))
    return [_scaled(importer, node, made, plain(gamma), 0.0)]


def _clip(importer: Importer, node: Node) -> list[Value]:
    bounds = [importer.argument(node, place, name) for place, name in ((1, "min"), (2, "max"))]
    low, high = (None if bound is None else plain(float(np.ravel(bound)[0])) for bound in bounds)
    return [_clipped(importer, node, low, high)]


def _clipped(importer: Importer, node: Node, low: float | None, high: float | None) -> Value:
    low = None if low is not None and low <= -LARGEST else low
    high = None if high is not None and high >= LARGEST else high
    if low is None and high is None:
        importer.alias(node.outputs[0], node.input(0))
        return importer.value(node.input(0))
    known: dict[tuple[float | None, float | None], Layer] = {(0.0, None): ReLU(), (0.0, 6.0): ReLU6()}
    made = known.get((low, high)) or Clip(-LARGEST if low is None else low, LARGEST if high is None else high)
    return _unit(importer, node, made, lambda x: np.asarray(np.clip(x, low, high)))


def _unit(importer: Importer, node: Node, layer: Layer, step: Callable[[Curve], Curve] | None = None) -> Value:
    """A layer of a single input; what it is of the values before is followed, as it may be a part of something.

    `step`  what it does to single numbers, where its op alone does not say that
    """
    name, step = node.input(0), step or STEPS.get(node.op)
    if step is not None:
        curves = list(importer.curves.get(name, {}).items())[-MOST_FOLLOWED:]
        importer.curves[node.outputs[0]] = {base: step(curve) for base, curve in curves}
    return importer.layer(node, layer, importer.value(name))


# -- of several


def _arithmetic(importer: Importer, node: Node) -> list[Value]:
    """Sums, products and the like, of values and constants: the first of these that it is."""
    _follow(importer, node)
    if ended := whole(importer, node):
        return [ended]
    if found := _known_function(importer, node):
        return [found]
    names = [name for name in node.inputs if name not in importer.constants]
    constants = [name for name in node.inputs if name in importer.constants]
    if len(names) == 1 and len(constants) == 1:
        if node.op == "Add" and (made := biased(importer, node, names[0], constants[0])):
            return [made]
        return [_affine(importer, node, names[0], constants[0])]
    if node.op == "Neg":
        return [_affine(importer, node, names[0], "")]
    if len(names) == 1 and node.op in ("Sum", "Mean", "Max", "Min"):
        return [importer.value(names[0])]
    if constants or len(names) < 2:
        raise Cannot("there is no layer here that does it")
    return [_joined(importer, node, names)]


def _follow(importer: Importer, node: Node) -> None:
    """Keep what the output is of values before, as a function of single numbers."""
    step = STEPS.get(node.op)
    given = [importer.curves.get(name) for name in node.inputs if name not in importer.constants]
    numbers = [importer.constants[name] for name in node.inputs if name in importer.constants]
    if step is None or not given or None in given or any(values.size != 1 for values in numbers):
        return
    if isinstance(step, np.ufunc) and len(node.inputs) != step.nin:  # NumPy would write into what is one too many
        raise Cannot(f"it takes {step.nin} inputs, and there are {len(node.inputs)}")
    first, *others = (curves for curves in given if curves is not None)
    bases = [base for base in first if all(base in curves for curves in others)][-MOST_FOLLOWED:]
    made = {}
    for base in bases:
        arguments = [
            importer.constants[name].reshape(()).astype(float)
            if name in importer.constants
            else importer.curves[name][base]
            for name in node.inputs
        ]
        made[base] = np.asarray(step(*arguments))
    importer.curves[node.outputs[0]] = made


def _known_function(importer: Importer, node: Node) -> Value | None:
    """A layer of a value before, from the farthest on, where the node ends a chain that is one."""
    curves = importer.curves.get(node.outputs[0], {})
    for base in sorted(curves):
        value = importer.by_number.get(base)
        if value is not None and value.volume is not None and (layer := layer_of(curves[base])):
            return importer.layer(node, layer, value)
    return None


def _affine(importer: Importer, node: Node, name: str, constant: str) -> Value:
    """A value scaled or shifted by constants, by map or all alike, with what was done to it so before."""
    values = importer.constants[constant].astype(np.float64) if constant else np.array(-1.0)
    if values.size != 1 and not by_map(values, importer.value(name)):
        raise Cannot(f"its constant is {'x'.join(map(str, values.shape))}, and here there is a number for each map")
    numbers, first = values.reshape(-1 if values.size > 1 else ()), node.inputs[0] == name
    one, zero = np.array(1.0), np.array(0.0)
    steps = {
        "Add": (one, numbers),
        "Sub": (one, -numbers) if first else (-one, numbers),
        "Mul": (numbers, zero),
        "Neg": (numbers, zero),
        "Div": (1 / numbers, zero) if first and numbers.all() else None,
    }
    step = steps.get(node.op)
    if step is None:
        raise Cannot("there is no layer here that does it with a constant")
    scale, shift = step
    before = _goes_on(importer, node, name) or Affine(name, one, zero, shifted=False, plain=True)
    found = Affine(
        before.base,
        before.scale * scale,
        before.shift * scale + shift,
        shifted=before.shifted or node.op in ("Add", "Sub"),
        plain=before.plain and values.size == 1 and values.ndim < 2,
    )
    importer.affines[node.outputs[0]] = found
    return _scale_layer(importer, node, found)


def _goes_on(importer: Importer, node: Node, name: str) -> Affine | None:
    """What was done to a value so before, where this node goes on with it: a shift behind a scale, or anything that is
    done to images before the net begins."""
    before = importer.affines.get(name)
    if before is None or (not before.shifted and node.op in ("Add", "Sub")):
        return before
    base = importer.values.get(before.base)
    return before if base is not None and importer.is_image(base) else None


def _scale_layer(importer: Importer, node: Node, found: Affine) -> Value:
    value, label = importer.value(found.base), node.name or node.outputs[0]
    numbers = {"scale": found.scale, "shift": found.shift} if found.shifted else {"scale": found.scale}
    D = value.known.D
    arrays = {key: Array(f"{label}.{key}", np.broadcast_to(n, (D,))) for key, n in numbers.items()}
    return importer.layer(node, Scale(found.shifted), value, arrays=arrays)


def _scaled(importer: Importer, node: Node, value: Value, scale: float, shift: float) -> Value:
    """A value times a number, plus another."""
    D = value.known.D
    numbers = {"scale": scale, "shift": shift} if shift else {"scale": scale}
    arrays = {key: Array(f"{node.name}.{key}", np.broadcast_to(np.float64(n), (D,))) for key, n in numbers.items()}
    return importer.layer(node, Scale(bias="shift" in arrays), value, arrays=arrays)


def _joined(importer: Importer, node: Node, names: list[str]) -> Value:
    """What several branches give, added, multiplied, or the largest of them."""
    values = [importer.value(name) for name in names]
    if node.op == "Mul":
        values = [importer.ungated(value) for value in values]
        return importer.layer(node, Multiply(), *_alike(values), axes=_largest(values).axes)
    if node.op == "Max":
        return importer.layer(node, Maximum(), *_alike(values))
    if node.op in ("Add", "Sum", "Sub", "Mean"):
        signs = {"Sub": [1.0, -1.0], "Mean": [1 / len(names)] * len(names)}.get(node.op, [1.0] * len(names))
        values, coefficients = _with_factors(importer, names, values, signs)
        return importer.layer(node, Add(coefficients), *_alike(values))
    raise Cannot("there is no layer here that does it with two volumes")


def _with_factors(
    importer: Importer, names: list[str], values: list[Value], signs: list[float]
) -> tuple[list[Value], tuple[float, ...]]:
    """The terms of a sum without the single numbers by which they are multiplied, and these; () where all are 1."""
    terms, factors = [], []
    for name, value, sign in zip(names, values, signs, strict=True):
        found = importer.affines.get(name)
        takes = found is not None and found.plain and not found.shifted
        terms.append(importer.value(found.base) if found is not None and takes else value)
        factors.append(sign * plain(float(found.scale)) if found is not None and takes else sign)
    return terms, () if {*factors} == {1.0} else tuple(factors)


def _alike(values: list[Value]) -> list[Value]:
    """The values, whose axes must have one order."""
    orders = {order_of(value.axes, value.known) or value.axes for value in values}
    if len(orders) > 1 and len({len(order) for order in orders}) > 1:
        raise Cannot("its inputs have different axes")
    if len(orders) > 1 and any(value.known.shape[:2] != (1, 1) for value in values[1:]):
        has = "; ".join(", ".join(letters or "1" for letters in order) for order in sorted(orders))
        raise Cannot(f"its inputs have other axes than one another: {has}")
    return values


def _largest(values: list[Value]) -> Value:
    return max(values, key=lambda value: value.known.values)


def _bound(importer: Importer, node: Node) -> list[Value]:
    """The smaller, or larger, of a value and a constant; the largest of several."""
    numbers = [importer.constants[name] for name in node.inputs if name in importer.constants]
    if len(numbers) != 1 or numbers[0].size != 1 or len(node.inputs) != 2:
        return _arithmetic(importer, node)
    name = next(name for name in node.inputs if name not in importer.constants)
    number = plain(float(numbers[0].reshape(())))
    turned = Node(node.op, node.name, (name,), node.outputs, node.attributes)
    return [_clipped(importer, turned, *((number, None) if node.op == "Max" else (None, number)))]


RULES: Rules = {
    **dict.fromkeys((*STEPS, "Sum", "Mean"), _arithmetic),
    **dict.fromkeys(PLAIN, _plain),
    **dict.fromkeys(SLOPED, _sloped),
    "Clip": _clip,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "Max": _bound,
    "Min": _bound,
    "Selu": _selu,
    "Swish": _swish,
}
