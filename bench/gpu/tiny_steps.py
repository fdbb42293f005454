"""A program for compute-sanitizer: steps of a small net of odd sizes, with every kernel and every kind of batch."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from gpunet import (
    FC,
    LRN,
    Augment,
    AvgPool,
    BatchNorm,
    Conv,
    Dropout,
    GlobalAvgPool,
    Hinge,
    L2Pool,
    LeakyReLU,
    Learning,
    LocallyConnected,
    MaxPool,
    Net,
    ReLU,
    Sigmoid,
    Tanh,
    load,
)
from gpunet.compile.rewrite import REWRITES
from gpunet.devices import open_device, target
from gpunet.devices.cuda.target import CudaTarget
from gpunet.devices.cuda.tiles import TILES
from gpunet.devices.device import Device
from gpunet.devices.target import DeviceTarget
from gpunet.layers import layer_types
from gpunet.model.model import Model
from gpunet.net.fields import missing
from gpunet.optimize.optimizers import OPTIMIZERS
from gpunet.planning.planner import plan
from gpunet.profile.convolutions import Room, candidates_on, conv_cases, numbers, random_values
from gpunet.program.algorithm import Algorithm, Math, Pass
from gpunet.program.filters import ConvShape
from gpunet.program.program import Op

BATCH = 5


def net() -> Net:
    """Odd sizes and sizes of whole packs; strides, windows that hang over, all types of switches."""
    layers = [
        Conv(8),
        ReLU(),
        MaxPool(2),
        Conv(7, F=2, S=2, P=1),
        ReLU(),
        Conv(6),
        MaxPool(4, S=1, P=3),
        MaxPool(17, S=3, P=16),
        FC(12),
        ReLU(),
        FC(5),
    ]
    return Net("13x18x3", layers, name="tiny", fit="pad")


def other_net() -> Net:
    """The layers, and the loss, that the first net is without."""
    layers = [
        Conv(8),
        BatchNorm(),
        LRN(),
        LeakyReLU(),
        AvgPool(2),
        Conv(7),
        BatchNorm(affine=False),
        LRN(over="map"),
        Tanh(),
        L2Pool(3, S=2),
        LocallyConnected(6),
        Conv(6, F=(2, 3), S=(1, 2), P=(0, 1, 2, 1), dilation=2, bias=False),
        Sigmoid(),
        Conv(8, F=1, groups=2),
        Conv(12, groups=4),
        GlobalAvgPool(),
        Dropout(),
        FC(5),
    ]
    return Net("13x18x3", layers, name="others", fit="pad", loss=Hinge(squared=True))


def augmented_net() -> Net:
    """One that sees windows of its images, and other colours."""
    light = Augment(pad=3, flip=True, contrast=0.3, brightness=0.3, saturation=0.3, normalize="imagenet")
    return Net("13x18x3", [Conv(8), ReLU(), FC(5)], name="augmented", augment=light)


def branchy_net() -> Net:
    """Branches that are joined, added and multiplied, and the largest of two."""
    text = "INPUT[13x18x3] -> CONV3-8 -> { CONV1-4 -> RELU | POOL3(S=1, P=1) | CONV3-5 } -> { CONV3-17 + ID }"
    text += " -> { CONV1-4 max CONV3-4 } -> { ID * GAP } -> { ID * CONV1-4 } -> { ID + CONV1-4 }(0.5, 2)"
    return load(f"{text} -> DROPOUT(of=maps) -> FC-5")


def joined_net() -> Net:
    """Branches that lie in what they are joined to, forward and back."""
    return load("INPUT[13x18x3] -> CONV3-8 -> { ID | CONV3-5 -> RELU } -> CONV1-4 -> FC-5")


def residual_net() -> Net:
    """ReLU behind batch normalization, and behind a sum with what was there."""
    return load("INPUT[13x18x3] -> CONV3-8 -> BN -> RELU -> [{ CONV3-8 -> BN + ID } -> RELU]*2 -> CONV3-8 -> FC-5")


def other_layers() -> list[Net]:
    """A net around each layer that none of these has, as it is without options."""
    held = {type(node.layer) for one in (net(), other_net(), branchy_net()) for node in one.nodes}
    new = [kind(**dict.fromkeys(missing(kind, ()), 6)) for kind in layer_types() if kind not in held]
    return [Net("13x18x3", [Conv(12), layer, FC(5)], fit="pad") for layer in new]


def by_axis_net() -> Net:
    """Windows that are not square, in all types of switches."""
    pools = "POOL2x3(S=1x3) -> POOL4x5(S=1, P=2) -> AVGPOOL3x2(S=1) -> L2POOL2x3(S=1) -> POOL16x17(S=1, P=15)"
    return load(f"INPUT[13x18x3] -> CONV3-8 -> {pools} -> FC-5")


PACKS = "INPUT[14x18x8] -> CONV1-8 -> CONV3-8 -> RELU -> POOL2 -> CONV3-16(S=2) -> CONV3-16(groups=16) -> FC-5"
SCALARS = "INPUT[14x18x3] -> CONV1-7 -> CONV3-7 -> RELU -> POOL2 -> CONV3-14(S=2) -> CONV3-14(groups=14) -> FC-5"
NORMED = [f"INPUT[14x18x8] -> CONV3-{maps} -> BN -> RELU -> CONV3-{maps} -> FC-5" for maps in (8, 7)]
"""The second convolution normalizes what it reads, packs of maps or single ones."""


class ByWinograd(CudaTarget):
    """A GPU on which each convolution that can be is Winograd's, however small it is."""

    def conv_algorithm(
        self, pass_: Pass, shape: ConvShape, *, dtype: str, math: Math, scratch_limit_bytes: int
    ) -> Algorithm:
        found = candidates_on(self, pass_, shape, dtype, scratch_limit_bytes)
        return next((one for one in found if one.name == "winograd2"), found[0])


def convolutions() -> Iterator[Op]:
    """Every convolution of two nets by every algorithm and tile, and those with a pool behind or a norm in front."""
    where = target("cuda")
    for text in (PACKS, SCALARS):
        for case in conv_cases(load(text), BATCH, where, "float32"):
            yield from case.ops
        yield from _fused(text, ("conv_pool_",), where)
    for text in NORMED:
        yield from _fused(text, ("conv_norm_", "norm_table"), where)


def _fused(text: str, names: tuple[str, ...], where: DeviceTarget) -> Iterator[Op]:
    """The ops of a net whose names begin so, those of convolutions by every algorithm and tile."""
    for how in (where, ByWinograd(where.compute_capability or (8, 6))):
        for op in plan(load(text), BATCH, device=how, math="direct" if how is where else "exact").program.ops:
            if op.name.startswith(names):
                tiles = TILES if op.attributes.get("algorithm") == "implicit" else ()
                yield from (replace(op, attributes={**op.attributes, "tile": tile}) for tile in tiles)
                yield op


def of_halves() -> Iterator[Op]:
    """What programs in float16 have beside products: values cast, and a gradient scaled."""
    for op in plan(load(SCALARS), BATCH, device=CudaTarget((8, 6)), dtype="float16").program.ops:
        if op.name in ("cast_forward", "scale_gradient"):
            yield op


FALLBACK = frozenset({"relu_and_switches", "relu_and_halves", "unpool"})
"""Kernels of convolutions with a pool behind them by im2col, which no plan has a GPU run."""

ON_TENSOR_CORES = ("tensor_", "thrice_")
"""How kernels are called that other steps run: those of the section tensor_cores."""


def size_of(op: Op, device: Device) -> float:
    """The sum of the sizes of all values that an op makes of random ones; of bytes those of both halves."""
    with Room([op], device) as room:
        arrays = room.arrays(op, random_values)
        device.run(device.bind(op.name, arrays, numbers(op)))
        first = len(op.arguments) - len(op.scratch) - len(op.outputs)
        made = arrays[first : first + len(op.outputs)]
        found = [device.read(values) for values in made]
        return sum(float(np.abs((x // 16 + x % 16 if x.dtype == np.uint8 else x).astype(float)).sum()) for x in found)


def ways_to_run() -> list[tuple[Net, dict[str, Any]]]:
    """Nets and options: cut and whole im2col, all optimizers, both dtypes, free savings or none, a tight budget."""
    smallest = plan(net(), BATCH, budget=1).total_bytes
    return [
        (net(), dict(optimizer="momentum", dtype="float32", scratch_limit=16_000)),
        (net(), dict(optimizer="sgd", dtype="float64", without=tuple(REWRITES))),
        (net(), dict(optimizer="momentum", dtype="float32", budget=smallest)),
        (other_net(), dict(optimizer="momentum", dtype="float32")),
        (other_net(), dict(optimizer="momentum", dtype="float64")),
        (other_net(), dict(optimizer=Learning("sgd", freeze="bn*"), dtype="float32")),
        (net(), dict(optimizer=Learning("sgd", clip_value=0.5, clip_norm=0.5), dtype="float32")),
        (branchy_net(), dict(optimizer="momentum", dtype="float32")),
        (joined_net(), dict(optimizer="momentum", dtype="float32")),
        (joined_net(), dict(optimizer="momentum", dtype="float32", without=("relu-masks",))),
        (residual_net(), dict(optimizer="momentum", dtype="float32", learning_rate=1e-4)),
        (residual_net(), dict(optimizer="momentum", dtype="float32", learning_rate=1e-4, without=("relu-masks",))),
        (augmented_net(), dict(optimizer="momentum", dtype="float32")),
        (by_axis_net(), dict(optimizer="momentum", dtype="float32")),
        *((one, dict(optimizer="momentum", dtype="float32")) for one in other_layers()),
        *((net(), dict(optimizer=name, dtype="float32")) for name in OPTIMIZERS),
    ]


def steps(device: Device) -> list[float]:
    """Losses of steps with uint8 and float images, whole and partial batches, and of evaluations; and a score."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH, *net().input.shape), np.uint8)
    labels = rng.integers(0, net().classes, BATCH, np.int32)
    losses: list[float] = []
    for one, options in ways_to_run():
        with Model(one, BATCH, device, **options) as model:
            losses.extend(model.step(*pair) for pair in model.ahead([(images, labels)] * 2))
            losses.append(model.step(images.astype(np.float32) / 255, labels))
            losses.append(model.step(images[:2], labels[:2]))
            losses.append(model.evaluate(images[:1], labels[:1])[0])
    for one in (net(), by_axis_net()):
        with Model(one, BATCH, device, mode="infer") as model:
            losses.append(float(model.forward(images).sum()))
    losses.append(sum_of_losses(device))
    losses.extend(size_of(op, device) for op in convolutions())
    losses.extend(size_of(op, device) for op in of_halves())
    losses.extend(unscaled(device))
    return losses


def unscaled(device: Device) -> list[float]:
    """A gradient without its scale, and the scale after a step that was fine."""
    arena = device.allocate(1280)
    starts = {"loss": [2.0], "sums": [3.0], "scaling": [8.0, 1.0], "dw": [16.0, -4.0, 2.0], "settled": [0.0]}
    views = {name: arena.view(256 * at, (len(starts[name]),), "float32") for at, name in enumerate(starts)}
    for name, values in starts.items():
        device.write(views[name], np.array(values, np.float32))
    device.ops["unscale"](views["scaling"], views["dw"])
    device.ops["settle_scaling"](views["loss"], views["sums"], views["scaling"], views["settled"], patience=2)
    found = [float(value) for name in ("dw", "scaling", "settled") for value in device.read(views[name])]
    arena.free()
    return found


def sum_of_losses(device: Device) -> float:
    """Of two, as a net with heads along the way adds them."""
    arena = device.allocate(512)
    part, total = (arena.view(offset, (1,), "float32") for offset in (0, 256))
    device.write(part, np.array([3], np.float32))
    device.write(total, np.array([10], np.float32))
    device.ops["add_loss"](part, total, weight=0.3, training=1)
    found = float(device.read(total)[0])
    arena.free()
    return found


if __name__ == "__main__":
    device = open_device("cuda")
    print(*steps(device))
    device.close()
