"""Random nets of branches, and what PyTorch says of them: scores, mean loss and every gradient in float64."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from gpunet import (
    FC,
    LRN,
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    Dropout,
    GlobalAvgPool,
    Hinge,
    L2Pool,
    LeakyReLU,
    LocallyConnected,
    MaxPool,
    Net,
    Node,
    ReLU,
    ShapeError,
    Sigmoid,
    SoftmaxCrossEntropy,
    Tanh,
    Volume,
)
from gpunet.layers.layer import Layer
from gpunet.volume import pair, sides


class _Graph:
    """Nodes in order, and what an output of each would be."""

    def __init__(self, rng: np.random.Generator, volume: Volume) -> None:
        self.rng, self.nodes, self.volumes = rng, [], {"input": volume}

    def add(self, layer: Layer, *inputs: str, head: float | None = None) -> str:
        """The name of a new node. Raises ShapeError where the layer does not fit."""
        volume = layer.output(*(self.volumes[name] for name in inputs))
        name = f"{layer.type}{len(self.nodes) + 1}"
        self.nodes.append(Node(name, layer, inputs, head))
        self.volumes[name] = volume
        return name

    def pick(self, names: list[str]) -> str:
        return names[int(self.rng.integers(len(names)))]

    @property
    def loose(self) -> list[str]:
        """Outputs that nothing but heads takes yet."""
        trunk = [node for node in self.nodes if node.head is None]
        taken = {name for node in trunk for name in node.inputs}
        return [node.name for node in trunk if node.name not in taken]


def random_graph(rng: np.random.Generator, *, layers: int = 9, across_images: bool = True, drops: bool = False) -> Net:
    """A random graph over a random odd-sized input: forks, sums, concatenations, layers of every type, heads.

    `across_images`  whether batch normalization may turn up
    `drops`          whether there is dropout, which PyTorch is not asked about
    """
    fit = str(rng.choice(["pad", "crop"]))
    volume = Volume(*(int(size) for size in rng.integers(4, 9, 2)), 2 * int(rng.integers(1, 3)))
    graph, classes = _Graph(rng, volume), int(rng.integers(2, 5))
    while len(graph.nodes) < layers:
        names = list(graph.volumes)
        # The last few outputs are likelier, so that nets are deep as well as wide.
        name = graph.pick(names[-3:] if rng.random() < 0.6 else names)
        if rng.random() < 0.3:
            _add_merge(graph, name, names)
        else:
            pools = rng.random() < 0.5 and name.startswith("relu")  # what rewrites look for, with other readers or not
            try:
                graph.add(MaxPool(2, fit=fit) if pools else _random_layer(rng, fit, across_images), name)
            except ShapeError:
                graph.add(ReLU(), name)
    if rng.random() < 0.3:
        graph.add(FC(classes), graph.pick(list(graph.volumes)), head=0.5)
    if drops:
        graph.add(Dropout(0.3), graph.pick(list(graph.volumes)))
    ends = [end if rng.random() < 0.3 else graph.add(GlobalAvgPool(), end) for end in graph.loose]
    if len({graph.volumes[end].shape[:2] for end in ends}) > 1:
        ends = [graph.add(GlobalAvgPool(), end) for end in ends]
    end = graph.add(Concat(), *ends) if len(ends) > 1 else ends[0]
    graph.add(FC(classes), end)
    loss = SoftmaxCrossEntropy(smoothing=0.1) if rng.random() < 0.5 else Hinge(squared=True)
    return Net(volume, graph.nodes, name="graph", fit=fit, loss=loss)


def _add_merge(graph: _Graph, name: str, names: list[str]) -> None:
    """A sum or a concatenation of the output `name` with one or two others that fit it, perhaps itself."""
    sums = graph.rng.random() < 0.6
    size = 3 if sums else 2
    fitting = [one for one in names if graph.volumes[one].shape[:size] == graph.volumes[name].shape[:size]]
    others = [graph.pick(fitting) for _ in range(int(graph.rng.integers(1, 3)))]
    graph.add(Add() if sums else Concat(), name, *others)


def _random_layer(rng: np.random.Generator, fit: str, across_images: bool) -> Layer:
    F, S, P = int(rng.integers(1, 4)), int(rng.integers(1, 3)), int(rng.integers(0, 3))
    match int(rng.integers(12 if across_images else 11)):
        case 0 | 1:
            return _random_conv(rng, fit)
        case 2:
            return Conv(2 * int(rng.integers(1, 3)), F=1)
        case 3:
            return MaxPool(F, S=S, P=int(rng.integers(0, F)), fit=fit)
        case 4:
            return (AvgPool, L2Pool)[int(rng.integers(2))](F, S=S, P=int(rng.integers(0, F)), fit=fit)
        case 5:
            return LocallyConnected(2, F, S=S, P=P, fit=fit)
        case 6:
            return LRN(int(rng.choice([1, 3, 5])), 0.1, over=str(rng.choice(["maps", "map"])))
        case 7:
            return (Sigmoid(), Tanh(), LeakyReLU(0.1))[int(rng.integers(3))]
        case 8 | 9 | 10:
            return ReLU()
        case _:
            return BatchNorm(affine=bool(rng.random() < 0.7))


def _random_conv(rng: np.random.Generator, fit: str) -> Conv:
    rows, columns, down, across = (int(size) for size in rng.integers(1, 4, 4))
    groups, D = int(rng.integers(1, 3)), int(rng.integers(1, 3))
    P = tuple(int(p) for p in rng.integers(0, 3, 4)) if rng.random() < 0.5 else 1
    dilation, bias = int(rng.integers(1, 3)), bool(rng.random() < 0.5)
    return Conv(2 * D, (rows, columns), (min(down, 2), min(across, 2)), P, dilation, groups, bias, fit)


@dataclass
class Judged:
    """Scores (n, classes), mean loss with those of heads, gradients by parameter name."""

    scores: np.ndarray
    loss: float
    gradients: dict[str, np.ndarray]


def judge(
    net: Net, parameters: dict[str, np.ndarray], images: np.ndarray, labels: np.ndarray, frozen: Collection[str] = ()
) -> Judged:
    """A training step of `net` by PyTorch, but for the update; frozen batch normalization takes running statistics."""
    w = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in parameters.items()}
    outputs = {"input": torch.tensor(images, dtype=torch.float64).permute(0, 3, 1, 2)}
    for node in net.nodes:
        own = {
            name.removeprefix(f"{node.name}."): value for name, value in w.items() if name.startswith(f"{node.name}.")
        }
        xs = [outputs[name] for name in node.inputs]
        if isinstance(node.layer, BatchNorm):
            outputs[node.name] = _batch_norm(node.layer, own, *xs, running=node.name in frozen)
        else:
            outputs[node.name] = _forward(node.layer, net.volumes[node.name], own, *xs)
    scores = _flat(outputs[net.nodes[-1].name])
    target = torch.tensor(labels)
    loss = _loss(net, scores, target)
    for node in net.heads:
        loss = loss + node.head * _loss(net, _flat(outputs[node.name]), target)
    loss.backward()
    gradients = {name: np.zeros(value.shape) if value.grad is None else value.grad.numpy() for name, value in w.items()}
    return Judged(scores.detach().numpy(), float(loss.detach()), gradients)


def _flat(x: torch.Tensor) -> torch.Tensor:
    """(N, D, H, W) as (N, H*W*D), in the order of gpunet."""
    return x.permute(0, 2, 3, 1).flatten(1)


def _loss(net: Net, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    if isinstance(net.loss, SoftmaxCrossEntropy):
        return functional.cross_entropy(scores, labels, label_smoothing=net.loss.smoothing)
    assert isinstance(net.loss, Hinge) and net.loss.squared
    return functional.multi_margin_loss(scores, labels, p=2, margin=net.loss.margin) * scores.shape[1]


def _forward(layer: Layer, volume: Volume, w: dict[str, torch.Tensor], *xs: torch.Tensor) -> torch.Tensor:
    (x, *_) = xs
    match layer:
        case ReLU():
            return functional.relu(x)
        case LeakyReLU():
            return functional.leaky_relu(x, layer.alpha)
        case Sigmoid() | Tanh():
            return torch.sigmoid(x) if isinstance(layer, Sigmoid) else torch.tanh(x)
        case Add():
            return sum(xs[1:], x)
        case Concat():
            return torch.cat(xs, 1)
        case GlobalAvgPool():
            return x.mean((2, 3), keepdim=True)
        case FC():
            return (_flat(x) @ w["w"].T + w["b"])[:, :, None, None]
        case LRN():
            return x / (layer.k + layer.alpha * _sum_of_squares(layer, x)) ** layer.beta
        case Conv():
            P, F, d = sides(layer.padding), pair(layer.F), layer.dilation
            padded = _around(x, volume, F, pair(layer.S), P, d)
            return functional.conv2d(padded, w["w"].permute(0, 3, 1, 2), w.get("b"), layer.S, 0, d, layer.groups)
    return _windows(layer, volume, w, x)


def _batch_norm(layer: BatchNorm, w: dict[str, torch.Tensor], x: torch.Tensor, running: bool) -> torch.Tensor:
    """By its definition: the gradient of functional.batch_norm is wrong for some strides of x (PyTorch 2)."""
    scale, shift, mean, variance = (w[name][:, None, None] for name in ("scale", "shift", "mean", "variance"))
    if not running:
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
    return (x - mean) / (variance + layer.eps).sqrt() * scale + shift


def _sum_of_squares(layer: LRN, x: torch.Tensor) -> torch.Tensor:
    """Over the neighbours of each value: maps side by side, or positions of its map."""
    depth, extent = (layer.n, 1) if layer.over == "maps" else (1, layer.n)
    ones = torch.ones(1, 1, depth, extent, extent, dtype=x.dtype)
    return functional.conv3d((x * x)[:, None], ones, padding=(depth // 2, extent // 2, extent // 2))[:, 0]


def _windows(layer: Layer, volume: Volume, w: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Layers whose windows are taken apart: (N, D, H2, W2, F*F)."""
    F, S, P = layer.F, layer.S, sides(layer.P)

    def windows(values: torch.Tensor, fill: float = 0.0) -> torch.Tensor:
        around = _around(values, volume, (F, F), (S, S), P, 1, fill)
        return around.unfold(2, F, S).unfold(3, F, S).flatten(4)

    match layer:
        case MaxPool():
            return functional.max_pool2d(_around(x, volume, (F, F), (S, S), P, 1, -torch.inf), F, S)
        case AvgPool():
            return windows(x).sum(4) / windows(torch.ones_like(x)).sum(4)
        case L2Pool():
            squares = (windows(x) ** 2).sum(4)
            return torch.where(squares > 0, torch.where(squares > 0, squares, 1).sqrt(), 0)
        case LocallyConnected():
            filters = w["w"].permute(0, 1, 2, 5, 3, 4).flatten(4)  # (H2, W2, K, D, F*F)
            return torch.einsum("ndhwf,hwkdf->nkhw", windows(x), filters) + w["b"].permute(2, 0, 1)
    raise NotImplementedError(f"PyTorch is not asked about {layer}")


def _around(x, volume, F, S, P, dilation, fill=0.0):
    """x with as much around it as makes its windows fit: P, and what hangs over the edge or is not seen."""
    top, _, left, _ = P
    behind = []
    for size, before, count, extent, stride in zip(x.shape[2:], (top, left), volume.shape[:2], F, S, strict=True):
        behind.append((count - 1) * stride + (extent - 1) * dilation + 1 - size - before)
    return functional.pad(x, (left, behind[1], top, behind[0]), value=fill)
