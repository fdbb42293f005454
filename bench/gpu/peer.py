"""PyTorch as the peer: the same net with the same weights, for the same data."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpunet.layers.conv import Conv
from gpunet.layers.fc import FC
from gpunet.layers.hinge import Hinge
from gpunet.layers.pool import MaxPool
from gpunet.layers.relu import ReLU
from gpunet.layers.softmax import SoftmaxCrossEntropy
from gpunet.net.net import Net
from gpunet.volume import Padding, Pair, Volume, fits, pair, sides, size_text, windows


def torch_net(net: Net, parameters: Mapping[str, np.ndarray]) -> Any:
    """A torch.nn.Sequential that computes what the net does; images come to it as (N, D, H, W).

    `parameters`  by gpunet's names and in its shapes. Raises NotImplementedError as torch_modules does.
    """
    import torch

    peer = torch_modules(net)
    learning: list[Any] = [module for module in peer if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)]
    for node, module in zip((node for node in net.nodes if net.weights(node)), learning, strict=True):
        (volume,) = net.inputs(node)
        weights = parameters[f"{node.name}.w"]
        if isinstance(module, torch.nn.Linear):  # gpunet flattens an image as H, W, D and PyTorch as D, H, W
            K = len(weights)
            weights = weights.reshape(K, *volume.shape).transpose(0, 3, 1, 2).reshape(K, -1)
        else:
            weights = weights.transpose(0, 3, 1, 2)
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(np.ascontiguousarray(weights)))
            if module.bias is not None:
                module.bias.copy_(torch.from_numpy(parameters[f"{node.name}.b"]))
    return peer


def torch_modules(net: Net) -> Any:
    """The layers of the net as a torch.nn.Sequential with weights of PyTorch's own.

    Raises NotImplementedError for a net that is no chain of layers whose windows fit their volumes.
    """
    import torch

    modules: list[Any] = []
    for node in net.nodes:
        (volume,) = net.inputs(node)
        match node.layer:
            case Conv(K=K, F=F) as conv:
                _require_whole(node.name, volume, F, conv.S, conv.padding, conv.dilation)
                try:
                    modules.append(torch.nn.Conv2d(volume.D, K, pair(F), bias=conv.bias, **torch_numbers(conv)))
                except NotImplementedError as error:
                    raise NotImplementedError(f"{node.name}: {error}") from None
            case MaxPool(F=F, S=S, P=P):
                _require_whole(node.name, volume, F, S or F, P)
                modules.append(torch.nn.MaxPool2d(F, S, P))
            case ReLU():
                modules.append(torch.nn.ReLU(inplace=True))
            case FC(K=K):
                if not any(isinstance(module, torch.nn.Flatten) for module in modules):
                    modules.append(torch.nn.Flatten())
                modules.append(torch.nn.Linear(volume.values, K))
            case other:
                raise NotImplementedError(f"{node.name}: no peer for {other}")
    return torch.nn.Sequential(*modules)


def torch_loss(net: Net, scores: Any, labels: Any) -> Any:
    """The mean loss of the net. Raises NotImplementedError for a loss that has no peer."""
    from torch.nn import functional

    match net.loss:
        case SoftmaxCrossEntropy(smoothing=smoothing):
            return functional.cross_entropy(scores, labels, label_smoothing=smoothing)
        case Hinge(margin=margin, squared=squared):  # PyTorch's is the mean over the classes, too
            return net.classes * functional.multi_margin_loss(scores, labels, p=2 if squared else 1, margin=margin)
        case other:
            raise NotImplementedError(f"no peer for {other}")


def torch_numbers(layer: Conv) -> dict[str, Any]:
    """What PyTorch's convolutions call the numbers of a layer. Raises NotImplementedError for sides that differ."""
    top, bottom, left, right = sides(layer.padding)
    if (top, left) != (bottom, right):
        raise NotImplementedError(f"P={size_text(layer.padding)} pads opposite sides differently, which has no peer")
    dilation = (layer.dilation, layer.dilation)
    return {"stride": pair(layer.S), "padding": (top, left), "dilation": dilation, "groups": layer.groups}


def _require_whole(name: str, volume: Volume, F: Pair, S: Pair, P: Padding, dilation: int = 1) -> None:
    down, across = windows(F, S, P, dilation)
    if not (fits(down, volume.H) and fits(across, volume.W)):
        raise NotImplementedError(f"{name}: windows that do not fit their volume have no peer")


def set_tf32(allowed: bool) -> None:
    """Whether PyTorch may round the operands of float32 products to 10 bits, in cuBLAS and in cuDNN."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


class TorchTrainer:
    """Training steps of the peer, as one would write them: SGD with momentum, cuDNN free to try its algorithms.

    `peer`           PyTorch's name of the device
    `channels_last`  the memory layout that cuDNN likes best for some types
    """

    def __init__(
        self,
        net: Net,
        parameters: Mapping[str, np.ndarray],
        peer: str,
        *,
        learning_rate: float,
        momentum: float = 0.9,
        channels_last: bool = False,
    ) -> None:
        import torch

        torch.backends.cudnn.benchmark = True
        self._torch = torch
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._peer = peer
        self._net = net
        self._model = torch_net(net, parameters).to(peer).to(memory_format=self._format)
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=learning_rate, momentum=momentum)

    def load(self, images: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
        """Images (n, H, W, D), uint8 or float, and labels, on the device, as the net takes them."""
        torch = self._torch
        moved = torch.from_numpy(images).to(self._peer).permute(0, 3, 1, 2)
        if images.dtype == np.uint8:
            moved = moved.float().mul_(self._net.scale)
        return moved.contiguous(memory_format=self._format), torch.from_numpy(labels).to(self._peer).long()

    def step(self, images: Any, labels: Any) -> Any:
        """One training step on tensors of the device; the loss, not waited for."""
        self._optimizer.zero_grad(set_to_none=True)
        loss = torch_loss(self._net, self._model(images), labels)
        loss.backward()
        self._optimizer.step()
        return loss.detach()

    def step_from_host(self, images: np.ndarray, labels: np.ndarray) -> float:
        """One training step on the host's arrays; the loss as a number."""
        return float(self.step(*self.load(images, labels)))
