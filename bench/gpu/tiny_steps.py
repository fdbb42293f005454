"""A program for compute-sanitizer: steps of a small net of odd sizes, with every kernel and every kind of batch."""

import sys
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from gpunet import FC, Conv, MaxPool, Net, ReLU
from gpunet.devices import open_device
from gpunet.devices.device import Device
from gpunet.model import Model


def net() -> Net:
    """Odd sizes and sizes of whole packs; strides, windows that hang over, both types of switches."""
    layers = [
        Conv(8),
        ReLU(),
        MaxPool(2),
        Conv(7, F=2, S=2, P=1),
        ReLU(),
        Conv(6),
        MaxPool(17, S=3, P=16),
        FC(12),
        ReLU(),
        FC(5),
    ]
    return Net("13x18x3", layers, name="tiny", fit="pad")


def steps(device: Device) -> list[float]:
    """Losses of steps with uint8 and float images, whole and partial batches, cut and whole im2col, both optimizers."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, *net().input.shape), np.uint8)
    labels = rng.integers(0, net().classes, 5, np.int32)
    losses = []
    for optimizer, dtype, limit in (("momentum", "float32", 16_000), ("sgd", "float64", None)):
        with Model(net(), 5, device, optimizer=optimizer, dtype=dtype, scratch_limit=limit) as model:
            losses.append(model.step(images, labels))
            losses.append(model.step(images.astype(np.float32) / 255, labels))
            losses.append(model.step(images[:2], labels[:2]))
    with Model(net(), 5, device, mode="infer") as model:
        losses.append(float(model.forward(images).sum()))
    return losses


if __name__ == "__main__":
    device = open_device("cuda")
    print(*steps(device))
    device.close()
