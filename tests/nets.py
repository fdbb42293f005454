"""Nets for tests: fixed ones, and random chains of odd sizes in which every layer fits."""

from dataclasses import replace

import numpy as np

import gpunet
from gpunet import FC, Conv, MaxPool, Net, Plan, ReLU, ShapeError, Volume
from gpunet.layers.layer import Layer
from gpunet.program.algorithm import Math

BLOCKS = "INPUT[16x12x3] -> [CONV3-8 -> RELU]*2 -> POOL2 -> [CONV3-6 -> RELU]*2 -> POOL2 -> FC-7 -> RELU -> FC-5"
"""Two blocks of a little VGG."""


def vgg16() -> Net:
    """VGG-16 as the notes list it."""
    layers: list[Layer] = []
    for count, K in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        layers += [Conv(K), ReLU()] * count + [MaxPool(2)]
    return Net("224x224x3", [*layers, FC(4096), ReLU(), FC(4096), ReLU(), FC(1000)], name="vgg16")


def small() -> Net:
    """A chain with every layer kind; H, W, D and the K all different."""
    layers = [Conv(5), ReLU(), MaxPool(2), Conv(6, F=2, P=0), ReLU(), MaxPool(3, S=2, P=1), FC(7), ReLU(), FC(4)]
    return Net("10x12x3", layers, name="small", fit="pad")


def blocks() -> Net:
    return gpunet.load(BLOCKS)


def tight_plan(net: Net, batch: int, device: str, math: Math = "exact") -> Plan:
    """A plan that makes activations again and, where scratch is large, runs the first layers one image at a time."""
    made = gpunet.plan(net, batch, device=device, budget=1, max_cost=1.0, math=math)
    assert (made.program.loops or device != "cpu") and any(name.endswith(".again") for name in made.program.tensors)
    return made


def random_net(rng: np.random.Generator, *, layers: int = 6) -> Net:
    """A random chain over a random odd-sized input, ending in FC; every fit policy, stride and padding turns up."""
    fit = str(rng.choice(["pad", "crop"]))
    volume = Volume(*(int(size) for size in rng.integers(5, 12, 2)), int(rng.integers(1, 4)))
    chosen: list[Layer] = []
    at = volume
    while len(chosen) < layers:
        layer = _random_layer(rng, fit)
        try:
            at = layer.output(at)
        except ShapeError:
            layer = ReLU()
        chosen.append(layer)
    return Net(volume, [*chosen, FC(int(rng.integers(2, 6)))], name="random", fit=fit)


def _random_layer(rng: np.random.Generator, fit: str) -> Layer:
    F = int(rng.integers(1, 5))
    S = int(rng.integers(1, 4))
    match int(rng.integers(4)):
        case 0 | 1:
            return _random_conv(rng, F, S, fit)
        case 2:
            return MaxPool(F, S=S, P=int(rng.integers(0, F)), fit=fit)
        case _:
            return ReLU()


def _random_conv(rng: np.random.Generator, F: int, S: int, fit: str) -> Conv:
    """Half of them plain, the others with sides, groups, dilation and bias as it comes."""
    K, P = int(rng.integers(1, 6)), int(rng.integers(0, 3))
    if rng.random() < 0.5:
        return Conv(K, F=F, S=S, P=P, fit=fit)
    columns, across = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    top, bottom, left, right = (int(p) for p in rng.integers(0, 3, 4))
    dilation, bias = int(rng.integers(1, 3)), bool(rng.random() < 0.5)
    return Conv(K, (F, columns), (S, across), (top, bottom, left, right), dilation=dilation, bias=bias, fit=fit)


SMALL = {
    "alexnet": (1 / 32, "67x67x3"),
    "alexnet_torchvision": (1 / 32, "64x64x3"),
    "allcnn_c": (1 / 32, "12x12x3"),
    "bvlc_alexnet": (1 / 32, "67x67x3"),
    "caffenet": (1 / 32, "67x67x3"),
    "cifar10": (1 / 16, "16x16x3"),
    "context": (1 / 8, "12x10x21"),
    "densenet121": (1 / 16, "32x32x3"),
    "googlenet": (1 / 32, "80x80x3"),
    "googlenet_bn": (1 / 32, "48x48x3"),
    "efficientnet_lite0": (1 / 16, "32x32x3"),
    "inception_v3": (1 / 64, "75x75x3"),
    "inception_v4": (1 / 64, "75x75x3"),
    "lenet5": (1 / 4, "20x20x1"),
    "mobilenet_v2": (1 / 16, "48x48x3"),
    "msra_resnet50": (1 / 32, "32x32x3"),
    "msra_resnet101": (1 / 32, "32x32x3"),
    "msra_resnet152": (1 / 32, "32x32x3"),
    "nin": (1 / 32, "12x12x3"),
    "preact_resnet110": (1 / 8, "8x8x3"),
    "preact_resnet164": (1 / 8, "8x8x3"),
    "preact_resnet1001": (1 / 8, "8x8x3"),
    "resnet18": (1 / 32, "32x32x3"),
    "resnet20": (1 / 4, "12x12x3"),
    "resnet34": (1 / 32, "32x32x3"),
    "resnet50": (1 / 32, "32x32x3"),
    "resnet101": (1 / 32, "32x32x3"),
    "resnet152": (1 / 32, "32x32x3"),
    "squeezenet1_0": (1 / 16, "48x48x3"),
    "squeezenet1_1": (1 / 16, "48x48x3"),
    "resnext50": (1 / 64, "32x32x3"),
    "vgg11": (1 / 32, "32x32x3"),
    "vgg11_bn": (1 / 32, "32x32x3"),
    "vgg13": (1 / 32, "32x32x3"),
    "vgg13_bn": (1 / 32, "32x32x3"),
    "vgg16": (1 / 32, "32x32x3"),
    "vgg16_bn": (1 / 32, "32x32x3"),
    "vgg19": (1 / 32, "32x32x3"),
    "vgg19_bn": (1 / 32, "32x32x3"),
    "vgg_cifar": (1 / 16, "16x16x3"),
    "vgg_digits": (1 / 4, "8x8x1"),
    "zfnet": (1 / 32, "64x64x3"),
}
"""How far the shipped nets are scaled down to run in a moment; a net that is not here fails the tests of all nets."""


def shipped(name: str) -> Net:
    """A shipped net with few filters, over small images, with at most ten classes."""
    net = gpunet.load(name).scaled(*SMALL[name])
    scorers = [node for node in net.nodes if getattr(node.layer, "K", 0) == net.classes > 10]
    fewer = {node.name: replace(node.layer, K=10) for node in scorers}
    nodes = [replace(node, layer=fewer.get(node.name, node.layer)) for node in net.nodes]
    return Net(
        net.input,
        nodes,
        name=net.name,
        fit=net.fit,
        scale=net.scale,
        shift=net.shift,
        augment=net.augment,
        loss=net.loss,
    )
