"""What a training step takes by PyTorch's own count: its MemTracker, on tensors that have shapes but no bytes.

That is the sum of the bytes that PyTorch's tensors hold at once. A run takes more: the CUDA context, cuDNN's workspace,
and what the allocator rounds up and cannot use.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from gpunet.net.net import Net

LINE = (1024, 2048, 4096)
"""Batches at which the peak is measured to see how it grows: in small ones it may be in another step of the program."""

TRIES = 100
"""Batches to ask about before the search for the largest one is given up; it takes about five."""


def peak_bytes(net: Net, batch: int, *, momentum: float = 0.9) -> int:
    """The tracker's peak in the second of two eager training steps, so that the optimizer's state is there throughout.

    float32, channels first, ReLU in place, SGD, gradients set to None; images and labels count. On the CUDA device
    where PyTorch has one, else on the CPU: the same tensors.
    Raises NotImplementedError for a net that has no peer.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.mem_tracker import MemTracker

    from bench.peer.net import TorchNet

    where = "cuda" if torch.cuda.is_available() else "cpu"
    with warnings.catch_warnings(), FakeTensorMode(), torch.device(where):
        warnings.simplefilter("ignore")  # the tracker's, about parts of PyTorch that it uses
        model = TorchNet(net)
        images = torch.zeros(batch, net.input.D, net.input.H, net.input.W)
        labels = torch.zeros(batch, dtype=torch.long)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=momentum)
        tracker = MemTracker()
        tracker.track_external(model, optimizer, images, labels)
        with tracker:
            for step in range(2):
                if step:
                    tracker.reset_mod_stats()
                optimizer.zero_grad(set_to_none=True)
                model.loss(images, labels).backward()
                optimizer.step()
        return sum(int(kinds["Total"]) for kinds in tracker.get_tracker_snapshot("peak").values())


@dataclass
class Peaks:
    """Peaks by batch, each measured once; `measure` tells one."""

    measure: Callable[[int], int]
    known: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, net: Net) -> "Peaks":
        """What PyTorch's tracker says of a net."""
        return cls(partial(peak_bytes, net))

    def at(self, batch: int) -> int:
        if batch not in self.known:
            self.known[batch] = self.measure(batch)
        return self.known[batch]

    @cached_property
    def line(self) -> tuple[int, float]:
        """(bytes, bytes an image) of the straight line on which the peaks lie.

        Raises ValueError where the peak at the third batch is not on the line through the first two.
        """
        first, second, third = LINE
        slope = (self.at(second) - self.at(first)) / (second - first)
        expected = self.at(second) + slope * (third - second)
        if abs(expected - self.at(third)) > 1e-4 * expected:
            raise ValueError(
                f"the peak is no straight line in the batch: {self.at(third):,} bytes at {third}, not {expected:,.0f}"
            )
        return round(self.at(first) - slope * first), slope

    def largest(self, limit_bytes: int) -> int:
        """The largest batch whose peak is within the limit; 0 where one image is too much.

        That it fits and that one more does not is measured there. From batch to batch that is Newton's method: the peak
        is the largest of several straight lines. Raises ValueError where that does not come to an end.
        """
        start, slope = self.line
        batch = max(int((limit_bytes - start) / slope), 1)
        for _ in range(TRIES):
            room, step = limit_bytes - self.at(batch), self.at(batch + 1) - self.at(batch)
            if 0 <= room < step:
                return batch
            if batch == 1 and room < 0:
                return 0
            batch = max(batch + room // step, 1)
        raise ValueError(f"no largest batch within {limit_bytes:,} bytes was found in {TRIES} tries")


def describe(net: Net, peaks: Peaks) -> dict[str, Any]:
    """The line of the peaks and the batches that it rests on, for the JSON."""
    start, slope = peaks.line
    return {"net": net.name, "bytes": start, "bytes_per_image": slope, "peaks": {str(n): peaks.at(n) for n in LINE}}
