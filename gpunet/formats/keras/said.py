"""Each layer as operations of Keras: what a `Steps` is told of it. The other direction is layers.py."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gpunet.formats.torch_module import frame
from gpunet.formats.values import Value, same
from gpunet.layers.average_pool import AdaptiveAvgPool, AvgPool, GlobalAvgPool
from gpunet.layers.batch_norm import BatchNorm
from gpunet.layers.by_map import PReLU, Scale
from gpunet.layers.conv import Conv
from gpunet.layers.dropout import Dropout
from gpunet.layers.fc import FC
from gpunet.layers.l2_pool import L2Pool
from gpunet.layers.layer import Layer
from gpunet.layers.leaky_relu import LeakyReLU
from gpunet.layers.lrn import LRN
from gpunet.layers.maps import Shuffle, Slice
from gpunet.layers.merge import Add, Concat, Maximum, Multiply
from gpunet.layers.pool import GlobalMaxPool, MaxPool
from gpunet.layers.relu import ReLU
from gpunet.layers.squash import Sigmoid, Tanh
from gpunet.layers.units import ELU, GELU, Clip, HardSigmoid, HardSwish, ReLU6, SiLU, Softplus
from gpunet.layers.window import Pool
from gpunet.net.net import Node
from gpunet.program.volume import Volume, pair, sides

if TYPE_CHECKING:
    from gpunet.formats.keras.steps import Steps

Saying = Callable[..., int]
"""Adds the steps of a node, given the numbers of those that it takes; returns that of its own."""


# -- windows


def _padding(layer: Conv | Pool, volume: Volume) -> str | None:
    """The word for the padding of a window, "valid" or "same"; None where it is neither."""
    around = frame(layer, volume)
    if max(around) <= 0:
        return "valid"
    windows, output = layer.window(volume), layer.output(volume)
    whole = [-(-size // window.S) for size, window in zip(volume.shape, windows, strict=False)]
    top, bottom, left, right = same(Value("", volume), windows)
    fits = tuple(max(one, 0) for one in around) == (left, right, top, bottom)
    return "same" if fits and whole == [output.H, output.W] else None


def _framed(steps: "Steps", x: int, layer: Conv | Pool, volume: Volume, value: str = "0.0") -> int:
    """What a window sees, with values around that are said."""
    left, right, top, bottom = (max(one, 0) for one in frame(layer, volume))
    pads = f"[[0, 0], [{top}, {bottom}], [{left}, {right}], [0, 0]]"
    return steps.add(f"ops.pad({{0}}, {pads}, constant_values={value})", x)


def _conv(steps: "Steps", node: Node, x: int) -> int:
    """Keras has no strides together with dilation: then every S-th output of stride 1 is taken."""
    layer, volume = node.layer, steps.net.inputs(node)[0]
    assert isinstance(layer, Conv)
    apart = layer.dilation != 1 and layer.S != 1
    padding = None if apart else _padding(layer, volume)
    if padding is None:
        left, right, top, bottom = (max(one, 0) for one in frame(layer, volume))
        x = steps.add(f"layers.ZeroPadding2D((({top}, {bottom}), ({left}, {right})))({{0}})", x)
    deep = layer.groups == volume.D > 1
    kind, count = ("DepthwiseConv2D", "") if deep else ("Conv2D", f"{layer.K}, ")
    said: dict[str, Any] = {"strides": 1 if apart else layer.S, "dilation_rate": layer.dilation}
    said |= {"depth_multiplier": layer.K // volume.D} if deep else {"groups": layer.groups}
    more = [f", {key}={value!r}" for key, value in said.items() if value != 1]
    more += [", padding='same'"] * (padding == "same") + [", use_bias=False"] * (not layer.bias)
    text = f"layers.{kind}({count}{layer.F}{''.join(more)}, name={node.name!r})({{0}})"
    made = steps.add(text, x, layer=node.name, kind="depthwise_conv2d" if deep else "conv2d")
    rows, columns = pair(layer.S)
    return steps.add(f"{{0}}[:, ::{rows}, ::{columns}]", made) if apart else made


def _max_pool(steps: "Steps", node: Node, x: int) -> int:
    layer, volume = node.layer, steps.net.inputs(node)[0]
    assert isinstance(layer, MaxPool)
    padding = _padding(layer, volume)
    if padding is None:
        x, padding = _framed(steps, x, layer, volume, "float('-inf')"), "valid"
    return steps.add(f"layers.MaxPooling2D({layer.F}, {layer.stride}, {padding!r}, name={node.name!r})({{0}})", x)


def _average(layer: Pool, name: str = "") -> str:
    said = f", name={name!r}" if name else ""
    return f"layers.AveragePooling2D({layer.F}, {layer.stride}{said})({{0}})"


def _average_pool(steps: "Steps", node: Node, x: int) -> int:
    """The sum over a window divided by how many positions count."""
    layer, volume = node.layer, steps.net.inputs(node)[0]
    assert isinstance(layer, AvgPool)
    left, right, top, bottom = frame(layer, volume)
    if max(left, right, top, bottom) <= 0:
        return steps.add(_average(layer, node.name), x)
    if layer.counts == "seen" and (left, top) == (right, bottom) and _padding(layer, volume) == "same":
        said = f"{layer.F}, {layer.stride}, 'same', name={node.name!r}"  # where sides differ, PyTorch repeats the edge
        return steps.add(f"layers.AveragePooling2D({said})({{0}})", x)
    ones = steps.add("ops.ones_like({0})", x)
    if layer.counts == "padding":  # what hangs over the padding counts for nothing
        _, below, _, behind = sides(layer.P)
        across, down = max(min(right, behind), 0), max(min(bottom, below), 0)
        pads = f"[[0, 0], [{max(top, 0)}, {down}], [{max(left, 0)}, {across}], [0, 0]]"
        ones = steps.add(f"ops.pad({{0}}, {pads}, constant_values=1.0)", ones)
        pads = f"[[0, 0], [0, {max(bottom - down, 0)}], [0, {max(right - across, 0)}], [0, 0]]"
        ones = steps.add(f"ops.pad({{0}}, {pads})", ones)
    else:
        ones = _framed(steps, ones, layer, volume)
    both = (steps.add(_average(layer), one) for one in (_framed(steps, x, layer, volume), ones))
    return steps.add("{0} / {1}", *both)


def _l2_pool(steps: "Steps", node: Node, x: int) -> int:
    layer, volume = node.layer, steps.net.inputs(node)[0]
    assert isinstance(layer, L2Pool)
    rows, columns = pair(layer.F)
    squares = _framed(steps, steps.add("ops.square({0})", x), layer, volume)
    return steps.add("ops.sqrt({0})", steps.add(f"{{0}} * {rows * columns}.0", steps.add(_average(layer), squares)))


def _adaptive(steps: "Steps", node: Node, x: int) -> int:
    """Parts of one size are windows; others are cut out, averaged and put together again."""
    layer, volume = node.layer, steps.net.inputs(node)[0]
    assert isinstance(layer, AdaptiveAvgPool)
    if size := layer.even(volume):
        return steps.add(f"layers.AveragePooling2D({size}, name={node.name!r})({{0}})", x)
    for axis, (extent, count) in enumerate(zip(volume.shape, pair(layer.K), strict=False), 1):
        ends = [(i * extent // count, -(-(i + 1) * extent // count)) for i in range(count)]
        cuts = [f"[:, {first}:{last}]" if axis == 1 else f"[:, :, {first}:{last}]" for first, last in ends]
        parts = [steps.add(f"ops.mean({{0}}, {axis}, keepdims=True)", steps.add(f"{{0}}{cut}", x)) for cut in cuts]
        if len(parts) > 1:
            x = steps.add(f"layers.Concatenate({axis})([{_all(parts)}])", *parts)
        else:
            (x,) = parts
    return x


# -- others


def _fc(steps: "Steps", node: Node, x: int) -> int:
    layer = node.layer
    assert isinstance(layer, FC)
    more = "" if layer.bias else ", use_bias=False"
    text = f"layers.Dense({layer.K}{more}, name={node.name!r})({{0}})"
    return steps.add(text, steps.as_vector(x), layer=node.name, kind="dense")


def _batch_norm(steps: "Steps", node: Node, x: int) -> int:
    layer = node.layer
    assert isinstance(layer, BatchNorm)
    said = f"momentum={1 - layer.momentum!r}, epsilon={layer.eps!r}, name={node.name!r}"
    return steps.add(f"layers.BatchNormalization({said})({{0}})", x, layer=node.name, kind="batch_normalization")


def _prelu(steps: "Steps", node: Node, x: int) -> int:
    layer = node.layer
    assert isinstance(layer, PReLU)
    axes = [1, 2, 3] if layer.shared else [1, 2]
    return steps.add(f"layers.PReLU(shared_axes={axes}, name={node.name!r})({{0}})", x, layer=node.name, kind="p_re_lu")


def _scale(steps: "Steps", node: Node, x: int) -> int:
    """A depthwise convolution of 1x1."""
    layer = node.layer
    assert isinstance(layer, Scale)
    more = "" if layer.bias else ", use_bias=False"
    text = f"layers.DepthwiseConv2D(1{more}, name={node.name!r})({{0}})"
    return steps.add(text, x, layer=node.name, kind="depthwise_conv2d")


def _lrn(steps: "Steps", node: Node, x: int) -> int:
    layer, volume = node.layer, steps.net.inputs(node)[0]
    assert isinstance(layer, LRN)
    before = layer.n // 2
    squares = steps.add("ops.square({0})", x)
    if layer.over == "maps":
        padded = steps.add(f"ops.pad({{0}}, [[0, 0], [0, 0], [0, 0], [{before}, {before}]])", squares)
        cuts = [steps.add(f"{{0}}[..., {i}:{i + volume.D}]", padded) for i in range(layer.n)]
        total = cuts[0] if len(cuts) == 1 else steps.add(f"layers.Add()([{_all(cuts)}])", *cuts)
    else:
        around = f"[{before}, {before}]"
        padded = steps.add(f"ops.pad({{0}}, [[0, 0], {around}, {around}, [0, 0]])", squares)
        means = steps.add(f"layers.AveragePooling2D({layer.n}, 1)({{0}})", padded)
        total = steps.add(f"{{0}} * {layer.n**2}.0", means)
    shifted = steps.add(f"{{0}} + {layer.k!r}", steps.add(f"{{0}} * {layer.alpha!r}", total))
    return steps.add("{0} / {1}", x, steps.add(f"ops.power({{0}}, {layer.beta!r})", shifted))


def _dropout(steps: "Steps", node: Node, x: int) -> int:
    layer = node.layer
    assert isinstance(layer, Dropout)
    kind = "SpatialDropout2D" if layer.of == "maps" else "Dropout"
    more = ", noise_shape=(None, 1, 1, 1)" if layer.of == "images" else ""
    return steps.add(f"layers.{kind}({layer.p!r}{more}, name={node.name!r})({{0}})", x)


def _add(steps: "Steps", node: Node, *xs: int) -> int:
    layer = node.layer
    assert isinstance(layer, Add)
    factors = layer.coefficients or (1.0,) * len(xs)
    scaled = [x if c == 1 else steps.add(f"{{0}} * {c!r}", x) for x, c in zip(xs, factors, strict=True)]
    return steps.add(f"layers.Add(name={node.name!r})([{_all(scaled)}])", *scaled)


def _merge(kind: str) -> Saying:
    def saying(steps: "Steps", node: Node, *xs: int) -> int:
        return steps.add(f"layers.{kind}(name={node.name!r})([{_all(list(xs))}])", *xs)

    return saying


def _slice(steps: "Steps", node: Node, x: int) -> int:
    layer = node.layer
    assert isinstance(layer, Slice)
    return steps.add(f"{{0}}[..., {layer.first}:{layer.last or ''}]", x)


def _shuffle(steps: "Steps", node: Node, x: int) -> int:
    layer, volume = node.layer, steps.net.inputs(node)[0]
    assert isinstance(layer, Shuffle)
    H, W, D = volume.shape
    x = steps.add(f"layers.Reshape(({H}, {W}, {layer.groups}, {D // layer.groups}))({{0}})", x)
    return steps.add(f"layers.Reshape(({H}, {W}, {D}))({{0}})", steps.add("layers.Permute((1, 2, 4, 3))({0})", x))


def _all(xs: list[int]) -> str:
    return ", ".join(f"{{{number}}}" for number in range(len(xs)))


def _layer(kind: str, say: Callable[[Any], str] = lambda layer: "") -> Saying:
    """A layer of one input, and what stands in front of its name."""

    def saying(steps: "Steps", node: Node, x: int) -> int:
        said = ", ".join([*filter(None, [say(node.layer)]), f"name={node.name!r}"])
        return steps.add(f"layers.{kind}({said})({{0}})", x)

    return saying


def _activation(word: str) -> Saying:
    return _layer("Activation", lambda layer: repr(word))


def _function(say: Callable[[Any], str]) -> Saying:
    """A function of {0}."""
    return lambda steps, node, x: steps.add(say(node.layer), x)


SAYINGS: dict[type[Layer], Saying] = {
    AdaptiveAvgPool: _adaptive,
    Add: _add,
    AvgPool: _average_pool,
    BatchNorm: _batch_norm,
    Clip: _function(lambda layer: f"ops.clip({{0}}, {layer.low!r}, {layer.high!r})"),
    Concat: _merge("Concatenate"),
    Conv: _conv,
    Dropout: _dropout,
    ELU: _layer("ELU", lambda layer: f"{layer.alpha!r}"),
    FC: _fc,
    GELU: _function(lambda layer: f"ops.gelu({{0}}, approximate={layer.approximate == 'tanh'})"),
    GlobalAvgPool: _layer("GlobalAveragePooling2D", lambda layer: "keepdims=True"),
    GlobalMaxPool: _layer("GlobalMaxPooling2D", lambda layer: "keepdims=True"),
    HardSigmoid: _activation("hard_sigmoid"),
    HardSwish: _activation("hard_swish"),
    L2Pool: _l2_pool,
    LRN: _lrn,
    LeakyReLU: _layer("LeakyReLU", lambda layer: f"{layer.alpha!r}"),
    MaxPool: _max_pool,
    Maximum: _merge("Maximum"),
    Multiply: _merge("Multiply"),
    PReLU: _prelu,
    ReLU: _layer("ReLU"),
    ReLU6: _layer("ReLU", lambda layer: "6.0"),
    Scale: _scale,
    Shuffle: _shuffle,
    SiLU: _activation("silu"),
    Sigmoid: _activation("sigmoid"),
    Slice: _slice,
    Softplus: _activation("softplus"),
    Tanh: _activation("tanh"),
}
"""By layer type."""
