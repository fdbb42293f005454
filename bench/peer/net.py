"""A whole net as a module of PyTorch: its layers along its graph, its parameters by gpunet's names, its loss."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.peer.layers import Part, Slot, translate
from gpunet.layers.batch_norm import BatchNorm
from gpunet.layers.conv import Conv
from gpunet.layers.dropout import Dropout
from gpunet.layers.elementwise import Elementwise
from gpunet.layers.fc import FC
from gpunet.layers.hinge import Hinge
from gpunet.layers.merge import Add, Concat
from gpunet.layers.pool import MaxPool
from gpunet.layers.relu import ReLU
from gpunet.layers.softmax import SoftmaxCrossEntropy
from gpunet.net.graph import INPUT
from gpunet.net.net import Net, Node

MAY_BE_OVERWRITTEN = (Conv, FC, MaxPool, BatchNorm, Add, Concat)
"""Layers whose output PyTorch does not need in their backward pass: a ReLU behind them may work in place."""

TAKES_VECTORS = (FC, Elementwise, Dropout)
"""Layers that do not care whether they get (N, D) or (N, D, 1, 1)."""


class TorchNet(nn.Module):
    """What a net computes, on images (N, D, H, W), with weights of PyTorch's own at first.

    In training, auxiliary heads count in `loss`. Raises NotImplementedError, naming the layer, for one without a peer.
    """

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net
        parts = {node.name: _part(net, node) for node in net.nodes}
        self.slots: dict[str, Slot] = {
            f"{name}.{short}": slot for name, part in parts.items() for short, slot in part.slots.items()
        }
        self._work_in_place(parts)
        self._indices = {name: index for index, name in enumerate(parts)}
        self._layers = nn.ModuleList(part.module for part in parts.values())

    def forward(self, images: Tensor) -> Tensor:
        """The scores (N, classes)."""
        return self._scores(images, self.net.trunk)[0]

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of a training step; with those of auxiliary heads, by their weights."""
        scores, *others = self._scores(images, self.net.nodes)
        total = torch_loss(self.net, scores, labels)
        for node, scores in zip(self.net.heads, others, strict=True):
            total = total + (node.head or 0.0) * torch_loss(self.net, scores, labels)
        return total

    def put(self, parameters: Mapping[str, np.ndarray]) -> None:
        """Take over gpunet's parameters; those that PyTorch has as constants are left out."""
        for name, slot in self.slots.items():
            slot.put(parameters[name])

    def values(self) -> dict[str, np.ndarray]:
        """Its parameters and running statistics, as gpunet has them."""
        return {name: slot.taken(slot.tensor) for name, slot in self.slots.items()}

    def gradients(self) -> dict[str, np.ndarray]:
        """The gradients of the last backward pass, as gpunet has them."""
        tensors = {name: slot.tensor.grad for name, slot in self.slots.items()}
        return {name: self.slots[name].taken(gradient) for name, gradient in tensors.items() if gradient is not None}

    def _scores(self, images: Tensor, nodes: Sequence[Node]) -> list[Tensor]:
        """The scores (N, classes) of the net and, where they are among the nodes, of its heads."""
        ends = [self.net.nodes[-1].name, *(node.name for node in self.net.heads if node in nodes)]
        uses = Counter([*ends, *(name for node in nodes for name in node.inputs)])
        known = {INPUT: images}
        for node in nodes:
            known[node.name] = self._output(node, _used(node.inputs, known, uses))
        return [_flat(known[name]) for name in ends]

    def _output(self, node: Node, inputs: list[Tensor]) -> Tensor:
        if not isinstance(node.layer, TAKES_VECTORS):
            inputs = [x if x.ndim == 4 else x[:, :, None, None] for x in inputs]
        found: Tensor = self._layers[self._indices[node.name]](*inputs)
        return found

    def _work_in_place(self, parts: Mapping[str, Part]) -> None:
        """Let ReLUs overwrite their input where nobody else reads it."""
        nodes = {node.name: node for node in self.net.nodes}
        uses = Counter(name for node in self.net.nodes for name in node.inputs)
        for node in self.net.nodes:
            before = nodes.get(node.inputs[0])
            if before is None or not isinstance(node.layer, ReLU) or before.head is not None:
                continue
            if uses[before.name] == 1 and isinstance(before.layer, MAY_BE_OVERWRITTEN):
                parts[node.name].module.inplace = True  # type: ignore[assignment]  # of an nn.ReLU


def torch_net(net: Net, parameters: Mapping[str, np.ndarray]) -> TorchNet:
    """The net as PyTorch computes it, with these parameters, by gpunet's names and in its shapes, and in their dtype.

    Raises NotImplementedError as TorchNet does.
    """
    peer = TorchNet(net)
    for values in parameters.values():
        peer.to(torch.float64 if values.dtype == np.float64 else torch.float32)
        break
    peer.put(parameters)
    return peer


def torch_loss(net: Net, scores: Tensor, labels: Tensor) -> Tensor:
    """The mean loss of scores (N, classes). Raises NotImplementedError for a loss that has no peer."""
    match net.loss:
        case SoftmaxCrossEntropy(smoothing=smoothing):
            return functional.cross_entropy(scores, labels, label_smoothing=smoothing)
        case Hinge(margin=margin, squared=squared):  # PyTorch's is the mean over the classes, too
            return net.classes * functional.multi_margin_loss(scores, labels, p=2 if squared else 1, margin=margin)
        case other:
            raise NotImplementedError(f"no peer for {other}")


def _part(net: Net, node: Node) -> Part:
    try:
        return translate(node.layer, *net.inputs(node))
    except NotImplementedError as error:
        raise NotImplementedError(f"{node.name}: {error}") from None


def _used(names: Iterable[str], known: dict[str, Tensor], uses: Counter[str]) -> list[Tensor]:
    """What is known under these names, no longer kept where nobody else will take it."""
    found = []
    for name in names:
        uses[name] -= 1
        found.append(known[name] if uses[name] else known.pop(name))
    return found


def _flat(scores: Tensor) -> Tensor:
    """(N, classes), in gpunet's order."""
    return scores if scores.ndim == 2 else scores.permute(0, 2, 3, 1).flatten(1)
