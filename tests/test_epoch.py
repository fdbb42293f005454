"""A whole run on the emulated GPU and on the CPU: the same curve of losses, step by step."""

import numpy as np
import pytest

import gpunet
from gpunet import Model
from gpunet.data.dataset import Dataset, Split
from gpunet.data.digits import digits
from gpunet.train.trainer import Progress, Trainer, Watcher
from tests.conftest import make_device

NETS = {
    "chain": "INPUT[8x8x1] -> CONV3-6 -> RELU -> POOL2 -> DROPOUT(p=0.25) -> FC-12 -> RELU -> FC-10",
    "residual": "INPUT[8x8x1] -> CONV3-4 -> BN -> RELU -> { CONV3-4 -> BN -> RELU + ID } -> POOL2 -> GAP -> FC-10",
    "inception": "INPUT[8x8x1] -> { CONV1-3 | CONV3-4 -> TANH | AVGPOOL3(S=1, P=1) } -> POOL2 -> LRN -> FC-10",
}


class Losses(Watcher):
    """Remembers the loss of every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def stepped(self, progress: Progress) -> None:
        self.seen.append(progress.loss)


def curve(pattern: str, device_name: str) -> tuple[list[float], list[float]]:
    """(the loss of each step, then the losses and accuracies of each test) of two epochs on 240 digits."""
    whole = digits()
    images, labels = whole.train.take(np.arange(240))
    data = Dataset("some digits", Split(images, labels), Split(*whole.test.take(np.arange(60))))
    device, losses = make_device(device_name), Losses()
    net = gpunet.load(pattern)
    net = gpunet.Net(net.input, net.nodes, scale=0.125, shift=-1.0)
    with Model(net, 16, device, optimizer="momentum", learning_rate=0.01, seed=7) as model:
        rows = Trainer(model, data, epochs=2, seed=3, schedule="cosine", watchers=[losses]).run()
    device.close()
    return losses.seen, [number for row in rows for number in (row.test_loss, row.test_accuracy)]


@pytest.mark.parametrize("name", NETS)
def test_the_emulated_gpu_learns_as_the_cpu_does(name: str) -> None:
    (steps, tests), (emulated_steps, emulated_tests) = (curve(NETS[name], where) for where in ("cpu", "emulated"))
    assert len(steps) == 30
    np.testing.assert_allclose(emulated_steps, steps, rtol=1e-4)
    np.testing.assert_allclose(emulated_tests, tests, rtol=1e-4)
    assert steps[-1] < steps[0]
