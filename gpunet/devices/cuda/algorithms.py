"""The algorithms of a convolution on a GPU, the preferred one first.

How many slices a sum is cut into follows from the shape and the scratch there may be, never from the tile: so all tiles
give the same bits.
"""

from collections.abc import Mapping, Sequence
from math import inf

from gpunet.devices.cuda import tensor_tiles, tiles, winograd_tiles
from gpunet.devices.target import MIB
from gpunet.program.algorithm import Algorithm, AlgorithmName, Math, Pass
from gpunet.program.filters import ConvShape
from gpunet.program.tensor import HALVES, ITEMSIZE, wide
from gpunet.program.winograd import suits

__all__: tuple[str, ...] = ()  # no ops here

MOST_SLICES_BYTES = 16 * MIB
"""Most scratch for the slices of an op, however much there may be: more of them do not run faster."""

BLOCKS = 264
"""Blocks that are enough for any GPU: two for each multiprocessor of the largest."""

FEW_BLOCKS = 128
"""Fewer leave most of a GPU idle."""

LEAST_STEPS = {"forward": 64, "backward_input": 64, "backward_weights": 32}
"""Steps of a slice, of tiles.DEPTH values each: shorter ones do not pay for a launch."""

TENSOR_COSTS = {1: 1.0, 2: 1.1, 3: 1.3}
"""The same of a tile on tensor cores."""

COSTS = {1: 1.0, 2: 1.1, 3: 1.2, 4: 1.9}
"""What a result costs in a tile of that number, against the largest: each value that is read serves fewer results."""

MULTIPROCESSORS = 64
"""Of the GPU that tiles are chosen for."""

WINOGRAD_COSTS = {"forward": 1.32, "backward_input": 1.32, "backward_weights": 1.6}
"""What a product at a point costs, against one of the largest tile: tiles have to be brought to the points. So 65 % of
the instructions multiply and add, of the gradient of the weights 54 %; "implicit" is taken to have 86 %, and has a few
more."""

LAUNCH = 1e6
"""Of the second launch of Winograd's convolution: a multiprocessor does so many products in 5 us."""

POINT_COST = 2.0
"""What a value of the filters at the points costs that is written, and read again."""


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
    found = [Algorithm("im2col", needs_columns=not shape.is_product)]
    if not tiles.can_run(shape):
        return found
    result_bytes = _results(pass_, shape) * ITEMSIZE[wide(dtype)]  # those of slices are wide
    most = min(scratch_limit_bytes, MOST_SLICES_BYTES) // result_bytes
    slices = max(1, min(_wanted_slices(pass_, shape), most))
    workspace_bytes = slices * result_bytes if slices > 1 else 0
    name = _of_tiles(dtype, math)
    known, tile_costs = (tiles.TILES, COSTS) if name == "implicit" else (tensor_tiles.TILES, TENSOR_COSTS)
    packed = tiles.packs(shape, dtype)
    costs = {
        Algorithm(name, False, workspace_bytes, tile, slices): _cost(pass_, shape, tile, known, cost, slices, packed)
        for tile, cost in tile_costs.items()
    }
    if dtype == "float32" and math == "exact" and suits(shape):
        costs.update(_winograd(pass_, shape, min(scratch_limit_bytes, MOST_SLICES_BYTES)))
    found = [*sorted(costs, key=lambda algorithm: costs[algorithm]), *found]
    if shape.groups == shape.D > 1:
        found.insert(0, _depthwise(pass_, shape, result_bytes, most))
    return found


def _of_tiles(dtype: str, math: Math) -> AlgorithmName:
    """What makes its results tile by tile; halves are multiplied on tensor cores alone, float64 never."""
    if dtype in HALVES:
        return "halves"
    return math if dtype == "float32" and (math == "tf32" or math == "3xtf32") else "implicit"


def _results(pass_: Pass, shape: ConvShape) -> int:
    """Values that a pass makes."""
    if pass_ == "forward":
        return shape.positions * shape.K
    return shape.N * shape.H * shape.W * shape.D if pass_ == "backward_input" else shape.K * shape.length


def _wanted_slices(pass_: Pass, shape: ConvShape) -> int:
    """As many as fill a GPU, as long as each is worth it.

    The sums of the gradient of the weights are the longest by far and its results few; of the other passes only small
    batches of small maps need slices.
    """
    _, _, length = tiles.extents(pass_, shape)
    most = length // (tiles.DEPTH * LEAST_STEPS[pass_])
    blocks = tiles.blocks(pass_, shape, tiles.TILES[1 if pass_ == "backward_weights" else 3])
    if pass_ != "backward_weights" and blocks >= FEW_BLOCKS:
        return 1
    return max(1, min(-(-BLOCKS // blocks), most))


def _cost(
    pass_: Pass,
    shape: ConvShape,
    tile: int,
    among: Mapping[int, tiles.Tile],
    tile_cost: float,
    slices: int,
    packed: bool,
) -> float:
    """What a multiprocessor does one after the other, in products of the largest tile."""
    known = among[tile]
    if not packed and known.scalars != tile:
        return inf
    rounds = -(-tiles.blocks(pass_, shape, known) * slices // MULTIPROCESSORS)
    _, _, length = tiles.extents(pass_, shape)
    return rounds * known.M * known.N * tile_cost * length / slices


def _winograd(pass_: Pass, shape: ConvShape, limit_bytes: int) -> dict[Algorithm, float]:
    """F(2x2, 3x3) and its cost, as in `_cost`; none where the scratch has no room for the filters at the points."""
    values = winograd_tiles.point_values(shape)
    item_bytes = ITEMSIZE["float32"]
    most = limit_bytes // (values * item_bytes)
    if not most:
        return {}
    blocks, slices = winograd_tiles.blocks(pass_, shape), 1
    length = shape.K if pass_ == "backward_input" else shape.D
    if pass_ == "backward_weights":
        length = winograd_tiles.tile_count(pass_, shape)
        slices = max(1, min(-(-BLOCKS // blocks), length // (winograd_tiles.STEP * LEAST_STEPS[pass_]), most))
    rounds = -(-blocks * slices // MULTIPROCESSORS)
    steps = -(-length // (winograd_tiles.STEP * slices))
    products = rounds * winograd_tiles.POINTS * winograd_tiles.PART**2 * steps * winograd_tiles.STEP
    cost = products * WINOGRAD_COSTS[pass_] + LAUNCH + values * slices * POINT_COST
    return {Algorithm("winograd2", workspace_bytes=values * slices * item_bytes, slices=slices): cost}


def _depthwise(pass_: Pass, shape: ConvShape, result_bytes: int, most: int) -> Algorithm:
    """The gradient of the weights has slices of whole rows of windows; their sums always go through the workspace."""
    if pass_ != "backward_weights":
        return Algorithm("depthwise")
    rows = shape.N * shape.H2
    slices = max(1, min(-(-BLOCKS // tiles.depthwise_blocks(shape)), rows, most))
    return Algorithm("depthwise", workspace_bytes=slices * result_bytes, slices=slices)
