"""How each layer is said in ONNX: by a node where there is one for it, else by a few, the last called as the layer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import pi, sqrt
from typing import Any

import numpy as np

from gpunet.formats.layout import TORCH, Place
from gpunet.formats.onnx.patterns import parts_of, windows_as_maps
from gpunet.formats.onnx.units import PLAIN, SLOPED
from gpunet.formats.onnx.writing import Graph
from gpunet.layers.average_pool import AdaptiveAvgPool, AvgPool, GlobalAvgPool
from gpunet.layers.batch_norm import BatchNorm
from gpunet.layers.by_map import PReLU, Scale
from gpunet.layers.conv import Conv
from gpunet.layers.dropout import Dropout
from gpunet.layers.fc import FC
from gpunet.layers.l2_pool import L2Pool
from gpunet.layers.layer import Layer
from gpunet.layers.local import LocallyConnected
from gpunet.layers.lrn import LRN
from gpunet.layers.maps import Shuffle, Slice
from gpunet.layers.merge import Add, Concat, Maximum, Multiply
from gpunet.layers.pool import GlobalMaxPool, MaxPool
from gpunet.layers.units import GELU, Clip, HardSigmoid, ReLU6, SiLU
from gpunet.layers.window import Pool
from gpunet.program.volume import pair, sides


@dataclass(frozen=True)
class Saying:
    """A layer to be said: the values that it takes, their volumes, and its arrays by parameter."""

    graph: Graph
    name: str
    layer: Any
    inputs: tuple[str, ...]
    volumes: tuple[Any, ...]
    arrays: Mapping[str, np.ndarray]

    @property
    def x(self) -> str:
        """The first of the values."""
        return self.inputs[0]

    def node(self, op: str, *inputs: str, **attributes: Any) -> None:
        """The node that the layer is called by."""
        self.graph.node(op, self.name, inputs, **attributes)

    def part(self, op: str, of: str, *inputs: str, **attributes: Any) -> str:
        """A node before it."""
        return self.graph.node(op, f"{self.name}/{of}", inputs, **attributes)

    def number(self, of: str, value: float) -> str:
        return self.graph.number(f"{self.name}/{of}", value)

    def integers(self, of: str, *values: int) -> str:
        return self.graph.integers(f"{self.name}/{of}", *values)

    def array(self, parameter: str, shape: tuple[int, ...] | None = None) -> str:
        """A parameter in float32, laid out as ONNX has it, perhaps in another shape."""
        values = np.asarray(self.arrays[parameter], np.float32)
        laid = Place(self.layer, parameter, values.shape, self.volumes[0]).given(values, TORCH)
        return self.graph.weights(f"{self.name}.{parameter}", laid if shape is None else laid.reshape(shape))

    @property
    def pads(self) -> tuple[int, ...]:
        """The padding with which windows end where those of the layer do: rows and columns before, then behind."""
        (volume,), output = self.volumes, self.layer.output(*self.volumes)
        down, across = self.layer.window(volume)
        behind = [
            max(0, window.after - window.left_over(size, outputs))
            for window, size, outputs in ((down, volume.H, output.H), (across, volume.W, output.W))
        ]
        return down.before, across.before, *behind


def _conv(say: Saying) -> None:
    layer: Conv = say.layer
    arrays = [say.array(parameter) for parameter in say.arrays]
    numbers = {"kernel_shape": pair(layer.F), "strides": pair(layer.S), "dilations": pair(layer.dilation)}
    say.node("Conv", say.x, *arrays, **numbers, group=layer.groups, pads=say.pads)


def _fc(say: Saying) -> None:
    arrays = [say.array(parameter) for parameter in say.arrays]
    say.node("Gemm", say.part("Flatten", "flat", say.x, axis=1), *arrays, transB=1)


def _local(say: Saying) -> None:
    """Windows as maps, a product with the filters of each position, and biases of their own."""
    layer: LocallyConnected = say.layer
    (volume,), (H2, W2, K) = say.volumes, layer.output(*say.volumes).shape
    F, S, D = layer.F, layer.S, volume.D
    one_hot = say.graph.constant(f"{say.name}/windows/one_hot", windows_as_maps(F, D))
    windows = say.part("Conv", "windows", say.x, one_hot, kernel_shape=(F, F), strides=(S, S), pads=say.pads)
    rows = say.part("Reshape", "rows", windows, say.integers("rows/shape", 0, D * F * F, H2 * W2))
    w = np.asarray(say.arrays["w"], np.float32).transpose(0, 1, 5, 3, 4, 2).reshape(H2 * W2, D * F * F, K)
    b = np.asarray(say.arrays["b"], np.float32).transpose(2, 0, 1)
    filters = say.graph.weights(f"{say.name}.w", np.ascontiguousarray(w))
    product = say.part("MatMul", "product", say.part("Transpose", "positions", rows, perm=(2, 0, 1)), filters)
    back = say.part("Transpose", "maps", product, perm=(1, 2, 0))
    shaped = say.part("Reshape", "volume", back, say.integers("volume/shape", 0, K, H2, W2))
    say.node("Add", shaped, say.graph.weights(f"{say.name}.b", np.ascontiguousarray(b)))


# -- pools


def _numbers(layer: Pool) -> dict[str, Any]:
    return {"kernel_shape": pair(layer.F), "strides": pair(layer.stride)}


def _max_pool(say: Saying) -> None:
    say.node("MaxPool", say.x, **_numbers(say.layer), pads=say.pads)


def _l2_pool(say: Saying) -> None:
    say.node("LpPool", say.x, **_numbers(say.layer), pads=say.pads, p=2)


def _average_pool(say: Saying) -> None:
    """Padding that counts is put around first where windows hang over it: what hangs over does not count."""
    layer: AvgPool = say.layer
    top, bottom, left, right = sides(layer.P)
    before, pads = (top, left, bottom, right), say.pads
    over = [max(0, pad - own) for pad, own in zip(pads, before, strict=True)]
    if layer.counts == "seen" or not any(over):
        counted = int(layer.counts == "padding" and layer.P != 0)
        say.node("AveragePool", say.x, **_numbers(layer), pads=pads, count_include_pad=counted)
        return
    around = say.integers("padded/pads", 0, 0, top, left, 0, 0, bottom, right)
    padded = say.part("Pad", "padded", say.x, around)
    say.node("AveragePool", padded, **_numbers(layer), pads=tuple(over), count_include_pad=0)


def _adaptive(say: Saying) -> None:
    """Windows side by side where the parts are equal, else matrices that average rows and columns."""
    layer: AdaptiveAvgPool = say.layer
    (volume,) = say.volumes
    if size := layer.even(volume):
        say.node("AveragePool", say.x, kernel_shape=pair(size), strides=pair(size))
        return
    rows, columns = (parts_of(size, K) for size, K in zip(volume.shape, pair(layer.K), strict=False))
    across = say.graph.constant(f"{say.name}/columns/parts", np.ascontiguousarray(columns.T))
    down = say.graph.constant(f"{say.name}/rows/parts", rows)
    say.node("MatMul", down, say.part("MatMul", "columns", say.x, across))


# -- norms, and what is done by map


def _batch_norm(say: Saying) -> None:
    layer: BatchNorm = say.layer
    arrays = [say.array(parameter) for parameter in ("scale", "shift", "mean", "variance")]
    say.node("BatchNormalization", say.x, *arrays, epsilon=float(layer.eps), momentum=float(1 - layer.momentum))


def _lrn(say: Saying) -> None:
    """Alpha there is shared among the neighbours. Within a map it is taken apart."""
    layer: LRN = say.layer
    numbers = {"alpha": float(layer.alpha * layer.n), "beta": float(layer.beta), "bias": float(layer.k)}
    if layer.over == "maps":
        say.node("LRN", say.x, size=layer.n, **numbers)
        return
    window: dict[str, Any] = {"kernel_shape": (layer.n,) * 2, "strides": (1, 1), "pads": (layer.n // 2,) * 4}
    squares = say.part("Mul", "squares", say.x, say.x)
    average = say.part("AveragePool", "average", squares, **window, count_include_pad=1)
    shared = say.part("Mul", "shared", average, say.number("alpha", layer.alpha * layer.n**2))
    base = say.part("Add", "base", shared, say.number("k", layer.k))
    say.node("Div", say.x, say.part("Pow", "power", base, say.number("beta", layer.beta)))


def _prelu(say: Saying) -> None:
    layer: PReLU = say.layer
    say.node("PRelu", say.x, say.array("a", None if layer.shared else (-1, 1, 1)))


def _scale(say: Saying) -> None:
    scale = say.array("scale", (-1, 1, 1))
    if "shift" not in say.arrays:
        say.node("Mul", say.x, scale)
        return
    say.node("Add", say.part("Mul", "scaled", say.x, scale), say.array("shift", (-1, 1, 1)))


def _slice(say: Saying) -> None:
    layer: Slice = say.layer
    last = say.volumes[0].D if layer.last is None else layer.last
    bounds = [say.integers(of, value) for of, value in (("first", layer.first), ("last", last), ("axis", 1))]
    say.node("Slice", say.x, *bounds)


def _shuffle(say: Saying) -> None:
    groups, volume = say.layer.groups, say.volumes[0]
    sizes = groups, volume.D // groups, volume.H, volume.W
    parted = say.part("Reshape", "groups", say.x, say.integers("groups/shape", 0, *sizes))
    dealt = say.part("Transpose", "dealt", parted, perm=(0, 2, 1, 3, 4))
    say.node("Reshape", dealt, say.integers("shape", 0, volume.D, volume.H, volume.W))


def _dropout(say: Saying) -> None:
    """Of whole maps or images there is none there; where scores are made, all of them change nothing."""
    if say.layer.of == "values":
        say.node("Dropout", say.x, say.number("ratio", say.layer.p))
    else:
        say.node("Identity", say.x)


# -- units


def _clip(say: Saying) -> None:
    low, high = (0.0, 6.0) if isinstance(say.layer, ReLU6) else (say.layer.low, say.layer.high)
    say.node("Clip", say.x, say.number("min", low), say.number("max", high))


def _hard_sigmoid(say: Saying) -> None:
    say.node("HardSigmoid", say.x, alpha=1 / 6, beta=0.5)


def _silu(say: Saying) -> None:
    say.node("Mul", say.x, say.part("Sigmoid", "sigmoid", say.x))


def _gelu(say: Saying) -> None:
    if say.layer.approximate == "none":
        inner = say.part("Erf", "erf", say.part("Div", "scaled", say.x, say.number("root2", sqrt(2))))
    else:
        cube = say.part("Pow", "cube", say.x, say.number("three", 3))
        added = say.part("Add", "sum", say.x, say.part("Mul", "part", cube, say.number("factor", 0.044715)))
        inner = say.part("Tanh", "tanh", say.part("Mul", "scaled", added, say.number("root", sqrt(2 / pi))))
    gate = say.part("Mul", "twice", say.x, say.part("Add", "gate", inner, say.number("one", 1)))
    say.node("Mul", gate, say.number("half", 0.5))


# -- merges


def _add(say: Saying) -> None:
    layer: Add = say.layer
    terms = []
    for place, (x, factor) in enumerate(
        zip(say.inputs, layer.coefficients or (1.0,) * len(say.inputs), strict=True), 1
    ):
        if factor == 1:
            terms.append(x)
        else:
            terms.append(say.part("Mul", f"term{place}", x, say.number(f"term{place}/factor", factor)))
    say.node("Add" if len(terms) == 2 else "Sum", *terms)


def _multiply(say: Saying) -> None:
    left, *others, last = say.inputs
    for place, x in enumerate(others, 2):
        left = say.part("Mul", f"product{place}", left, x)
    say.node("Mul", left, last)


def _of(op: str, **attributes: Any) -> Callable[[Saying], None]:
    """One node of this op over all that the layer takes."""
    return lambda say: say.node(op, *say.inputs, **attributes)


def _sloped(op: str) -> Callable[[Saying], None]:
    return lambda say: say.node(op, say.x, alpha=float(say.layer.alpha))


SAYINGS: dict[type[Layer], Callable[[Saying], None]] = {
    **{layer: _of(op) for op, layer in PLAIN.items()},
    **{layer: _sloped(op) for op, (layer, _) in SLOPED.items()},
    AdaptiveAvgPool: _adaptive,
    Add: _add,
    AvgPool: _average_pool,
    BatchNorm: _batch_norm,
    Clip: _clip,
    Concat: _of("Concat", axis=1),
    Conv: _conv,
    Dropout: _dropout,
    FC: _fc,
    GELU: _gelu,
    GlobalAvgPool: _of("GlobalAveragePool"),
    GlobalMaxPool: _of("GlobalMaxPool"),
    HardSigmoid: _hard_sigmoid,
    L2Pool: _l2_pool,
    LRN: _lrn,
    LocallyConnected: _local,
    MaxPool: _max_pool,
    Maximum: _of("Max"),
    Multiply: _multiply,
    PReLU: _prelu,
    ReLU6: _clip,
    Scale: _scale,
    Shuffle: _shuffle,
    SiLU: _silu,
    Slice: _slice,
}
"""By the type of the layer."""
