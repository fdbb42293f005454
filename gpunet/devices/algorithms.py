"""Which algorithm an op of a convolution runs: a choice by shapes and compute capability, never by machine."""

from collections.abc import Sequence
from importlib import import_module

from gpunet.devices.name import kind_of
from gpunet.program.algorithm import Algorithm, AlgorithmName, Math, Pass
from gpunet.program.filters import ConvShape
from gpunet.program.program import DeviceName

__all__ = ["Algorithm", "AlgorithmName", "Math", "Pass", "algorithm_for", "candidates"]


def candidates(
    pass_: Pass,
    shape: ConvShape,
    *,
    dtype: str,
    math: Math = "exact",
    device: DeviceName,
    capability: tuple[int, int] | None = None,
    scratch_limit_bytes: int,
) -> Sequence[Algorithm]:
    """Every algorithm that the device has for this pass of a convolution, the one that is preferred first.

    `shape`                what the op is planned for; it may be called with fewer images
    `dtype`                float32 or float64, which leaves out Winograd
    `capability`           (8, 6) of a GPU of compute capability 8.6
    `scratch_limit_bytes`  most bytes of an im2col matrix, and of the flat scratch of an algorithm; at least one always
                           works within it or needs none that could be smaller
    """
    module = import_module(f"gpunet.devices.{kind_of(device)}.algorithms")
    found: Sequence[Algorithm] = module.candidates(
        pass_, shape, dtype=dtype, math=math, capability=capability, scratch_limit_bytes=scratch_limit_bytes
    )
    return found


def algorithm_for(
    pass_: Pass,
    shape: ConvShape,
    *,
    dtype: str,
    math: Math = "exact",
    device: DeviceName,
    capability: tuple[int, int] | None = None,
    scratch_limit_bytes: int,
) -> Algorithm:
    """The first of the `candidates`."""
    return candidates(
        pass_,
        shape,
        dtype=dtype,
        math=math,
        device=device,
        capability=capability,
        scratch_limit_bytes=scratch_limit_bytes,
    )[0]
