"""More of torchvision's nets, as tests/torchvision_nets.py has them: MobileNetV2 and Inception-v3, without its head."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Scale = Callable[[int], int]
Extent = int | tuple[int, int]

INVERTED = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, filters, blocks and stride of MobileNetV2's stages."""


def clipped(D: int, K: int, extent: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(D, K, extent, stride, extent // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(K), nn.ReLU6())


class Inverted(nn.Module):
    def __init__(self, D: int, hidden: int, K: int, stride: int, adds: bool) -> None:
        super().__init__()
        layers = [clipped(D, hidden, 1)] if hidden != D else []
        last = [nn.Conv2d(hidden, K, 1, bias=False), nn.BatchNorm2d(K)]
        self.conv = nn.Sequential(*layers, clipped(hidden, hidden, 3, stride, hidden), *last)
        self.adds = adds

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.adds else y


class MobileNetV2(nn.Module):
    def __init__(self, scale: Scale, classes: int, maps: int) -> None:
        super().__init__()
        D, layers = 32, [clipped(3, scale(32), 3, 2)]
        for expansion, K, count, first in INVERTED:
            for number in range(count):
                stride = 1 if number else first
                layers.append(Inverted(scale(D), scale(expansion * D), scale(K), stride, number > 0))  # type: ignore[arg-type]
                D = K
        self.features = nn.Sequential(*layers, clipped(scale(D), scale(1280), 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(scale(1280), classes))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return scores


class Basic(nn.Module):
    def __init__(self, D: int, K: int, extent: Extent, stride: int = 1, padding: Extent = 0) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(D, K, extent, stride, padding, bias=False), nn.BatchNorm2d(K, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(self.bn(self.conv(x)))


ROW, COLUMN = ((1, 7), (0, 3)), ((7, 1), (3, 0))


class Mixed(nn.Module):
    """A module of Inception-v3: convolutions by name, each (filters, extent, padding) and of stride 2 where it says so,
    and its branches as names one after another; a tuple among them stands for some beside one another."""

    def __init__(self, D: int, scale: Scale, convolutions: dict[str, tuple[object, ...]], branches: list[list[object]]):
        super().__init__()
        self.branches, self.out = branches, 0
        for branch in branches:
            before = D
            for part in branch:
                beside = part if isinstance(part, tuple) else (part,)
                made = 0
                for name in beside:
                    if name in ("average", "pool"):
                        made = before
                        continue
                    K, extent, padding, *stride = convolutions[name]
                    self.add_module(name, Basic(before, scale(K), extent, *(stride or [1]), padding))  # type: ignore[arg-type]
                    made += scale(K)  # type: ignore[arg-type]
                before = made
            self.out += before

    def forward(self, x: Tensor) -> Tensor:
        ends = []
        for branch in self.branches:
            y = x
            for part in branch:
                if part == "average":
                    y = nn.functional.avg_pool2d(y, 3, 1, 1)
                elif part == "pool":
                    y = nn.functional.max_pool2d(y, 3, 2)
                else:
                    names = part if isinstance(part, tuple) else (part,)
                    y = torch.cat([getattr(self, name)(y) for name in names], 1)
            ends.append(y)
        return torch.cat(ends, 1)


def _mixed_5(pooled: int) -> tuple[dict[str, tuple[object, ...]], list[list[object]]]:
    found = {"branch1x1": (64, 1, 0), "branch5x5_1": (48, 1, 0), "branch5x5_2": (64, 5, 2)}
    found |= {"branch3x3dbl_1": (64, 1, 0), "branch3x3dbl_2": (96, 3, 1), "branch3x3dbl_3": (96, 3, 1)}
    found |= {"branch_pool": (pooled, 1, 0)}
    doubled = [f"branch3x3dbl_{n}" for n in (1, 2, 3)]
    return found, [["branch1x1"], ["branch5x5_1", "branch5x5_2"], doubled, ["average", "branch_pool"]]  # type: ignore[list-item, return-value]


def _mixed_6(c: int) -> tuple[dict[str, tuple[object, ...]], list[list[object]]]:
    found: dict[str, tuple[object, ...]] = {"branch1x1": (192, 1, 0), "branch7x7_1": (c, 1, 0)}
    found |= {"branch7x7_2": (c, *ROW), "branch7x7_3": (192, *COLUMN), "branch7x7dbl_1": (c, 1, 0)}
    found |= {"branch7x7dbl_2": (c, *COLUMN), "branch7x7dbl_3": (c, *ROW), "branch7x7dbl_4": (c, *COLUMN)}
    found |= {"branch7x7dbl_5": (192, *ROW), "branch_pool": (192, 1, 0)}
    branches = [[f"branch7x7{kind}_{n}" for n in range(1, count + 1)] for kind, count in (("", 3), ("dbl", 5))]
    return found, [["branch1x1"], *branches, ["average", "branch_pool"]]  # type: ignore[list-item]


def _mixed_7() -> tuple[dict[str, tuple[object, ...]], list[list[object]]]:
    row, column = ((1, 3), (0, 1)), ((3, 1), (1, 0))
    found: dict[str, tuple[object, ...]] = {"branch1x1": (320, 1, 0), "branch3x3_1": (384, 1, 0)}
    found |= {"branch3x3_2a": (384, *row), "branch3x3_2b": (384, *column), "branch3x3dbl_1": (448, 1, 0)}
    found |= {"branch3x3dbl_2": (384, 3, 1), "branch3x3dbl_3a": (384, *row), "branch3x3dbl_3b": (384, *column)}
    found |= {"branch_pool": (192, 1, 0)}
    doubled = ["branch3x3dbl_1", "branch3x3dbl_2", ("branch3x3dbl_3a", "branch3x3dbl_3b")]
    threes = ["branch3x3_1", ("branch3x3_2a", "branch3x3_2b")]
    return found, [["branch1x1"], threes, doubled, ["average", "branch_pool"]]  # type: ignore[list-item]


MIXED = {
    "5b": _mixed_5(32),
    "5c": _mixed_5(64),
    "5d": _mixed_5(64),
    "6a": (
        {
            "branch3x3": (384, 3, 0, 2),
            "branch3x3dbl_1": (64, 1, 0),
            "branch3x3dbl_2": (96, 3, 1),
            "branch3x3dbl_3": (96, 3, 0, 2),
        },
        [["branch3x3"], ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"], ["pool"]],
    ),
    "6b": _mixed_6(128),
    "6c": _mixed_6(160),
    "6d": _mixed_6(160),
    "6e": _mixed_6(192),
    "7a": (
        {
            "branch3x3_1": (192, 1, 0),
            "branch3x3_2": (320, 3, 0, 2),
            "branch7x7x3_1": (192, 1, 0),
            "branch7x7x3_2": (192, *ROW),
            "branch7x7x3_3": (192, *COLUMN),
            "branch7x7x3_4": (192, 3, 0, 2),
        },
        [["branch3x3_1", "branch3x3_2"], [f"branch7x7x3_{n}" for n in (1, 2, 3, 4)], ["pool"]],
    ),
    "7b": _mixed_7(),
    "7c": _mixed_7(),
}


class InceptionV3(nn.Module):
    def __init__(self, scale: Scale, classes: int, maps: int) -> None:
        super().__init__()
        D = 3
        for name, K, extent, stride, padding in STEM:
            self.add_module(f"Conv2d_{name}", Basic(D, scale(K), extent, stride, padding))
            D = scale(K)
        for name, (convolutions, branches) in MIXED.items():
            module = Mixed(D, scale, convolutions, branches)  # type: ignore[arg-type]
            self.add_module(f"Mixed_{name}", module)
            D = module.out
        self.fc = nn.Linear(D, classes)

    def forward(self, x: Tensor) -> Tensor:
        for name, *_ in STEM:
            x = getattr(self, f"Conv2d_{name}")(x)
            x = nn.functional.max_pool2d(x, 3, 2) if name in ("2b_3x3", "4a_3x3") else x
        for name in MIXED:
            x = getattr(self, f"Mixed_{name}")(x)
        scores: Tensor = self.fc(x.mean((2, 3)))
        return scores


STEM = (
    ("1a_3x3", 32, 3, 2, 0),
    ("2a_3x3", 32, 3, 1, 0),
    ("2b_3x3", 64, 3, 1, 1),
    ("3b_1x1", 80, 1, 1, 0),
    ("4a_3x3", 192, 3, 1, 0),
)
"""Name, filters, extent, stride and padding."""
