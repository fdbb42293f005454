"""Torch7's modules of filters, norms and pools."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gpunet.formats.torch7.objects import Module
from gpunet.formats.torch7.settings import array, number, padding, pair, whole
from gpunet.formats.values import Cannot, around, ending
from gpunet.layers.average_pool import AdaptiveAvgPool, AvgPool
from gpunet.layers.batch_norm import BatchNorm
from gpunet.layers.conv import Conv
from gpunet.layers.fc import FC
from gpunet.layers.lrn import LRN
from gpunet.layers.pool import GlobalMaxPool, MaxPool

if TYPE_CHECKING:
    from gpunet.formats.torch7.sayer import Sayer, Saying, Values


def conv(sayer: "Sayer", module: Module, values: "Values") -> "Values":
    """Filters K, D, rows, columns; those of SpatialConvolutionMM lie in a row each."""
    said, (value,) = module.said, values
    sayer.once(module)
    K, D, groups = whole(said, "nOutputPlane"), whole(said, "nInputPlane"), whole(said, "groups", 1)
    F = whole(said, "kH"), whole(said, "kW")
    dilation = whole(said, "dilationH", 1), whole(said, "dilationW", 1)
    w, b = array(said, "weight"), array(said, "bias")
    if w is not None and w.size == K * D // max(groups, 1) * F[0] * F[1]:
        w = w.reshape(K, -1, *F)
    layer = Conv(K, F, pair(said, "d", 1), 0, dilation=dilation, groups=groups, bias=b is not None)
    placed = ending(replace(layer, P=around(value, padding(said))), value.volume)
    return sayer.layer(placed, value.bare, w=w, b=b)


def linear(sayer: "Sayer", module: Module, values: "Values") -> "Values":
    (value,) = values
    sayer.once(module)
    w, b = array(module.said, "weight"), array(module.said, "bias")
    if w is None or w.ndim != 2:
        raise Cannot("its weights are no matrix")
    return sayer.layer(FC(len(w), b is not None), value, rank=2, w=w, b=b)


def batch_norm(sayer: "Sayer", module: Module, values: "Values") -> "Values":
    """Old files have running_std, which is 1 / sqrt(variance + eps)."""
    said, (value,) = module.said, values
    sayer.once(module)
    if value.rank == 2 and not value.single:
        raise Cannot(f"it norms each of {value.volume.values:,} values of a flattened volume; norms are by map here")
    eps = number(said, "eps", 1e-5)
    mean, variance, inverse = (array(said, f"running_{name}") for name in ("mean", "var", "std"))
    if variance is None and inverse is not None:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            variance = 1 / inverse**2 - eps
    scale, shift = array(said, "weight"), array(said, "bias")
    affine = scale is not None
    if not affine and mean is not None:
        scale, shift = np.ones_like(mean), np.zeros_like(mean)
    layer = BatchNorm(eps, number(said, "momentum", 0.1), affine)
    return sayer.layer(layer, value, rank=value.rank, scale=scale, shift=shift, mean=mean, variance=variance)


def lrn(sayer: "Sayer", module: Module, values: "Values") -> "Values":
    """Alpha is shared among the neighbours there."""
    said, size = module.said, whole(module.said, "size", 5)
    layer = LRN(size, number(said, "alpha", 1e-4) / size, number(said, "beta", 0.75), number(said, "k", 1.0))
    return sayer.layer(layer, *values)


# -- pools


def pool(kind: type[MaxPool] | type[AvgPool]) -> "Saying":
    """How pools of a kind are said."""

    def saying(sayer: "Sayer", module: Module, values: "Values") -> "Values":
        said, (value,) = module.said, values
        F = pair(said, "k")
        S = pair(said, "d", None if "dH" in said else F)
        layer: MaxPool | AvgPool = kind(F, S, padding(said))
        if isinstance(layer, AvgPool):
            if said.get("divide") is False:
                raise Cannot("it sums and does not divide")
            layer = replace(layer, counts="padding" if said.get("count_include_pad", True) else "seen")
        return sayer.layer(ending(layer, value.volume, "pad" if said.get("ceil_mode") else "crop"), value)

    return saying


def adaptive(sayer: "Sayer", module: Module, values: "Values") -> "Values":
    return sayer.layer(AdaptiveAvgPool((whole(module.said, "H"), whole(module.said, "W"))), *values)


def adaptive_max(sayer: "Sayer", module: Module, values: "Values") -> "Values":
    if (whole(module.said, "H"), whole(module.said, "W")) != (1, 1):
        raise Cannot("maxima of parts are not there, but of whole maps")
    return sayer.layer(GlobalMaxPool(), *values)
