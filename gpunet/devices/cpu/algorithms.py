"""The algorithms of a convolution on the CPU, the preferred one first: that with the least predicted time.

What is predicted is one thread of a processor with AVX-512; of others the ratios are much the same. No machine is
looked at, so a plan is the same everywhere.
"""

from collections.abc import Sequence

from gpunet.devices.cpu.winograd_scratch import Sizes, pieces_of, sizes_of, values_beside, values_wanted
from gpunet.program.algorithm import Algorithm, Math, Pass
from gpunet.program.filters import ConvShape
from gpunet.program.tensor import ITEMSIZE
from gpunet.program.winograd import WINOGRAD, suits

__all__: tuple[str, ...] = ()  # no ops here

PRODUCT_NS = 1 / 45
"""Of one multiplication and addition in a product of matrices, in nanoseconds."""

COPY_NS, RUN_NS = 0.4, 12.0
"""Of one value that is copied or added, and of one run of neighbours, to and from windows and tiles."""

CHANGE_NS = 0.45
"""Of one value of a tile or of filters that goes to its values at points, or comes back."""

FILTER_NS = 1.0
"""Of one value of the filters at the points where each worker makes them when it needs them, and they stay nowhere."""

CALL_NS = 2300.0
"""Of what Python does for one place of a tile, in each piece."""


def candidates(
    pass_: Pass,
    shape: ConvShape,
    *,
    dtype: str,
    math: Math,
    capability: tuple[int, int] | None,
    scratch_limit_bytes: int,
) -> Sequence[Algorithm]:
    """See gpunet.devices.algorithms.candidates.

    Winograd's scratch keeps to the limit, but for what `values_beside` says.
    """
    found = [(_im2col_ns(pass_, shape), Algorithm("im2col", needs_columns=not shape.is_product))]
    if dtype == "float32" and math != "direct" and suits(shape):
        for name, m in WINOGRAD.items():
            sizes = sizes_of(pass_, shape, m)
            values = values_wanted(sizes, scratch_limit_bytes // ITEMSIZE[dtype] + values_beside(sizes))
            if values is not None:
                found.append(
                    (_winograd_ns(sizes, m, values), Algorithm(name, workspace_bytes=values * ITEMSIZE[dtype]))
                )
    return [algorithm for _, algorithm in sorted(found, key=lambda one: one[0])]


def _im2col_ns(pass_: Pass, shape: ConvShape) -> float:
    """Of products with the matrix of windows, of making it, and of adding it up where it is a gradient."""
    products = shape.positions * shape.length * shape.K * PRODUCT_NS
    if shape.is_product:
        return products
    values = shape.positions * shape.length * shape.groups
    runs = values / (shape.maps if pass_ == "backward_input" else shape.maps * shape.filters.F_columns)
    return products + values * COPY_NS + runs * RUN_NS


def _winograd_ns(s: Sizes, m: int, values: int) -> float:
    """Of products at the points, of changing there and back, and of gathering and scattering tiles."""
    pieces = pieces_of(s, values, 1)
    assert pieces is not None  # `values_wanted` says how many make one
    rounds = -(-s.tiles // pieces.tiles)
    filters = s.n2 * s.D * s.K * (1 if s.resident else rounds)
    filter_ns = CHANGE_NS if s.resident or s.gradient else FILTER_NS
    change = s.tiles * (s.D + s.K) * s.n2 * CHANGE_NS
    moved = s.tiles * (s.D * s.n2 + s.K * m * m)
    places = s.n2 + m * m
    products = s.tiles * s.n2 * s.D * s.K
    return (
        products * PRODUCT_NS
        + filters * filter_ns
        + change
        + moved * COPY_NS
        + places * (s.tiles * RUN_NS + rounds * CALL_NS)
    )
