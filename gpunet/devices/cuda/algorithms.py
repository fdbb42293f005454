"""The algorithms of a convolution on a GPU, the preferred one first."""

from collections.abc import Sequence

from gpunet.program.algorithm import Algorithm, Math, Pass
from gpunet.program.filters import ConvShape

__all__: tuple[str, ...] = ()  # no ops here


def candidates(
    pass_: Pass,
    shape: ConvShape,
    *,
    dtype: str,
    math: Math,
    capability: tuple[int, int] | None,
    scratch_limit_bytes: int,
) -> Sequence[Algorithm]:
    """See gpunet.devices.algorithms.candidates."""
    return (Algorithm("im2col", needs_columns=not shape.is_product),)
