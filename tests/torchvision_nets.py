"""torchvision's nets, written anew from torch.nn with its names for the layers: the outside judge of what is imported.

`width` scales all filters but those of the scores, `maps` is the height and width at which the first FC layer of a VGG
or an AlexNet sees its volume.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from tests.torchvision_branches import InceptionV3, MobileNetV2

VGG = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
RESNET = {
    "resnet18": (False, (2, 2, 2, 2)),
    "resnet34": (False, (3, 4, 6, 3)),
    "resnet50": (True, (3, 4, 6, 3)),
    "resnet101": (True, (3, 4, 23, 3)),
    "resnet152": (True, (3, 8, 36, 3)),
}


def torchvision_net(name: str, width: float = 1, classes: int = 1000, maps: int = 7) -> nn.Module:
    """The net of that name with weights and running statistics drawn at random, ready to score."""
    scale = partial(_scaled, width)
    torch.manual_seed(len(name))
    if name.removesuffix("_bn") in VGG:
        net: nn.Module = Chain(*_vgg(VGG[name.removesuffix("_bn")], name.endswith("_bn"), scale, classes, maps))
    elif name in RESNET:
        net = ResNet(*RESNET[name], scale, classes)
    else:
        net = OTHERS[name](scale, classes, maps)
    for key, values in net.state_dict().items():
        if key.endswith("running_mean"):
            values.normal_(0, 0.1)
        elif key.endswith("running_var"):
            values.uniform_(0.5, 1.5)
    return net.eval()


Scale = Callable[[int], int]


def _scaled(width: float, filters: int) -> int:
    return max(1, round(filters * width))


class Chain(nn.Module):
    def __init__(self, features: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.features, self.classifier = features, classifier

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


def _vgg(counts: tuple[int, ...], bn: bool, scale: Scale, classes: int, maps: int) -> tuple[nn.Module, nn.Module]:
    layers: list[nn.Module] = []
    D = 3
    for count, filters in zip(counts, (64, 128, 256, 512, 512), strict=True):
        for _ in range(count):
            K = scale(filters)
            layers += [nn.Conv2d(D, K, 3, padding=1), *([nn.BatchNorm2d(K)] if bn else []), nn.ReLU()]
            D = K
        layers.append(nn.MaxPool2d(2))
    hidden = scale(4096)
    fcs = [nn.Linear(D * maps * maps, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU()]
    return nn.Sequential(*layers), nn.Sequential(*fcs, nn.Dropout(), nn.Linear(hidden, classes))


class Block(nn.Module):
    def __init__(self, D: int, K: int, stride: int, deep: bool, groups: int = 1) -> None:
        super().__init__()
        out = 4 * K if deep else K
        K = 2 * K if groups > 1 else K
        sizes = [(D, K, 1), (K, K, 3), (K, out, 1)] if deep else [(D, K, 3), (K, K, 3)]
        for number, (before, after, F) in enumerate(sizes, 1):
            S = stride if F == 3 and (deep or number == 1) else 1
            setattr(
                self,
                f"conv{number}",
                nn.Conv2d(before, after, F, S, F // 2, groups=groups if F == 3 else 1, bias=False),
            )
            setattr(self, f"bn{number}", nn.BatchNorm2d(after))
        self.count, self.downsample = len(sizes), None
        if stride > 1 or out != D:
            self.downsample = nn.Sequential(nn.Conv2d(D, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for number in range(1, self.count + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
            y = y if number == self.count else y.relu()
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class ResNet(nn.Module):
    def __init__(self, deep: bool, stages: tuple[int, ...], scale: Scale, classes: int, groups: int = 1) -> None:
        super().__init__()
        D = scale(64)
        self.conv1, self.bn1 = nn.Conv2d(3, D, 7, 2, 3, bias=False), nn.BatchNorm2d(D)
        for stage, count in enumerate(stages, 1):
            blocks = []
            for number in range(count):
                K = scale(32 * 2**stage)
                blocks.append(Block(D, K, 2 if stage > 1 and number == 0 else 1, deep, groups))
                D = 4 * K if deep else K
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(D, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))


ALEXNET = ((64, 11, 4, 2, 1), (192, 5, 1, 2, 1), (384, 3, 1, 1, 0), (256, 3, 1, 1, 0), (256, 3, 1, 1, 1))
"""Filters, extent, stride, padding, and whether a pool follows."""


def _alexnet(scale: Scale, classes: int, maps: int) -> nn.Module:
    layers: list[nn.Module] = []
    D = 3
    for filters, F, S, P, pooled in ALEXNET:
        layers += [nn.Conv2d(D, scale(filters), F, S, P), nn.ReLU(), *[nn.MaxPool2d(3, 2)] * pooled]
        D = scale(filters)
    hidden = scale(4096)
    fcs = [nn.Dropout(), nn.Linear(D * maps * maps, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, hidden)]
    return Chain(nn.Sequential(*layers), nn.Sequential(*fcs, nn.ReLU(), nn.Linear(hidden, classes)))


class Fire(nn.Module):
    def __init__(self, D: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(D, squeeze, 1)
        self.expand1x1, self.expand3x3 = nn.Conv2d(squeeze, expand, 1), nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], 1)


def _squeezenet(new: bool, scale: Scale, classes: int, maps: int) -> nn.Module:
    first = nn.Conv2d(3, scale(64), 3, 2) if new else nn.Conv2d(3, scale(96), 7, 2)
    layers: list[nn.Module] = [first, nn.ReLU()]
    pools = (0, 2, 4) if new else (0, 3, 7)
    D = first.out_channels
    for number, squeeze in enumerate((16, 16, 32, 32, 48, 48, 64, 64)):
        if number in pools:
            layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
        layers.append(Fire(D, scale(squeeze), scale(4 * squeeze)))
        D = 2 * scale(4 * squeeze)
    classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(D, classes, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    return Chained(nn.Sequential(*layers), classifier)


class Chained(Chain):
    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x)).flatten(1)


class DenseLayer(nn.Module):
    def __init__(self, D: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(D), nn.Conv2d(D, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv2(self.norm2(self.conv1(self.norm1(x).relu())).relu())], 1)


class Transition(nn.Module):
    def __init__(self, D: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(D), nn.Conv2d(D, D // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(self.conv(self.norm(x).relu()), 2)


class DenseNet(nn.Module):
    def __init__(self, scale: Scale, classes: int, maps: int) -> None:
        super().__init__()
        D, growth = scale(64), scale(32)
        self.features = nn.Sequential()
        self.features.conv0 = nn.Conv2d(3, D, 7, 2, 3, bias=False)
        self.features.norm0 = nn.BatchNorm2d(D)
        self.features.relu0 = nn.ReLU()
        self.features.pool0 = nn.MaxPool2d(3, 2, 1)
        for block, count in enumerate((6, 12, 24, 16), 1):
            layers = nn.Sequential()
            for number in range(1, count + 1):
                layers.add_module(f"denselayer{number}", DenseLayer(D, growth))
                D += growth
            self.features.add_module(f"denseblock{block}", layers)
            if block < 4:
                self.features.add_module(f"transition{block}", Transition(D))
                D //= 2
        self.features.norm5 = nn.BatchNorm2d(D)
        self.classifier = nn.Linear(D, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).relu().mean((2, 3)))


class BasicConv(nn.Module):
    def __init__(self, D: int, K: int, F: int, S: int = 1) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(D, K, F, S, F // 2, bias=False), nn.BatchNorm2d(K, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu()


class Inception(nn.Module):
    def __init__(self, D: int, K: list[int]) -> None:
        super().__init__()
        self.branch1 = BasicConv(D, K[0], 1)
        self.branch2 = nn.Sequential(BasicConv(D, K[1], 1), BasicConv(K[1], K[2], 3))
        self.branch3 = nn.Sequential(BasicConv(D, K[3], 1), BasicConv(K[3], K[4], 3))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), BasicConv(D, K[5], 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in (self.branch1, self.branch2, self.branch3, self.branch4)], 1)


MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class GoogLeNet(nn.Module):
    def __init__(self, scale: Scale, classes: int, maps: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = BasicConv(3, scale(64), 7, 2), BasicConv(scale(64), scale(64), 1)
        self.conv3 = BasicConv(scale(64), scale(192), 3)
        D = scale(192)
        for name, filters in MODULES.items():
            K = [scale(count) for count in filters]
            setattr(self, f"inception{name}", Inception(D, K))
            D = K[0] + K[2] + K[4] + K[5]
        self.fc = nn.Linear(D, classes)

    def forward(self, x: Tensor) -> Tensor:
        pool = partial(nn.functional.max_pool2d, ceil_mode=True)
        x = pool(self.conv3(self.conv2(pool(self.conv1(x), 3, 2))), 3, 2)
        for name in MODULES:
            x = getattr(self, f"inception{name}")(x)
            x = pool(x, 3, 2) if name == "3b" else pool(x, 2, 2) if name == "4e" else x
        return self.fc(x.mean((2, 3)))


OTHERS: dict[str, Callable[[Scale, int, int], nn.Module]] = {
    "alexnet_torchvision": _alexnet,
    "squeezenet1_0": partial(_squeezenet, False),
    "squeezenet1_1": partial(_squeezenet, True),
    "densenet121": DenseNet,
    "googlenet_bn": GoogLeNet,
    "inception_v3": InceptionV3,
    "mobilenet_v2": MobileNetV2,
    "resnext50": lambda scale, classes, maps: ResNet(True, (3, 4, 6, 3), scale, classes, groups=32),
}
