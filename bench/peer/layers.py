"""The layers of gpunet as modules of PyTorch: a function for each layer type, over maps (N, D, H, W).

Where PyTorch has the layer, it is that one, as people would use it. Windows that PyTorch's own padding does not
describe (sides that differ, a last window over the edge, more padding than its pools take) get it in front.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gpunet.layers.average_pool import AdaptiveAvgPool, AvgPool, GlobalAvgPool
from gpunet.layers.batch_norm import BatchNorm
from gpunet.layers.by_map import PReLU, Scale
from gpunet.layers.conv import Conv
from gpunet.layers.dropout import Dropout
from gpunet.layers.fc import FC
from gpunet.layers.l2_pool import L2Pool
from gpunet.layers.layer import Layer
from gpunet.layers.leaky_relu import LeakyReLU
from gpunet.layers.local import LocallyConnected
from gpunet.layers.lrn import LRN
from gpunet.layers.maps import Shuffle, Slice
from gpunet.layers.merge import Add, Concat, Maximum, Multiply
from gpunet.layers.pool import GlobalMaxPool, MaxPool
from gpunet.layers.relu import ReLU
from gpunet.layers.squash import Sigmoid, Tanh
from gpunet.layers.units import ELU, GELU, Clip, HardSigmoid, HardSwish, ReLU6, SiLU, Softplus
from gpunet.layers.window import Pool
from gpunet.program.volume import Volume, pair, sides


@dataclass(frozen=True)
class Slot:
    """Where a parameter of gpunet's stands: an attribute of a module, which may hold its axes in another order.

    `axes`   of gpunet's array, each on its own; (): they are PyTorch's
    `order`  of these axes in PyTorch
    `shape`  of gpunet's array, where that joins some of its axes
    """

    module: nn.Module
    attribute: str
    axes: tuple[int, ...] = ()
    order: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()

    @property
    def tensor(self) -> Tensor:
        found: Tensor = getattr(self.module, self.attribute)
        return found

    def put(self, values: np.ndarray) -> None:
        """Copy gpunet's array into the module."""
        if self.axes:
            values = values.reshape(self.axes).transpose(self.order)
        with torch.no_grad():
            self.tensor.copy_(torch.tensor(values).reshape(self.tensor.shape))

    def taken(self, values: Tensor) -> np.ndarray:
        """What has PyTorch's axes, the tensor or its gradient, as a copy with gpunet's."""
        found = values.detach().cpu().numpy()
        if self.axes:
            found = found.reshape([self.axes[axis] for axis in self.order]).transpose(np.argsort(self.order))
        return found.reshape(self.shape or found.shape).copy()


@dataclass(frozen=True)
class Part:
    """A layer as a module that takes its inputs and gives its output; `slots`: its parameters by gpunet's names."""

    module: nn.Module
    slots: Mapping[str, Slot] = field(default_factory=dict)


def translate(layer: Layer, *inputs: Volume) -> Part:
    """The layer over these volumes. Raises NotImplementedError for one that has no peer."""
    if type(layer) not in TRANSLATORS:
        raise NotImplementedError(f"no peer for {layer}")
    return TRANSLATORS[type(layer)](layer, *inputs)


def as_maps(images: np.ndarray) -> Tensor:
    """Images (n, H, W, D) as PyTorch has them, (n, D, H, W).

    A copy whatever the strides: of one map, both orders count as contiguous, and PyTorch 2.13 convolves the second
    wrong on the CPU, in float32, with some filters.
    """
    return torch.from_numpy(images).permute(0, 3, 1, 2).clone(memory_format=torch.contiguous_format)


# -- windows --------------------------------------------------------------------------------------


def _frame(layer: Layer, volume: Volume) -> tuple[int, int, int, int]:
    """What stands around the volume for the windows of the layer to end at its edges: left, right, top, bottom.

    Below 0 on the right or at the bottom: no window looks at so many columns or rows.
    """
    output, frame = layer.output(volume), []
    down, across = layer.window(volume)
    for window, size, outputs in ((across, volume.W, output.W), (down, volume.H, output.H)):
        frame += [window.before, window.after - window.left_over(size, outputs)]
    left, right, top, bottom = frame
    return left, right, top, bottom


def _own_padding(layer: Layer, volume: Volume) -> tuple[int, int] | None:
    """The padding, along rows and columns, with which PyTorch has as many outputs; None where there is none."""
    output = layer.output(volume)
    down, across = layer.window(volume)
    for window, size, outputs in ((down, volume.H, output.H), (across, volume.W, output.W)):
        if (size + 2 * window.before - window.extent) // window.S + 1 != outputs:
            return None
    return down.before, across.before


def _conv(layer: Conv, volume: Volume) -> Part:
    own = _own_padding(layer, volume)
    numbers: dict[str, Any] = {"stride": pair(layer.S), "dilation": pair(layer.dilation), "groups": layer.groups}
    conv = nn.Conv2d(volume.D, layer.K, pair(layer.F), padding=own or 0, bias=layer.bias, **numbers)
    slots = {"w": Slot(conv, "weight", layer.weights(volume)[0].shape, (0, 3, 1, 2))}
    if layer.bias:
        slots["b"] = Slot(conv, "bias")
    return Part(conv if own else nn.Sequential(nn.ConstantPad2d(_frame(layer, volume), 0.0), conv), slots)


class _Local(nn.Module):
    """Filters for every position, as gpunet holds them: w (H2, W2, K, F, F, D) and b (H2, W2, K)."""

    def __init__(self, layer: LocallyConnected, volume: Volume) -> None:
        super().__init__()
        w, b = layer.weights(volume)
        self.w, self.b = nn.Parameter(torch.zeros(w.shape)), nn.Parameter(torch.zeros(b.shape))
        self.frame, self.S = _frame(layer, volume), layer.S

    def forward(self, x: Tensor) -> Tensor:
        H2, W2, _, F, _, D = self.w.shape
        columns = functional.unfold(functional.pad(x, self.frame), F, stride=self.S).reshape(-1, D, F, F, H2, W2)
        y = torch.einsum("ndijhw,hwkijd->nkhw", columns, self.w) + self.b.permute(2, 0, 1)
        return y.contiguous()  # PyTorch's batch normalization has wrong gradients over the strides that this may have


def _local(layer: LocallyConnected, volume: Volume) -> Part:
    module = _Local(layer, volume)
    return Part(module, {"w": Slot(module, "w"), "b": Slot(module, "b")})


def _pool_numbers(layer: Pool, volume: Volume) -> dict[str, Any] | None:
    """What PyTorch's pools call the numbers of a layer; None where padding or windows are none that they take."""
    (rows, columns), (top, bottom, left, right) = pair(layer.F), sides(layer.P)
    if (top, left) != (bottom, right) or top > rows // 2 or left > columns // 2:
        return None
    if volume.H + 2 * top < rows or volume.W + 2 * left < columns:
        return None
    numbers = {"kernel_size": (rows, columns), "stride": pair(layer.stride), "padding": (top, left)}
    return {**numbers, "ceil_mode": layer.fit == "pad"}


def _max_pool(layer: MaxPool, volume: Volume) -> Part:
    if numbers := _pool_numbers(layer, volume):
        return Part(nn.MaxPool2d(**numbers))
    pool = nn.MaxPool2d(pair(layer.F), pair(layer.stride))
    return Part(nn.Sequential(nn.ConstantPad2d(_frame(layer, volume), -inf), pool))


class _FramedPool(nn.Module):
    """The sum of what each window sees, with zeros around the volume."""

    def __init__(self, layer: Pool, volume: Volume) -> None:
        super().__init__()
        self.F, self.S, self.frame = pair(layer.F), pair(layer.stride), _frame(layer, volume)

    def sums(self, x: Tensor) -> Tensor:
        return self.framed_sums(functional.pad(x, self.frame))

    def framed_sums(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, self.F, self.S, divisor_override=1)


class _AveragePool(_FramedPool):
    """Averages of what counts, for more padding than PyTorch's take."""

    def __init__(self, layer: AvgPool, volume: Volume) -> None:
        super().__init__(layer, volume)
        _, bottom, _, right = sides(layer.P)
        self.counted = layer.counts == "padding"
        self.ends = (right, bottom) if self.counted else (0, 0)

    def forward(self, x: Tensor) -> Tensor:
        left, right, top, bottom = self.frame
        across, down = min(right, self.ends[0]), min(bottom, self.ends[1])
        ones = functional.pad(torch.ones_like(x), (left, across, top, down), value=float(self.counted))
        return self.sums(x) / self.framed_sums(functional.pad(ones, (0, right - across, 0, bottom - down)))


def _average_pool(layer: AvgPool, volume: Volume) -> Part:
    if numbers := _pool_numbers(layer, volume):
        return Part(nn.AvgPool2d(**numbers, count_include_pad=layer.counts == "padding"))
    return Part(_AveragePool(layer, volume))


class _L2Pool(_FramedPool):
    """Lengths. nn.LPPool2d has no padding, counts too much in a last window over the edge and gives NaN slopes at 0."""

    def forward(self, x: Tensor) -> Tensor:
        sums = self.sums(x * x)
        return torch.where(sums > 0, sums, 1).sqrt() * (sums > 0)


def _l2_pool(layer: L2Pool, volume: Volume) -> Part:
    return Part(_L2Pool(layer, volume))


def _global_average_pool(layer: GlobalAvgPool, volume: Volume) -> Part:
    return Part(nn.AdaptiveAvgPool2d(1))


# -- what has no windows --------------------------------------------------------------------------


def _fc(layer: FC, volume: Volume) -> Part:
    """gpunet flattens an image as H, W, D and PyTorch as D, H, W."""
    linear = nn.Linear(volume.values, layer.K, layer.bias)
    w = Slot(linear, "weight", (layer.K, *volume.shape), (0, 3, 1, 2), (layer.K, volume.values))
    slots = {"w": w, "b": Slot(linear, "bias")} if layer.bias else {"w": w}
    return Part(nn.Sequential(nn.Flatten(), linear), slots)


class _BoxNorm(nn.Module):
    """Local response normalization within a map."""

    def __init__(self, layer: LRN) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        n, alpha, beta, k = (getattr(self.layer, name) for name in ("n", "alpha", "beta", "k"))
        squares = functional.avg_pool2d(x * x, n, 1, n // 2, divisor_override=1)
        return x / (k + alpha * squares) ** beta


def _lrn(layer: LRN, volume: Volume) -> Part:
    """PyTorch's alpha is shared among the neighbours."""
    if layer.over == "map":
        return Part(_BoxNorm(layer))
    return Part(nn.LocalResponseNorm(layer.n, alpha=layer.alpha * layer.n, beta=layer.beta, k=layer.k))


def _batch_norm(layer: BatchNorm, volume: Volume) -> Part:
    module = nn.BatchNorm2d(volume.D, layer.eps, layer.momentum, layer.affine)
    names = {"mean": "running_mean", "variance": "running_var"}
    if layer.affine:
        names |= {"scale": "weight", "shift": "bias"}
    return Part(module, {name: Slot(module, attribute) for name, attribute in names.items()})


def _dropout(layer: Dropout, volume: Volume) -> Part:
    if layer.p:
        raise NotImplementedError(f"no peer for {layer}: PyTorch drops other values; take p=0")
    return Part(nn.Identity())


def _leaky_relu(layer: LeakyReLU, volume: Volume) -> Part:
    return Part(nn.LeakyReLU(layer.alpha))


class _HardSigmoid(nn.Module):
    """nn.Hardsigmoid has the slope 1/6 in float32, whatever it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu6(x + 3) / 6


def _prelu(layer: PReLU, volume: Volume) -> Part:
    module = nn.PReLU(1 if layer.shared else volume.D)
    return Part(module, {"a": Slot(module, "weight")})


class _Scale(nn.Module):
    """What is left of nn.BatchNorm2d without statistics."""

    def __init__(self, layer: Scale, D: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(D, 1, 1))
        self.shift = nn.Parameter(torch.zeros(D, 1, 1)) if layer.bias else None

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale if self.shift is None else x * self.scale + self.shift


def _scale(layer: Scale, volume: Volume) -> Part:
    module, D = _Scale(layer, volume.D), (volume.D,)
    names = ("scale", "shift") if layer.bias else ("scale",)
    return Part(module, {name: Slot(module, name, shape=D) for name in names})


class _Slice(nn.Module):
    def __init__(self, layer: Slice) -> None:
        super().__init__()
        self.maps = slice(layer.first, layer.last)

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.maps]


class _Add(nn.Module):
    def __init__(self, layer: Add) -> None:
        super().__init__()
        self.coefficients = layer.coefficients

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.coefficients:
            inputs = tuple(c * x for c, x in zip(self.coefficients, inputs, strict=True))
        return _joined(torch.add, inputs)


class _Multiply(nn.Module):
    def forward(self, *inputs: Tensor) -> Tensor:
        return _joined(torch.mul, inputs)


class _Maximum(nn.Module):
    def forward(self, *inputs: Tensor) -> Tensor:
        return _joined(torch.maximum, inputs)


def _joined(two: Callable[[Tensor, Tensor], Tensor], inputs: Sequence[Tensor]) -> Tensor:
    """All inputs, two at a time from the left."""
    first, *others = inputs
    for x in others:
        first = two(first, x)
    return first


class _Concat(nn.Module):
    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.cat(inputs, dim=1)


TRANSLATORS: dict[type[Layer], Callable[..., Part]] = {
    AdaptiveAvgPool: lambda layer, volume: Part(nn.AdaptiveAvgPool2d(pair(layer.K))),
    Add: lambda layer, *inputs: Part(_Add(layer)),
    AvgPool: _average_pool,
    BatchNorm: _batch_norm,
    Clip: lambda layer, volume: Part(nn.Hardtanh(layer.low, layer.high)),
    Concat: lambda layer, *inputs: Part(_Concat()),
    Conv: _conv,
    Dropout: _dropout,
    ELU: lambda layer, volume: Part(nn.ELU(layer.alpha)),
    FC: _fc,
    GELU: lambda layer, volume: Part(nn.GELU(layer.approximate)),
    GlobalAvgPool: _global_average_pool,
    GlobalMaxPool: lambda layer, volume: Part(nn.AdaptiveMaxPool2d(1)),
    HardSigmoid: lambda layer, volume: Part(_HardSigmoid()),
    HardSwish: lambda layer, volume: Part(nn.Hardswish()),
    L2Pool: _l2_pool,
    LRN: _lrn,
    LeakyReLU: _leaky_relu,
    LocallyConnected: _local,
    MaxPool: _max_pool,
    Maximum: lambda layer, *inputs: Part(_Maximum()),
    Multiply: lambda layer, *inputs: Part(_Multiply()),
    PReLU: _prelu,
    ReLU: lambda layer, volume: Part(nn.ReLU()),
    ReLU6: lambda layer, volume: Part(nn.ReLU6()),
    Sigmoid: lambda layer, volume: Part(nn.Sigmoid()),
    Scale: _scale,
    Shuffle: lambda layer, volume: Part(nn.ChannelShuffle(layer.groups)),
    SiLU: lambda layer, volume: Part(nn.SiLU()),
    Slice: lambda layer, volume: Part(_Slice(layer)),
    Softplus: lambda layer, volume: Part(nn.Softplus()),
    Tanh: lambda layer, volume: Part(nn.Tanh()),
}
"""By layer type: the layer and its input volumes -> its part."""
