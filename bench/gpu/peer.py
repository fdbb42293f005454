"""PyTorch's training steps, as one would write them: the same net with the same weights, for the same data."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpunet.net.net import Net


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

        from bench.peer.net import torch_net

        torch.backends.cudnn.benchmark = True
        self._torch = torch
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._peer = peer
        self._scale = net.scale
        self._model = torch_net(net, parameters).to(peer)
        self._model.to(memory_format=self._format)  # type: ignore[call-overload]  # which PyTorch's hints leave out
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=learning_rate, momentum=momentum)

    def load(self, images: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
        """Images (n, H, W, D), uint8 or float, and labels, on the device, as the net takes them."""
        torch = self._torch
        moved = torch.from_numpy(images).to(self._peer).permute(0, 3, 1, 2)
        if images.dtype == np.uint8:
            moved = moved.float().mul_(self._scale)
        return moved.clone(memory_format=self._format), torch.from_numpy(labels).to(self._peer).long()

    def step(self, images: Any, labels: Any) -> Any:
        """One training step on tensors of the device; the loss, not waited for."""
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._model.loss(images, labels)
        loss.backward()
        self._optimizer.step()
        return loss.detach()

    def step_from_host(self, images: np.ndarray, labels: np.ndarray) -> float:
        """One training step on the host's arrays; the loss as a number."""
        return float(self.step(*self.load(images, labels)))
