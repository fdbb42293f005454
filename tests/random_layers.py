"""Random layers of every type over small odd volumes; each case follows from its type and its number alone."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from bench.peer.layers import TRANSLATORS
from gpunet import ConfigError, ShapeError, Volume
from gpunet.layers import layer_types
from gpunet.layers.average_pool import AdaptiveAvgPool, AvgPool, GlobalAvgPool
from gpunet.layers.batch_norm import BatchNorm
from gpunet.layers.by_map import PReLU, Scale
from gpunet.layers.conv import Conv
from gpunet.layers.dropout import Dropout
from gpunet.layers.fc import FC
from gpunet.layers.l2_pool import L2Pool
from gpunet.layers.layer import Layer
from gpunet.layers.leaky_relu import LeakyReLU
from gpunet.layers.local import LocallyConnected
from gpunet.layers.lrn import LRN
from gpunet.layers.maps import Shuffle, Slice
from gpunet.layers.merge import Add, Concat, Maximum, Multiply
from gpunet.layers.pool import GlobalMaxPool, MaxPool
from gpunet.layers.relu import ReLU
from gpunet.layers.squash import Sigmoid, Tanh
from gpunet.layers.units import ELU, GELU, Clip, HardSigmoid, HardSwish, ReLU6, SiLU, Softplus
from gpunet.program.volume import FIT_POLICIES

Fields = dict[str, Any]
Rng = np.random.Generator


@dataclass(frozen=True)
class Case:
    """A layer over its input volumes, on N images; `seed` is what its random numbers start from."""

    layer: Layer
    inputs: tuple[Volume, ...]
    N: int
    seed: tuple[int, ...]


def random_case(kind: type[Layer], number: int) -> Case:
    """Case `number` of a layer type: fields, volumes and batch, drawn until the layer takes them."""
    seed = (*kind.type.encode(), number)
    rng = np.random.default_rng(seed)
    while True:
        volume = Volume(*(int(size) for size in rng.integers(1, (9, 8, 7))))
        inputs = _joined(kind, volume, rng)
        try:
            layer = kind(**FIELDS[kind](rng, volume))
            layer.output(*inputs)
        except (ConfigError, ShapeError):
            continue
        N = int(rng.integers(1, 5))
        if kind.across_images and N * volume.H * volume.W < 8:  # the gradient of so few values is but a rounding error
            continue
        return Case(layer, inputs, max(N, 2) if kind.across_images else N, seed)


def _joined(kind: type[Layer], volume: Volume, rng: Rng) -> tuple[Volume, ...]:
    """The inputs: one, or for a layer that merges two to four."""
    if not kind.merges:
        return (volume,)
    depths = [int(D) for D in rng.integers(1, 7, 4)] if kind is Concat else [volume.D] * 4
    volumes = [Volume(volume.H, volume.W, D) for D in depths[: rng.integers(2, 5)]]
    if kind is Multiply:
        volumes = [volume if rng.random() < 0.5 else Volume(1, 1, volume.D) for volume in volumes]
    return tuple(volumes)


def _maybe(rng: Rng, **fields: Any) -> Fields:
    """Each of these fields as it comes, or left to its default."""
    return {name: value for name, value in fields.items() if rng.random() < 0.7}


def _conv(rng: Rng, volume: Volume) -> Fields:
    groups = int(rng.choice([d for d in range(1, volume.D + 1) if volume.D % d == 0]))
    sides = [(), (2,), (4,)][rng.integers(3)]
    numbers = _maybe(
        rng,
        S=_sizes(rng, 1, 4, ((), (2,))[rng.integers(2)]),
        P=_sizes(rng, 0, 4, sides),
        dilation=_sizes(rng, 1, 4, ((), (2,))[rng.integers(2)]),
        groups=groups,
        bias=bool(rng.integers(2)),
    )
    K = int(rng.integers(1, 4)) * numbers.get("groups", 1)
    return {"K": K, "F": _sizes(rng, 1, 5, ((), (2,))[rng.integers(2)]), "fit": _fit(rng), **numbers}


def _sizes(rng: Rng, least: int, end: int, shape: tuple[int, ...]) -> int | tuple[int, ...]:
    drawn = rng.integers(least, end, shape or 1).tolist()
    return tuple(drawn) if shape else int(drawn[0])


def _fit(rng: Rng) -> str:
    return str(rng.choice(FIT_POLICIES))


def _local(rng: Rng, volume: Volume) -> Fields:
    numbers = _maybe(rng, S=int(rng.integers(1, 4)), P=int(rng.integers(0, 3)))
    return {"K": int(rng.integers(1, 5)), "F": int(rng.integers(1, 4)), "fit": _fit(rng), **numbers}


def _pool(rng: Rng, volume: Volume) -> Fields:
    """Half of them square, with equal sides: those have ops of their own."""
    if rng.random() < 0.5:
        F = int(rng.integers(1, 5))
        return {"F": F, "fit": _fit(rng), **_maybe(rng, S=int(rng.integers(1, 5)), P=int(rng.integers(0, F)))}
    numbers = _maybe(
        rng, S=_sizes(rng, 1, 5, ((), (2,))[rng.integers(2)]), P=_sizes(rng, 0, 3, [(), (2,), (4,)][rng.integers(3)])
    )
    return {"F": _sizes(rng, 1, 5, (2,)), "fit": _fit(rng), **numbers}


def _average_pool(rng: Rng, volume: Volume) -> Fields:
    return _pool(rng, volume) | _maybe(rng, counts=str(rng.choice(["seen", "padding"])))


def _lrn(rng: Rng, volume: Volume) -> Fields:
    numbers = _maybe(rng, alpha=rng.uniform(0, 0.5), beta=rng.uniform(0.2, 1.5), k=rng.uniform(0.5, 3))
    return {"n": int(rng.choice([1, 3, 5, 7])), "over": str(rng.choice(["maps", "map"])), **numbers}


def _batch_norm(rng: Rng, volume: Volume) -> Fields:
    return _maybe(rng, eps=10 ** rng.uniform(-5, 0), momentum=rng.uniform(0, 1), affine=bool(rng.integers(2)))


def _nothing(rng: Rng, volume: Volume) -> Fields:
    return {}


FIELDS: dict[type[Layer], Callable[[Rng, Volume], Fields]] = {
    AdaptiveAvgPool: lambda rng, volume: {"K": _sizes(rng, 1, 6, ((), (2,))[rng.integers(2)])},
    Add: lambda rng, volume: {"coefficients": tuple(rng.uniform(-2, 2, rng.choice([0, 2, 3])).tolist())},
    AvgPool: _average_pool,
    BatchNorm: _batch_norm,
    Clip: lambda rng, volume: {"low": rng.uniform(-1, 0), "high": rng.uniform(0, 1)},
    Concat: _nothing,
    Conv: _conv,
    Dropout: lambda rng, volume: {"p": 0.0, "of": str(rng.choice(["values", "maps", "images"]))},
    ELU: lambda rng, volume: {"alpha": rng.uniform(0.1, 2)},
    FC: lambda rng, volume: {"K": int(rng.integers(1, 12)), "bias": bool(rng.integers(2))},
    GELU: lambda rng, volume: {"approximate": str(rng.choice(["none", "tanh"]))},
    GlobalAvgPool: _nothing,
    GlobalMaxPool: _nothing,
    HardSigmoid: _nothing,
    HardSwish: _nothing,
    L2Pool: _pool,
    LRN: _lrn,
    LeakyReLU: lambda rng, volume: {"alpha": rng.uniform(0.001, 0.9)},
    LocallyConnected: _local,
    MaxPool: _pool,
    Maximum: _nothing,
    Multiply: _nothing,
    PReLU: lambda rng, volume: _maybe(rng, shared=bool(rng.integers(2)), start=rng.uniform(-1, 1)),
    ReLU: _nothing,
    ReLU6: _nothing,
    Scale: lambda rng, volume: {"bias": bool(rng.integers(2))},
    Shuffle: lambda rng, volume: {"groups": int(rng.integers(1, 5))},
    Sigmoid: _nothing,
    SiLU: _nothing,
    Slice: lambda rng, volume: _maybe(rng, first=int(rng.integers(0, 4)), last=int(rng.integers(1, 7))),
    Softplus: _nothing,
    Tanh: _nothing,
}
"""By layer type: what draws its fields. Dropout drops nothing here: the masks of others are others."""

for kind in layer_types():
    if kind not in FIELDS:  # the tests of a layer may say both themselves
        tests = import_module(f"tests.test_{kind.__module__.rpartition('.')[2]}")
        FIELDS[kind], TRANSLATORS[kind] = tests.random_fields, tests.peer
