"""A net as the text of a Python file: an `nn.Module` that loads the exported weights and gives the same scores."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from gpunet.errors import ConfigError
from gpunet.formats.match import torch_names
from gpunet.layers.average_pool import AdaptiveAvgPool, AvgPool, GlobalAvgPool
from gpunet.layers.batch_norm import BatchNorm
from gpunet.layers.by_map import PReLU
from gpunet.layers.conv import Conv
from gpunet.layers.dropout import Dropout
from gpunet.layers.elementwise import Elementwise
from gpunet.layers.fc import FC
from gpunet.layers.l2_pool import L2Pool
from gpunet.layers.layer import Layer, require_sizes
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
from gpunet.net.graph import INPUT
from gpunet.net.net import Net, Node
from gpunet.program.volume import Volume, pair, sides

Said = tuple[str | None, str]
"""What makes the module of a layer, where it has parameters; and the layer of `{x}`, or of `{each[0]}` and so on, as an
expression, `{m}` that module."""


def module_text(net: Net, weights: Path, classes: Sequence[str] = ()) -> str:
    """The text of the file. Raises ConfigError, naming all layers that it cannot say."""
    said = {node.name: _said(net, node) for node in net.trunk}
    missing = [f"{node.name} ({node.layer.word})" for node in net.trunk if said[node.name] is None]
    if missing:
        raise ConfigError(f"{net.name} has layers that are not said in PyTorch here: {', '.join(missing)}")
    prefixes = _prefixes(net)
    made = [f"            {prefixes[name]!r}: {one[0]},\n" for name, one in said.items() if one and one[0]]
    local = LOCAL if any(isinstance(node.layer, LocallyConnected) for node in net.trunk) else ""
    safe = weights.suffix == ".safetensors"
    return TEXT.format(
        name=re.sub(r"[^\w .-]", "_", net.name),  # it comes from a file, and this one will be run
        weights=weights.name,
        module=weights.stem,
        image=net.image,
        input=", ".join(map(str, (net.input.D, net.input.H, net.input.W))),
        loads="from safetensors.torch import load_file\n" if safe else "",
        read="load_file(path)" if safe else "torch.load(path, map_location='cpu', weights_only=True)",
        classes=list(classes),
        local=local,
        modules="".join(made),
        steps="\n".join(f"        {line}" for line in _steps(net, {name: one[1] for name, one in said.items() if one})),
        prepare=_prepare(net),
    )


def _prefixes(net: Net) -> dict[str, str]:
    """What stands before "weight" and "bias" in the state dict, by layer."""
    names, _, _ = torch_names(net)
    return {name.rpartition(".")[0]: theirs.rpartition(".")[0] for name, theirs in names.items()}


def _steps(net: Net, said: dict[str, str]) -> list[str]:
    """The lines of `forward`: x runs along the chain, what is taken again later has a name of its own."""
    uses = Counter(name for node in net.trunk for name in node.inputs)
    prefixes, names, flat, lines = _prefixes(net), {INPUT: "x"}, {INPUT: False}, []
    if uses[INPUT] > 1:
        names[INPUT] = "image"
        lines.append("image = x")
    held = 0
    for place, node in enumerate(net.trunk):
        either = isinstance(node.layer, Elementwise | Dropout)  # vectors, as FC layers give them, are as good as maps
        maps = not either and not isinstance(node.layer, FC)
        given = [f"{names[name]}[:, :, None, None]" if maps and flat[name] else names[name] for name in node.inputs]
        after = net.trunk[place + 1] if place + 1 < len(net.trunk) else None
        kept = after is not None and (uses[node.name] > 1 or after.inputs != (node.name,))
        held += kept
        names[node.name] = f"y{held}" if kept else "x"
        flat[node.name] = isinstance(node.layer, FC) or (either and flat[node.inputs[0]])
        values = said[node.name].format(
            x=given[0],
            all=", ".join(given),
            each=given,
            m=f"m({prefixes.get(node.name, '')!r})",
        )
        lines.append(f"{names[node.name]} = {values}  # {node.name}")
    last = net.trunk[-1].name
    ordered = net.output.H * net.output.W > 1 and not flat[last]
    lines.append(f"return {names[last]}{'.permute(0, 2, 3, 1)' if ordered else ''}.flatten(1)")
    return lines


def _prepare(net: Net) -> str:
    """How images of bytes enter: the middle of them, each map times its scale plus its shift."""
    size, input = net.image, net.input
    scales, shifts = [net.scale] * 3, [net.shift] * 3
    pad = 0
    if net.augment is not None:
        scales, shifts = net.augment.normal(net.scale, net.shift)
        pad = net.augment.pad
    top, left = ((big + 2 * pad - small) // 2 - pad for big, small in ((size.H, input.H), (size.W, input.W)))
    frame = (-left, left + input.W - size.W, -top, top + input.H - size.H)
    by_map = [[*numbers, *[numbers[-1]] * input.D][: input.D] for numbers in (scales, shifts)]
    lines = [f"x = F.pad(x, {frame})  # the middle"] if any(frame) else []
    lines += [f"scale, shift = (torch.tensor(n).reshape(-1, 1, 1) for n in ({by_map[0]}, {by_map[1]}))"]
    return "\n".join(f"    {line}" for line in [*lines, "return x * scale + shift"])


# -- layers


def _said(net: Net, node: Node) -> Said | None:
    say = SAYINGS.get(type(node.layer))
    return None if say is None else say(node.layer, *net.inputs(node))


def frame(layer: Layer, volume: Volume) -> tuple[int, int, int, int]:
    """What stands around the volume for the windows of the layer to end at its edges: left, right, top, bottom; below
    0 where no window looks."""
    output, frame = layer.output(volume), list[int]()
    down, across = layer.window(volume)
    for window, size, outputs in ((across, volume.W, output.W), (down, volume.H, output.H)):
        frame += [window.before, window.after - window.left_over(size, outputs)]
    left, right, top, bottom = frame
    return left, right, top, bottom


def _conv(layer: Conv, volume: Volume) -> Said:
    """Padding of its own where that gives as many outputs, else in front."""
    output = layer.output(volume)
    down, across = layer.window(volume)
    own = all(
        (size + 2 * window.before - window.extent) // window.S + 1 == outputs
        for window, size, outputs in ((down, volume.H, output.H), (across, volume.W, output.W))
    )
    around = require_sizes("P", (down.before, across.before), (2,), 0) if own else 0
    said = {"stride": layer.S, "padding": around, "dilation": layer.dilation, "groups": layer.groups}
    more = [f", {name}={value}" for name, value in said.items() if value != int(name != "padding")]
    more += [", bias=False"] * (not layer.bias)
    x = "{x}" if own else f"F.pad({{x}}, {frame(layer, volume)})"
    return f"nn.Conv2d({volume.D}, {layer.K}, {layer.F}{''.join(more)})", f"{{m}}({x})"


def _local(layer: LocallyConnected, volume: Volume) -> Said:
    w, b = layer.weights(volume)
    return f"Local({w.shape}, {b.shape}, {frame(layer, volume)}, {layer.S})", "{m}({x})"


def _numbers(layer: Pool, volume: Volume) -> str | None:
    """Extent, stride, padding and rounding of a pool as PyTorch takes them; None where they are more than it takes."""
    (rows, columns), (top, bottom, left, right) = pair(layer.F), sides(layer.P)
    if (top, left) != (bottom, right) or top > rows // 2 or left > columns // 2:
        return None
    if volume.H + 2 * top < rows or volume.W + 2 * left < columns:
        return None
    around = require_sizes("P", (top, left), (2,), 0)
    return f"{layer.F}, {layer.stride}, {around}, ceil_mode={layer.fit == 'pad'}"


def _max_pool(layer: MaxPool, volume: Volume) -> Said:
    if numbers := _numbers(layer, volume):
        return None, f"F.max_pool2d({{x}}, {numbers})"
    return None, f"F.max_pool2d(F.pad({{x}}, {frame(layer, volume)}, value=-torch.inf), {layer.F}, {layer.stride})"


def _sums(x: str, layer: Pool, volume: Volume) -> str:
    return _framed(f"F.pad({x}, {frame(layer, volume)})", layer)


def _framed(x: str, layer: Pool) -> str:
    return f"F.avg_pool2d({x}, {layer.F}, {layer.stride}, divisor_override=1)"


def _average_pool(layer: AvgPool, volume: Volume) -> Said:
    counted = layer.counts == "padding"
    if numbers := _numbers(layer, volume):
        return None, f"F.avg_pool2d({{x}}, {numbers}, count_include_pad={counted})"
    left, right, top, bottom = frame(layer, volume)
    ones = f"F.pad(torch.ones_like({{x}}), {(left, right, top, bottom)})"
    if counted:  # what hangs over the padding counts for nothing
        _, below, _, behind = sides(layer.P)
        across, down = min(right, behind), min(bottom, below)
        ones = f"F.pad(torch.ones_like({{x}}), {(left, across, top, down)}, value=1.0)"
        ones = f"F.pad({ones}, {(0, right - across, 0, bottom - down)})"
    return None, f"{_sums('{x}', layer, volume)} / {_framed(ones, layer)}"


def _l2_pool(layer: L2Pool, volume: Volume) -> Said:
    return None, f"{_sums('{x} ** 2', layer, volume)}.sqrt()"


def _fc(layer: FC, volume: Volume) -> Said:
    return f"nn.Linear({volume.values}, {layer.K}{'' if layer.bias else ', bias=False'})", "{m}({x}.flatten(1))"


def _batch_norm(layer: BatchNorm, volume: Volume) -> Said:
    return f"nn.BatchNorm2d({volume.D}, eps={layer.eps}, momentum={layer.momentum})", "{m}({x})"


def _lrn(layer: LRN, volume: Volume) -> Said:
    """PyTorch's alpha is shared among the neighbours."""
    if layer.over == "maps":
        numbers = f"alpha={layer.alpha * layer.n!r}, beta={layer.beta}, k={layer.k}"
        return None, f"F.local_response_norm({{x}}, {layer.n}, {numbers})"
    squares = f"F.avg_pool2d({{x}} ** 2, {layer.n}, 1, {layer.n // 2}, divisor_override=1)"
    return None, f"{{x}} / ({layer.k} + {layer.alpha} * {squares}) ** {layer.beta}"


def _add(layer: Add, *inputs: Volume) -> Said:
    factors = [f"{factor!r} * " if factor != 1 else "" for factor in layer.coefficients or (1.0,) * len(inputs)]
    return None, " + ".join(f"{factor}{{each[{number}]}}" for number, factor in enumerate(factors))


def _multiply(layer: Multiply, *inputs: Volume) -> Said:
    return None, " * ".join(f"{{each[{number}]}}" for number in range(len(inputs)))


def _maximum(layer: Maximum, *inputs: Volume) -> Said:
    said = "{each[0]}"
    for number in range(1, len(inputs)):
        said = f"torch.maximum({said}, {{each[{number}]}})"
    return None, said


def _dropout(layer: Dropout, volume: Volume) -> Said:
    if layer.of == "values":
        return None, f"F.dropout({{x}}, {layer.p}, self.training)"
    axes = 2 if layer.of == "maps" else 1
    ones = f"{{x}}.new_ones({{x}}.shape[:{axes}] + (1,) * ({{x}}.ndim - {axes}))"
    return None, f"{{x}} * F.dropout({ones}, {layer.p}, self.training)"


def _prelu(layer: PReLU, volume: Volume) -> Said:
    return f"nn.PReLU({1 if layer.shared else volume.D})", "{m}({x})"


SAYINGS: dict[type[Layer], Callable[..., Said]] = {
    AdaptiveAvgPool: lambda layer, volume: (None, f"F.adaptive_avg_pool2d({{x}}, {layer.K})"),
    Add: _add,
    AvgPool: _average_pool,
    BatchNorm: _batch_norm,
    Clip: lambda layer, volume: (None, f"{{x}}.clamp({layer.low}, {layer.high})"),
    Concat: lambda layer, *inputs: (None, "torch.cat([{all}], 1)"),
    Conv: _conv,
    Dropout: _dropout,
    ELU: lambda layer, volume: (None, f"F.elu({{x}}, {layer.alpha})"),
    FC: _fc,
    GELU: lambda layer, volume: (None, f"F.gelu({{x}}, approximate={layer.approximate!r})"),
    GlobalAvgPool: lambda layer, volume: (None, "{x}.mean((2, 3), keepdim=True)"),
    GlobalMaxPool: lambda layer, volume: (None, "{x}.amax((2, 3), keepdim=True)"),
    HardSigmoid: lambda layer, volume: (None, "F.hardsigmoid({x})"),
    HardSwish: lambda layer, volume: (None, "F.hardswish({x})"),
    L2Pool: _l2_pool,
    LRN: _lrn,
    LeakyReLU: lambda layer, volume: (None, f"F.leaky_relu({{x}}, {layer.alpha})"),
    LocallyConnected: _local,
    MaxPool: _max_pool,
    Maximum: _maximum,
    Multiply: _multiply,
    PReLU: _prelu,
    ReLU: lambda layer, volume: (None, "F.relu({x})"),
    ReLU6: lambda layer, volume: (None, "F.relu6({x})"),
    Shuffle: lambda layer, volume: (None, f"F.channel_shuffle({{x}}, {layer.groups})"),
    SiLU: lambda layer, volume: (None, "F.silu({x})"),
    Sigmoid: lambda layer, volume: (None, "torch.sigmoid({x})"),
    Slice: lambda layer, volume: (None, f"{{x}}[:, {layer.first}:{layer.last or ''}]"),
    Softplus: lambda layer, volume: (None, "F.softplus({x})"),
    Tanh: lambda layer, volume: (None, "torch.tanh({x})"),
}
"""By layer type: the layer and what it takes -> how it is said."""

TEXT = '''"""{name} in PyTorch, as gpunet exported it, with the weights in {weights}.

    from {module} import CLASSES, load, prepare

    net = load()
    scores = net(prepare(images))  # images (N, H, W, D) as bytes, {image}
"""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
{loads}
CLASSES = {classes}

{local}
class Net(nn.Module):
    """Scores (N, classes) of images (N, {input}) as `prepare` makes them."""

    def __init__(self):
        super().__init__()
        layers = {{
{modules}        }}
        for name, layer in layers.items():
            put(self, name, layer)

    def forward(self, x):
        m = self.get_submodule
{steps}


def put(module, name, layer):
    """Hang a layer into a module under a name with dots, which stand for modules within modules."""
    *outer, last = name.split(".")
    for part in outer:
        if not hasattr(module, part):
            module.add_module(part, nn.Module())
        module = getattr(module, part)
    module.add_module(last, layer)


def load(path=Path(__file__).with_name({weights!r})):
    """The net with its weights, ready to score."""
    net = Net()
    net.load_state_dict({read})
    return net.eval()


def prepare(images):
    """Images (N, H, W, D), uint8, NumPy's or a tensor, as they enter the net."""
    x = torch.as_tensor(images).permute(0, 3, 1, 2).float()
{prepare}
'''

LOCAL = '''
class Local(nn.Module):
    """Filters of its own for every position: weight (H, W, K, F, F, D)."""

    def __init__(self, weight, bias, frame, stride):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(weight)), nn.Parameter(torch.zeros(bias))
        self.frame, self.stride = frame, stride

    def forward(self, x):
        H, W, _, size, _, D = self.weight.shape
        columns = F.unfold(F.pad(x, self.frame), size, stride=self.stride).reshape(-1, D, size, size, H, W)
        return torch.einsum("ndijhw,hwkijd->nkhw", columns, self.weight) + self.bias.permute(2, 0, 1)

'''
