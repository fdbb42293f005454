"""Random nets of branches, and what PyTorch says of them."""

from collections.abc import Collection, Mapping

import numpy as np
import torch

from bench.peer.layers import as_maps
from bench.peer.net import torch_net
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


def judge(
    net: Net, parameters: Mapping[str, np.ndarray], images: np.ndarray, labels: np.ndarray, frozen: Collection[str]
) -> tuple[float, dict[str, np.ndarray]]:
    """Loss and gradients of a training step by PyTorch; frozen batch normalization takes its running statistics."""
    peer = torch_net(net, parameters)
    for name in frozen:
        if f"{name}.mean" in peer.slots:
            peer.slots[f"{name}.mean"].module.eval()
    loss = peer.loss(as_maps(images), torch.from_numpy(labels))
    loss.backward()
    return loss.item(), peer.gradients()
