"""How Winograd's convolution on the CPU divides its scratch: decided from shapes, how much there is, and threads."""

from typing import NamedTuple

from gpunet.program.algorithm import Pass
from gpunet.program.chunks import chunk_rows
from gpunet.program.filters import ConvShape
from gpunet.program.winograd import tiles

__all__: tuple[str, ...] = ()  # no ops here

WIDTH = 4096
"""Values of one plane that are transformed at a time: all planes of them stay in a core's own cache."""

FEW = 128 * 128
"""Maps times filters up to which transformed filters stay in the caches, so that they are made once."""

FEW_SUMS = 128 * 128
"""Maps times filters up to which each worker sums the gradient of the filters over tiles of its own."""

TRIFLE = 64 * 64
"""Maps times filters up to which such sums keep to the limit of the scratch."""

CACHED = 24576
"""Values of one plane of filters, tiles and products that a worker has together, where the filters are so FEW."""

PRODUCTS = 8192
"""Values of one plane of filters that a worker has at a time where they are more than FEW."""

LEAST_TILES = 48
"""Rows of a product below which BLAS is slow: rather fewer workers than fewer tiles."""

SMALL = 1_000_000
"""Multiplications of one product up to which OpenBLAS multiplies values where they lie, with AVX-512 a third quicker
than larger ones, whose operands it puts into another order first."""

LEAST_SUMS = 128
"""Tiles for each worker over which a gradient of filters is summed in one product, where there is room."""

MOST_WORKERS = 64
"""For whom scratch is planned; there may be more, who have less each."""

MOST_PLANE = 131072
"""Values of one plane of tiles beyond which larger pieces bring nothing."""


class Sizes(NamedTuple):
    """What `pieces_of` must know: N images of `down` x `across` tiles, `D` maps that become `K`, n2 planes of them.

    `gradient`  of the filters: tiles of both sides are transformed, and sums over them become filters
    """

    N: int
    down: int
    across: int
    D: int
    K: int
    n2: int
    gradient: bool

    @property
    def tiles(self) -> int:
        return self.N * self.down * self.across

    @property
    def resident(self) -> bool:
        """Whether the transformed filters stay, or the sums of their gradient: each worker then has its own tiles."""
        pairs = self.D * self.K
        return pairs <= (FEW_SUMS if self.gradient else FEW)

    def rounds(self, tiles: int) -> int:
        """In how many pieces of at most so many tiles all are walked."""
        images = tiles // (self.down * self.across)
        return -(-self.N // images) if images else self.N * -(-self.down // (tiles // self.across))

    def even(self, tiles: int, workers: int) -> int:
        """As few tiles a piece as make no more pieces than `tiles`, or than are so many for each worker."""
        image = self.down * self.across
        images, rows = tiles // image, tiles // self.across
        if images:
            each = -(-self.rounds(tiles) // workers)
            return -(-self.N // (each * workers)) * image
        return -(-self.down // -(-self.down // rows)) * self.across


def sizes_of(pass_: Pass, shape: ConvShape, m: int) -> Sizes:
    """Those of a pass of a convolution by F(m x m, 3 x 3)."""
    if pass_ == "backward_input":
        return Sizes(shape.N, *tiles(shape.H, shape.W, m), shape.K, shape.D, (m + 2) ** 2, False)
    gradient = pass_ == "backward_weights"
    return Sizes(shape.N, *tiles(shape.H2, shape.W2, m), shape.D, shape.K, (m + 2) ** 2, gradient)


class Pieces(NamedTuple):
    """`tiles` at a time, whole rows of them; `maps` of the result at a time; `workers` that there is scratch for.

    `resident`  the transformed filters stay and each worker has tiles of its own; else all work on the same tiles, and
                each makes the filters that it needs. Of a gradient: each has sums over its own tiles; else of filters
    `values`    of flat scratch that this takes
    """

    tiles: int
    maps: int
    workers: int
    resident: bool
    values: int


def pieces_of(sizes: Sizes, values: int, workers: int) -> Pieces | None:
    """The pieces in which a convolution works within `values` of flat scratch, for at most so many workers.

    None where one row of tiles has no room.
    """
    found = (_pieces_for(sizes, values, count) for count in range(workers, 0, -1))
    return next((pieces for pieces in found if pieces is not None), None)


def _pieces_for(sizes: Sizes, values: int, workers: int) -> Pieces | None:
    """Those for just so many workers; None where they have no room, or several had too few tiles."""
    pieces = _pieces(sizes, values, workers)
    few = workers > 1 and pieces.tiles < min(LEAST_TILES, sizes.tiles)
    return None if few or pieces.values > values else pieces


def values_wanted(sizes: Sizes, limit: int) -> int | None:
    """Values of flat scratch that a plan gives: as many as are of use, at most `limit`; None where that is too few."""
    workers = -(-sizes.tiles // _pieces(sizes, 2**62, 1).tiles) if sizes.resident else -(-sizes.K // 16)
    found = (_pieces_for(sizes, limit, count) for count in range(1, min(workers, MOST_WORKERS) + 1))
    return max((pieces.values for pieces in found if pieces is not None), default=None)


def values_beside(s: Sizes) -> int:
    """Values of scratch that it may have beside a limit: where filters are many as many as they, which is what "im2col"
    takes for their gradient; where workers sum it by themselves and that is no trifle, what two of them take for it."""
    pairs = s.D * s.K
    if not s.resident:
        return 9 * pairs
    return 2 * (s.n2 + 9) * pairs if s.gradient and pairs > TRIFLE else 0


def _pieces(s: Sizes, values: int, workers: int) -> Pieces:
    """As large as they fit and are of use; never less than one row of tiles, whether that fits or not.

    Filters that are made again for each piece are so many at a time that there are the fewest pieces.
    """
    if s.resident:
        return _of_maps(s, values, workers, s.K)
    vectors = range(_vectors(s, workers), 0, -1)
    found = (_of_maps(s, values, workers, min(s.K, 16 * count)) for count in vectors)
    return min(found, key=lambda pieces: s.rounds(pieces.tiles))  # the first, with the most maps, of the best


def _of_maps(s: Sizes, values: int, workers: int, maps: int) -> Pieces:
    """Those with so many maps of the result at a time."""
    width = min(WIDTH, s.tiles * max(s.D, s.K) + s.D * s.K)
    if s.resident and s.gradient:  # products at the points, and the sum of what they come back to
        sums = s.D * s.K + -(-9 * s.D * s.K // s.n2)
        shared, once, each = 0, workers * (sums + width), workers * (s.D + s.K)
        most = CACHED // (s.D + s.K)
    elif s.resident:
        shared, once, each = s.D * s.K, workers * width, workers * (s.D + s.K)
        most = max(LEAST_TILES + s.across - 1, (CACHED - s.D * s.K) // (s.D + s.K))
    elif s.gradient:
        shared, once, each = 0, workers * (s.D * maps + width), s.D + s.K
        most = workers * max(LEAST_SUMS, 2 * WIDTH // min(s.D, s.K))
    else:
        shared, once, each = 0, workers * (s.D * maps + width), s.D + workers * maps
        most = MOST_PLANE // s.D
    room = (values // s.n2 - shared - once) // each
    count = s.even(chunk_rows(s.N, s.down, s.across, min(most, room)), workers if s.resident else 1)
    return Pieces(count, maps, workers, s.resident, s.n2 * (shared + once + count * each))


def _vectors(s: Sizes, workers: int) -> int:
    """Filters at a time, in whole vectors of BLAS: at most so many that each worker has some."""
    return max(1, min(PRODUCTS // s.D // 16, -(-s.K // (16 * workers))))
