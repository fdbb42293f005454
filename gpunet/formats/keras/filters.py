"""Keras's layers of filters, dense ones and norms."""

from collections.abc import Mapping
from math import sqrt
from typing import Any

import numpy as np

from gpunet.formats.keras.call import Call, then_activated
from gpunet.formats.keras.settings import axis_is_of_maps, flag, number, numbers, sizes, whole
from gpunet.formats.keras.windows import placed
from gpunet.formats.values import FIRST, Cannot, Making, Value
from gpunet.layers.batch_norm import BatchNorm
from gpunet.layers.conv import Conv
from gpunet.layers.fc import FC


def conv(making: Making, call: Call) -> Value:
    said, value = call.settings, call.value
    K = whole(said, "filters", "nb_filter")
    arrays = call.named("w", *_bias(said))
    return then_activated(
        making, call, _filters(making, call.name, value, said, K, int(said.get("groups") or 1), arrays)
    )


def depthwise(making: Making, call: Call) -> Value:
    arrays = call.named("w", *_bias(call.settings))
    return then_activated(making, call, _by_map(making, call.name, call, arrays))


def separable(making: Making, call: Call) -> Value:
    """A depthwise convolution without a bias, and one of 1x1 behind."""
    bias = _bias(call.settings)
    arrays = call.named("by map", "w", *bias)
    deep = _by_map(making, f"{call.name}_depthwise", call, {"w": arrays.pop("by map")})
    layer = Conv(whole(call.settings, "filters", "nb_filter"), F=1, P=0, bias=bool(bias))
    return then_activated(making, call, making.layer(call.name, layer, deep, arrays=arrays))


def _by_map(making: Making, name: str, call: Call, arrays: dict[str, np.ndarray | None]) -> Value:
    """Filters for each map; how many for each TensorFlow.js leaves to the kernel, H, W, D, M."""
    D = call.value.volume.D
    kernel, times = arrays["w"], call.settings.get("depth_multiplier")
    if kernel is not None and kernel.ndim == 4:
        times = times or kernel.shape[3]
    K = D * int(times or 1)
    return _filters(making, name, call.value, call.settings, K, D, arrays)


def _filters(
    making: Making,
    name: str,
    value: Value,
    said: Mapping[str, Any],
    K: int,
    groups: int,
    arrays: dict[str, np.ndarray | None],
) -> Value:
    F = (int(said["nb_row"]), int(said["nb_col"])) if "nb_row" in said else sizes(said, "kernel_size")
    S = sizes(said, "subsample" if "subsample" in said else "strides", 1)
    layer = Conv(K, F, S, 0, dilation=sizes(said, "dilation_rate", 1), groups=groups, bias="b" in arrays)
    return making.layer(name, placed(layer, value, said), value.bare, arrays=arrays)


def _bias(said: Mapping[str, Any]) -> tuple[str, ...]:
    return ("b",) if flag(said, "use_bias", said.get("bias", True)) else ()


def dense(making: Making, call: Call) -> Value:
    """An FC layer over a vector; over a volume it works at each position, as a convolution of 1x1."""
    said, value = call.settings, call.value
    K = whole(said, "units", "output_dim")
    arrays = call.named("w", *_bias(said))
    if value.order == FIRST:
        arrays["w"] = _maps_last(value, arrays["w"])
    if value.rank == 2 or value.single:
        made = making.layer(call.name, FC(K, "b" in arrays), value, arrays=arrays, rank=value.rank)
        return then_activated(making, call, made)
    kernel = arrays["w"]
    if kernel is not None and kernel.ndim == 2:
        arrays |= {"w": kernel[None, None]}
    layer = Conv(K, F=1, P=0, bias="b" in arrays)
    return then_activated(making, call, making.layer(call.name, layer, value, arrays=arrays))


def _maps_last(value: Value, kernel: np.ndarray | None) -> np.ndarray | None:
    """The kernel of a Dense layer over a volume that was flattened maps first, inputs, outputs."""
    if value.rank != 2:
        raise Cannot("it works along the last axis, which is not that of the maps there")
    H, W, D = value.volume.shape
    if kernel is None or kernel.ndim != 2 or len(kernel) != H * W * D:
        return kernel
    return kernel.reshape(D, H, W, -1).transpose(1, 2, 0, 3).reshape(kernel.shape)


# -- norms


def batch_norm(making: Making, call: Call) -> Value:
    """Keras's momentum is 1 minus ours; without center or scale the shift is 0, the scale 1."""
    said, value = call.settings, call.value
    axis_is_of_maps(said, value)
    if value.rank == 2 and not value.single:
        raise Cannot(
            f"it norms each of the {value.volume.values:,} values of a flattened volume; norms here are by map"
        )
    if flag(said, "renorm", False) or said.get("mode", 0) not in (0, 2):
        raise Cannot("batch renormalization and modes of Keras 1 but 0 are not there")
    has = {"scale": flag(said, "scale", True), "shift": flag(said, "center", True)}
    arrays = call.named(*(name for name in has if has[name]), "mean", "variance")
    if (mean := arrays["mean"]) is not None:
        arrays |= {name: np.full_like(mean, float(name == "scale")) for name in has if not has[name]}
    layer = BatchNorm(number(said, "epsilon", 1e-3), 1 - number(said, "momentum", 0.99), any(has.values()))
    return making.layer(call.name, layer, value, arrays=arrays, rank=value.rank)


def normalization(making: Making, call: Call) -> Value:
    """(x - mean) / deviation, numbers that the settings or the weights say."""
    said = call.settings
    if said.get("axis") is not None:
        axis_is_of_maps(said, call.value)
    if flag(said, "invert", False):
        raise Cannot("invert=True is not there")
    arrays = call.named("mean", "variance", "count")
    found = []
    for name in ("mean", "variance"):
        values = arrays[name] if said.get(name) is None else np.array(numbers(said, name))
        if values is None:
            raise Cannot(f"its {name} is neither in its settings nor in the file")
        found.append([float(one) for one in values.reshape(-1)[: 1 << 16]])
    mean, variance = found
    if not all(one >= 0 for one in variance) or len(mean) != len(variance):
        raise Cannot("its variance is none")
    scale = tuple(1 / max(sqrt(one), 1e-7) for one in variance)
    return making.scaled(call.name, call.value, scale, tuple(-m * s for m, s in zip(mean, scale, strict=True)))


def rescaling(making: Making, call: Call) -> Value:
    scale, shift = numbers(call.settings, "scale"), numbers(call.settings, "offset", 0.0)
    if max(len(scale), len(shift)) > 1 and call.value.order == FIRST:
        raise Cannot("it has numbers for columns, the last axis there")
    return making.scaled(call.name, call.value, scale, shift)
